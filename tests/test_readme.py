"""The Python of README.md, CONTRIBUTING.md and docs/ runs as shown; commands and options exist."""

import re
import shlex
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from unittest import mock

import pytest
from programs import EXPERIMENTS, run_program

import gan1010_jax as gan
from gan1010_jax import cli
from gan1010_jax.cli import commands, program, public
from gan1010_jax.engines import RULES
from gan1010_jax.plot import public as plotted

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted(EXPERIMENTS.glob("*.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    )
}


def blocks(page, language):
    """The blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], flags=re.DOTALL | re.MULTILINE)


def find_commands(page):
    """Our commands on a page, each as words that begin with its program's name."""
    lines = [
        line for block in blocks(page, "bash") for line in block.replace("\\\n", "").split("\n")
    ]
    lines += re.findall(r"`((?:python experiments/|gan1010 )[^`]+ --[^`]+)`", PAGES[page])
    for line in lines:
        words = shlex.split(line, comments=True)
        for place, word in enumerate(words):
            if word == "gan1010" or (word.startswith("experiments/") and word.endswith(".py")):
                yield words[place:]


COMMANDS = sorted({shlex.join(words) for page in PAGES for words in find_commands(page)})


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_a_pages_python_runs_in_its_order(page, tmp_path, monkeypatch):
    """In an empty directory, and with nothing but what the page said before."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    names = {}
    with mock.patch.dict(RULES):  # a block may add its own
        for block in blocks(page, "python"):
            exec(compile(block, page, "exec"), names)


def test_the_readmes_three_updates_are_those_of_minimal():
    assert blocks("README.md", "python")[0] in (EXPERIMENTS / "minimal.py").read_text("utf-8")


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 200


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_its_program_takes(command, monkeypatch):
    for module in (cli, program, public):  # it reads its options, and ends
        monkeypatch.setattr(module, "run", lambda main, options: sys.exit(0))
    name, *words = shlex.split(command)
    if name == "gan1010":
        monkeypatch.setattr(sys, "argv", [name, *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 0
    elif Path(name).stem == "minimal":  # which has no options
        assert not words and (ROOT / name).exists()
    else:
        assert run_program(Path(name).stem, words, monkeypatch) == 0


def test_an_option_by_itself_is_one_of_a_program():
    known = {"--help", "--quick", "--programs"}  # all programs', and the benchmark's
    for kind in (commands.Train, commands.Watch, commands.Lab, commands.Sweep):
        for name in list_fields(kind):
            known.add("--" + name.replace("_", "-"))
    shown = {
        option
        for text in PAGES.values()
        for code in re.findall(r"`(--[^`\n]+)`", text)
        for option in re.findall(r"--[a-z][a-z-]+", code)
    }
    assert len(shown) > 15 and shown <= known, shown - known


def list_fields(kind):
    """The names of the options of a dataclass, with those of the dataclasses in it."""
    for field in fields(kind):
        value = field.default_factory() if callable(field.default_factory) else field.default
        yield from list_fields(type(value)) if is_dataclass(value) else [field.name]


def test_the_reference_has_every_public_name_once():
    shown = [
        line.rpartition(".")[2]
        for page, text in PAGES.items()
        if page.startswith("docs/reference/")
        for line in text.splitlines()
        if line.startswith("::: ")
    ]
    names = {*gan.__all__, *plotted.__all__} - {"plot", "__version__"}
    assert sorted(shown) == sorted(names)
