"""`experiments/lab.py`: the options that it rejects. Its page is tested with the laboratory."""

import pytest
from programs import assert_rejected

REJECTED = {
    "--objectives mse,paint": "--objectives must be one of",
    "--objectives=": "--objectives must be one of",
    "--optimizers lion": "--optimizers must be one of",
    "--update-orders random": "--update-orders must be one of",
    "--bits 0": "--bits must be",
    "--bits four": "--bits must be",
    "--out page.txt": "--out must be the name of a file that ends in .html",
}


@pytest.mark.parametrize("options", REJECTED)
def test_bad_options_are_rejected_in_one_sentence(options, tmp_path, monkeypatch, capsys):
    assert_rejected("lab", options, REJECTED[options], tmp_path, monkeypatch, capsys)
