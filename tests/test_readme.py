"""The Python in README.md and in CONTRIBUTING.md runs as shown."""

import re
from pathlib import Path
from unittest import mock

import pytest

import gan1010_jax as gan
from gan1010_jax.engines import RULES

ROOT = Path(__file__).parent.parent
PAGES = {
    name: re.findall(
        r"^```python\n(.*?)^```",
        (ROOT / name).read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
    for name in ("README.md", "CONTRIBUTING.md")
}
BLOCKS = [
    pytest.param(name, block, id=f"{name}-{number}")
    for name, blocks in PAGES.items()
    for number, block in enumerate(blocks)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "block"), BLOCKS)
def test_a_python_block_runs_as_shown(name, block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(Path(__file__).parent)
    if "runs/million" in block:  # what its command makes, with fewer seeds and steps
        gan.train_population(range(300), steps=20, engine="vmap", out="runs/million")
    with mock.patch.dict(RULES):  # a block may add its own
        exec(compile(block, name, "exec"), {})


@pytest.mark.parametrize("name", PAGES)
def test_there_is_code_to_run(name):
    assert PAGES[name]
