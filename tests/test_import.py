"""Importing the package changes nothing around it."""

import ast
import subprocess
import sys
from pathlib import Path

import gan1010_jax as gan

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


def test_imports_point_one_way():
    """The layers of the package, lowest first: each imports only those before it."""
    layers = """version errors models games methods losses updates checks training interop
    convergence stability scalarize outline engines blocks manifest tables store processes
    population plotting diagrams animation command_line __init__""".split()
    package = Path(gan.__file__).parent
    assert sorted(path.stem for path in package.glob("*.py")) == sorted(layers)
    for layer in layers:
        tree = ast.parse((package / f"{layer}.py").read_text())
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        for node in imports:
            if node.module.startswith("gan1010_jax."):
                imported = node.module.removeprefix("gan1010_jax.")
                assert layers.index(imported) < layers.index(layer), f"{layer} imports {imported}"
