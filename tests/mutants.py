"""A mutation run: does a test fail for every small change of the code that the guarantees rest on?

`python tests/mutants.py OUT.csv [EVERY]` makes every EVERYth mutant of the modules below, each in a
copy of the checkout, and runs their tests. A row of the table is a mutant: its module, line, change
and outcome. Linux only, since each run is a fork of a process that has imported the libraries.
"""

import ast
import copy
import csv
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
STORE = ["tests/population/test_integrity.py", "tests/population/test_store.py"]
CORE = ("gan", "reference", "methods", "training", "dirac")
STEP = [f"tests/core/test_{name}.py" for name in CORE]
TESTS = {
    "gan": STEP,
    "convergence": ["tests/core/test_convergence.py"],
    "population/files": STORE,
    "population/manifest": STORE,
    "population/store": STORE,
    "population/integrity": STORE,
}
SECONDS = 300  # after which a run counts as killed
SWAPS = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult},
    **{ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult},
}


def changes(node):
    """The functions that change a copy of a node of the syntax tree, each into a mutant."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield lambda node: node.ops.__setitem__(0, SWAPS[type(node.ops[0])]())
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        yield lambda node: setattr(node, "op", SWAPS[type(node.op)]())
    if isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
        other = not node.value if type(node.value) is bool else node.value + 1
        yield lambda node: setattr(node, "value", other)
    if isinstance(node, ast.If | ast.IfExp):
        yield lambda node: setattr(node, "test", ast.Constant(True))
        yield lambda node: setattr(node, "test", ast.Constant(False))
    if isinstance(node, ast.stmt):
        for place, statement in enumerate(getattr(node, "body", [])):
            is_text = isinstance(getattr(statement, "value", None), ast.Constant)
            if isinstance(statement, ast.Expr | ast.Raise | ast.Assign) and not is_text:
                yield lambda node, place=place: node.body.__setitem__(place, ast.Pass())


def mutants(module):
    """The line, the change in words, and the source of every mutant of a module."""
    tree = ast.parse((ROOT / "gan1010_jax" / f"{module}.py").read_text())
    before = ast.unparse(tree).splitlines()
    for place, node in enumerate(ast.walk(tree)):
        for change in changes(node):
            other = copy.deepcopy(tree)
            change(list(ast.walk(other))[place])
            source = ast.unparse(ast.fix_missing_locations(other))
            pairs = zip(before, source.splitlines())
            words = next((f"{a.strip()} → {b.strip()}" for a, b in pairs if a != b), "")
            if words:
                yield node.lineno, words, source


def is_killed(module, source):
    """Whether a test fails for a mutant, in a forked process and a copy of the checkout."""
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder, "checkout")
        shutil.copytree(
            ROOT, copied, ignore=shutil.ignore_patterns(".*", "runs", "figures"), symlinks=True
        )
        shutil.copytree(ROOT / "gan1010_jax" / "figures", copied / "gan1010_jax" / "figures")
        (copied / "gan1010_jax" / f"{module}.py").write_text(source)
        if (child := os.fork()) == 0:
            os.setsid()
            signal.alarm(SECONDS)
            os.chdir(copied)
            sys.path[:] = [str(copied), *(path for path in sys.path if path != str(ROOT))]
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
            options = [
                "-x",
                "-q",
                "-n",
                "0",
                "-m",
                "",
                "-p",
                "no:cacheprovider",
                "--basetemp",
                f"{folder}/t",
            ]
            os._exit(pytest.main([*options, *TESTS[module]]))
        _, status = os.waitpid(child, 0)
    return status != 0


def main(out, every="1"):
    made = [(module, *mutant) for module in TESTS for mutant in mutants(module)][:: int(every)]
    with open(out, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["module", "line", "change", "outcome"])
        for module, line, words, source in made:
            outcome = "killed" if is_killed(module, source) else "survived"
            table.writerow([module, line, words, outcome])
            file.flush()


if __name__ == "__main__":
    import flax, hypothesis, jax, matplotlib.pyplot, optax, pyarrow.parquet, pytest, rich, scipy, tyro  # noqa

    main(*sys.argv[1:])
