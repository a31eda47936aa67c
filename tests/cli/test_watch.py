"""`experiments/watch.py`: the options that it rejects. Its page is tested with the laboratory."""

import pytest
from programs import assert_rejected, run_program

REJECTED = {
    "--seed -1": "--seed must be",
    "--seed one": "--seed must be",
    "--steps 250001": "--steps must be",
    "--out page.txt": "--out must be",
    "--out /proc/page.html": "--out must be the name of a file that ends in .html and can be",
    f"--out {__file__}/page.html": "--out must be the name of a file that ends in .html and can be",
    f"--out {'x' * 250}.html": "--out must be the name of a file that ends in .html and can be",
    "--out \udcff.html": "--out must be a path in UTF-8",
    "--pattern 12": "--pattern must be",
    "--penalty r1 --penalty-weight -1": "--penalty-weight must be",
}


@pytest.mark.parametrize("options", REJECTED)
def test_bad_options_are_rejected_in_one_sentence(options, tmp_path, monkeypatch, capsys):
    assert_rejected("watch", options, REJECTED[options], tmp_path, monkeypatch, capsys)


def test_a_file_beside_the_page_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".page.html").write_text("mine")
    assert run_program("watch", "--steps 20 --pattern 1 --out page.html", monkeypatch) == 0
    assert (tmp_path / ".page.html").read_text() == "mine"
