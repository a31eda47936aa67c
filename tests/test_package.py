"""The package as a whole: no side effects, and the rooms of CONTRIBUTING."""

import ast
import doctest
import graphlib
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gan1010_jax as gan

ROOT = Path(__file__).parent.parent
PACKAGE = Path(gan.__file__).parent
SCRIPT = """
import os, pathlib, sys
import gan1010_jax as gan
import gan1010_jax.cli
assert "jax" not in sys.modules, "what is slow was imported"
import jax
config, environment = dict(jax.config.values), dict(os.environ)
gan.train, gan.train_population
changed = {name for name, value in config.items() if jax.config.values[name] != value}
assert not changed, "JAX's configuration changed"
assert dict(os.environ) == environment, "the environment changed"
assert "matplotlib.pyplot" not in sys.modules, "a plotting backend was chosen"
assert not {"matplotlib", "pyarrow", "pandas", "flax.nnx"} & set(sys.modules), "time was lost"
assert list(pathlib.Path().rglob("*")) == [], "files were written"
"""


def test_importing_has_no_side_effects(tmp_path):
    """And uses nothing deprecated."""
    subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], check=True, cwd=tmp_path)


@pytest.mark.parametrize("module", ["cli/options", "laboratory/page", "figures/style", "games"])
def test_a_module_is_imported_first(module):
    """A room loads what it offers when it is used, and not when one of its modules is."""
    name = module.replace("/", ".")
    script = f"import sys, gan1010_jax.{name}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert "gan1010_jax.figures.public" not in loaded.stdout.split()


STAR = """
import gan1010_jax as gan
assert set(gan.__all__) <= set(dir(gan))
from gan1010_jax import *
assert all(name in globals() for name in gan.__all__)
assert Setup is gan.Setup and not hasattr(gan, "nothing")
"""


def test_the_public_names_are_there_for_star_imports_and_completion():
    subprocess.run([sys.executable, "-c", STAR], check=True)


def test_every_public_name_exists_and_is_documented():
    for name in gan.__all__:
        value = getattr(gan, name)
        assert name == "__version__" or value.__doc__, name


def test_help_shows_a_short_signature_without_the_paths_of_modules():
    for name in gan.__all__:
        if inspect.isfunction(function := getattr(gan, name)):
            signature = str(inspect.signature(function))
            assert len(signature) < 450 and "gan1010_jax." not in signature, name
            assert "setup: 'Setup' =" not in signature or "= Setup()" in signature, name


def test_the_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, flags=re.MULTILINE) == [gan.__version__]


def test_the_changelog_has_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## \[(.*?)\]", changelog, flags=re.MULTILINE)
    assert gan.__version__ in titles or f"This will be {gan.__version__}," in changelog
    assert len(titles) == len(set(titles))


def test_pre_commit_formats_as_the_linter_does():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (ruff,) = [one for one in groups["dependency-groups"]["lint"] if one.startswith("ruff")]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r'dependencies: \["(.*)"\]', hooks)) == {ruff}


def test_the_examples_in_docstrings_are_right():
    for name in ("gan1010_jax.engines.scalarize",):
        assert doctest.testmod(importlib.import_module(name)).attempted > 0
        assert doctest.testmod(importlib.import_module(name)).failed == 0


# The rooms. A module is named by its path from the package, such as `engines/scalarize`.

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROOMS = re.findall(r"^\| `(\w+)/` \|", CONTRIBUTING, flags=re.MULTILINE)
(CORE,) = (
    re.findall(r"`(\w+)`", row)
    for row in re.findall(r"^\| core \|(.*)\|.*\|$", CONTRIBUTING, flags=re.MULTILINE)
)
MODULES = {
    str(path.relative_to(PACKAGE).with_suffix("")): path for path in sorted(PACKAGE.rglob("*.py"))
}
PROGRAMS = {f"experiments/{path.stem}": path for path in (ROOT / "experiments").glob("*.py")}


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path):
    """Every (module, name) that a file takes from the package, also where only types need it."""
    aliases = {}
    tree = parse(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gan1010_jax":
            place = node.module.replace(".", "/").removeprefix("gan1010_jax").removeprefix("/")
            for alias in node.names:
                inner = f"{place}/{alias.name}".removeprefix("/")
                if inner in MODULES or f"{inner}/__init__" in MODULES:  # a module, not a name
                    aliases[alias.asname or alias.name] = as_module(inner)
                    yield as_module(inner), None
                else:
                    yield as_module(place), alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in aliases:
                yield aliases[node.value.id], node.attr


def as_module(place):
    return place if place in MODULES else f"{place}/__init__".removeprefix("/")


def room_of(module):
    return module.split("/")[0] if "/" in module else "core"


def test_contributing_names_every_room_and_every_core_module():
    rooms = {room_of(module) for module in MODULES} - {"core"}
    assert set(ROOMS) == rooms
    assert {module for module in MODULES if "/" not in module} == {*CORE, "__init__", "public"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down_and_enter_a_room_by_its_door(module):
    floors = ["core", *ROOMS]
    for imported in {place for place, _ in imports(MODULES[module])}:
        if module in ("__init__", "public"):
            continue
        here, there = room_of(module), room_of(imported)
        if here != there:
            assert floors.index(there) < floors.index(here), f"{module} imports {imported}"
            assert there == "core" or imported == f"{there}/__init__", imported
        elif here == "core":
            assert CORE.index(imported) < CORE.index(module), f"{module} imports {imported}"


def test_no_imports_go_in_a_circle():
    graph = {
        module: {imported for imported, _ in imports(path)} - {module}
        for module, path in MODULES.items()
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises at a circle


def top_level_names(path):
    for node in parse(path).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            decorator = node.decorator_list[0]
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "rule":
                continue  # a primitive's rule, which the table has by the primitive's name
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            if "import_when_used" in ast.unparse(node):
                continue  # an import
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def test_a_name_that_only_its_own_module_uses_is_private():
    """And a private name is used by no other. Constants at the head of a module may be public."""
    paths = (*MODULES.values(), *PROGRAMS.values())
    used = {name for path in paths for _, name in imports(path) if name}
    assert not [name for name in used if name.startswith("_") and not name.startswith("__")]
    for module, path in MODULES.items():
        if not module.endswith("__init__"):
            names = {name for name in top_level_names(path) if not name.startswith("_")}
            assert {name for name in names - used if not name.isupper()} == set(), module


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_enter_rooms_by_their_doors(program):
    for imported, _ in imports(PROGRAMS[program]):
        assert "/" not in imported or imported.endswith("/__init__"), imported
