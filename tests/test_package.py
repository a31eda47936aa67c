"""Importing the package changes nothing around it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import gan1010_jax as gan

ROOT = Path(__file__).parent.parent
SCRIPT = """
import os, pathlib, sys
import jax
config, environment = dict(jax.config.values), dict(os.environ)
import gan1010_jax
changed = {name for name, value in config.items() if jax.config.values[name] != value}
assert not changed, "JAX's configuration changed"
assert dict(os.environ) == environment, "the environment changed"
assert "matplotlib.pyplot" not in sys.modules, "a plotting backend was chosen"
assert "matplotlib" not in sys.modules, "half a second was lost"
assert list(pathlib.Path().rglob("*")) == [], "files were written"
"""


def test_importing_has_no_side_effects(tmp_path):
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, cwd=tmp_path)


def test_every_public_name_exists_and_is_documented():
    for name in gan.__all__:
        value = getattr(gan, name)
        assert name == "__version__" or value.__doc__, name


def test_imports_point_down_the_list_in_contributing():
    """The layers of the package, lowest first: each imports only those before it."""
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+` )+)\|", contributing, flags=re.MULTILINE)
    layers = re.findall(r"\w+", "".join(rows))
    package = Path(gan.__file__).parent
    assert sorted(path.stem for path in package.glob("*.py")) == sorted(layers)
    for layer in layers:
        for imported in imports(ast.parse((package / f"{layer}.py").read_text(encoding="utf-8"))):
            if imported in layers:
                assert layers.index(imported) < layers.index(layer), f"{layer} imports {imported}"


def imports(module):
    """The modules of the package that one imports anywhere, but for types."""
    for statement in module.body:
        for_types = isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"
        for node in ast.walk(statement) if not for_types else ():
            if isinstance(node, ast.ImportFrom) and node.module == "gan1010_jax":
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module.removeprefix("gan1010_jax.")
            elif isinstance(node, ast.Import):
                yield from (alias.name.removeprefix("gan1010_jax.") for alias in node.names)


def test_the_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, flags=re.MULTILINE) == [gan.__version__]
