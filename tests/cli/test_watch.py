"""`experiments/watch.py`: the options that it rejects. Its page is tested with the figures."""

import pytest
from programs import run_program

REJECTED = {
    "--seed -1": "--seed must be a whole number from 0 to 4294967295; got -1",
    "--seed one": "--seed must be a whole number; got 'one'",
    "--steps 20000": "--record-every must be 20 or more for 20000 steps",
    "--out page.txt": "--out must be the name of a file that ends in .html; got 'page.txt'",
    "--pattern 12": "--pattern must be a string of 1 to 16 characters",
    "--penalty r1 --penalty-weight -1": "--penalty-weight must be a finite number, zero or more",
}


@pytest.mark.parametrize("options", REJECTED)
def test_bad_options_are_rejected_in_one_sentence(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_program("watch", options, monkeypatch) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {REJECTED[options]}") and printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
