"""The README's Python runs as shown."""

import re
from pathlib import Path

import pytest

import gan1010_jax as gan

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_python_block_runs_as_shown(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(Path(__file__).parent)
    if "runs/million" in block:  # what its command makes, with fewer seeds and steps
        gan.train_population(range(300), steps=20, engine="vmap", out="runs/million")
    exec(compile(block, "README.md", "exec"), {})


def test_there_is_code_to_run():
    assert BLOCKS
