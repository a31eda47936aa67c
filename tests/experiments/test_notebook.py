"""The lesson runs from top to bottom, with its solutions, and shows what running it gives.

`python tests/experiments/test_notebook.py` runs it in place, and writes what each solution prints
below the solution.
"""

import base64
import copy
import io
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from filelock import FileLock
from matplotlib.image import imread
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_output
from playwright.sync_api import expect, sync_playwright

NOTEBOOK = Path(__file__).parent.parent.parent / "experiments" / "colab.ipynb"
COMMITTED = nbformat.read(NOTEBOOK, as_version=4)
TO_RENEW = "python tests/experiments/test_notebook.py runs the notebook in place"

EXERCISES = 8
EXERCISE = re.compile(r"^### Exercise (\d): ", re.MULTILINE)
# A folded solution: its number, its code, and what that prints.
SOLUTION = re.compile(
    r"<details><summary>Solution (\d)</summary>\n\n(?:(?!</details>).)*?"
    r"```python\n(.*?)```\n\nIt prints\n\n```text\n(.*?)```\n.*?\n</details>",
    re.DOTALL,
)

# Another version of JAX or another kind of processor takes a few of 4,096 seeds over a threshold.
NUMBER, ROUNDING, CHANGED_BY_FEW = re.compile(r"\d[\d,]*(?:\.\d+)?"), 1, 0.005
# Of squares of 32 × 32 pixels, the mean colours are compared, from 0 to 1. Matplotlib 3.10 and 3.11
# draw text by other versions of FreeType and shift what is beside it by a pixel, which is up to
# 0.09; a learning rate of 0.0101 for 0.01 is 0.17.
SQUARE, SHIFTED_BY_A_PIXEL = 32, 0.1


def with_solutions(notebook):
    """The notebook, with each solution as a cell of its own behind it."""
    notebook = copy.deepcopy(notebook)
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if solution := SOLUTION.search(cell.source):
            number, code, printed = solution.groups()
            outputs = [new_output("stream", text=printed)]
            cells.append(new_code_cell(code, id=f"solution-{number}-code", outputs=outputs))
    notebook.cells = cells
    return notebook


def is_solution(cell):
    return cell.cell_type == "code" and cell.id.startswith("solution-")


def without_solutions(notebook):
    """The notebook as readers have it, from one that was run with its solutions.

    A solution's cell is gone, and what it printed is in the text of the solution. The page of the
    laboratory, which is large, is left out: there is a text in its place.
    """
    notebook = copy.deepcopy(notebook)
    for place, cell in enumerate(notebook.cells):
        if is_solution(cell):
            prose, printed = notebook.cells[place - 1], texts(cell)["stdout"]
            start, end = SOLUTION.search(prose.source).span(3)
            prose.source = prose.source[:start] + printed + prose.source[end:]
    notebook.cells = [cell for cell in notebook.cells if not is_solution(cell)]
    for count, cell in enumerate(code_cells(notebook), 1):
        cell.execution_count = count
        for output in cell.outputs:
            output.get("data", {}).pop("text/html", None)
            if "execution_count" in output:
                output.execution_count = count
    return notebook


def execute(notebook, directory, environment):
    """The notebook with its solutions, as it is once a new kernel has run it in a directory."""
    client = NotebookClient(
        with_solutions(notebook),
        coalesce_streams=True,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(directory)}},
        timeout=600,
    )
    return client.execute(env=environment)


# The kernel runs this before the first cell, to record calls.
WATCH = """
import os, sys

CALLS = os.environ["CALLS"]
PROGRAMS = ("os.exec", "os.posix_spawn", "os.system", "subprocess.Popen")

def watch(event, args):
    is_pip = event in PROGRAMS and "pip" in str(args)
    if is_pip or event in ("socket.connect", "socket.getaddrinfo"):
        with open(CALLS, "a") as file:
            print(event, args, file=file)

sys.addaudithook(watch)
"""


@pytest.fixture(scope="session")
def executed(compilation_cache, shared_path, tmp_path_factory):
    """The notebook run in an empty directory, once for all workers, and the recorded calls.

    Its solutions are run, too.
    """
    base = shared_path
    result, calls = base / "notebook.ipynb", base / "notebook_calls.txt"
    with FileLock(base / "notebook.lock"):
        if not result.exists():
            startup = base / "ipython" / "profile_default" / "startup"
            startup.mkdir(parents=True, exist_ok=True)
            (startup / "watch.py").write_text(WATCH)
            calls.touch()
            environment = os.environ | {
                "CALLS": str(calls),
                "IPYTHONDIR": str(base / "ipython"),
                "JAX_COMPILATION_CACHE_DIR": compilation_cache,
                "JAX_PLATFORMS": "cpu",
            }
            laptop = tmp_path_factory.mktemp("laptop")
            ran = execute(COMMITTED, laptop, environment)
            assert list(laptop.iterdir()) == []
            nbformat.write(ran, result)
    return nbformat.read(result, as_version=4), calls.read_text()


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pairs(ran):
    """Each code cell as it is committed, and as it was run, solutions included."""
    return zip(code_cells(with_solutions(COMMITTED)), code_cells(ran), strict=True)


def texts(cell):
    """The text of a cell, by its place: a stream, or the value."""
    said = {}
    for output in cell.get("outputs", []):
        place = output.get("name", output.output_type)
        said[place] = said.get(place, "") + output.get("text", "")
        said[place] += output.get("data", {}).get("text/plain", "")
    return said


def without_numbers(text):
    return " ".join(NUMBER.sub("#", text).split())


def numbers(text):
    """The numbers of a text, and how much one of their last digit is."""
    found = NUMBER.findall(text)
    units = [10.0 ** -len(number.partition(".")[2]) for number in found]
    return np.array([float(number.replace(",", "")) for number in found]), np.array(units)


def pictures(cell):
    """The mean colours of the squares of each picture of a cell, [rows, columns, colours]."""
    data = [output.get("data", {}) for output in cell.outputs]
    pngs = [base64.b64decode(one["image/png"]) for one in data if "image/png" in one]
    return [mean_colours(imread(io.BytesIO(png), format="png")) for png in pngs]


def mean_colours(picture):
    rows, columns = (size // SQUARE for size in picture.shape[:2])
    inside = picture[: rows * SQUARE, : columns * SQUARE, :3]
    return inside.reshape(rows, SQUARE, columns, SQUARE, 3).mean(axis=(1, 3))


@pytest.mark.slow
def test_every_cell_was_run_once_and_in_order(executed):
    for notebook in (COMMITTED, executed[0], without_solutions(executed[0])):
        counts = [cell.execution_count for cell in code_cells(notebook)]
        assert counts == list(range(1, 1 + len(counts))), TO_RENEW


@pytest.mark.slow
def test_it_says_what_it_says_when_it_is_run(executed):
    for shown, now in pairs(executed[0]):
        old, new = texts(shown), texts(now)
        assert old.keys() == new.keys() and "stderr" not in new, f"{now.id}: {new}; {TO_RENEW}"
        for old_text, new_text in zip(old.values(), new.values()):
            said = f"{now.id} says {new_text}, not {old_text}; {TO_RENEW}"
            assert without_numbers(new_text) == without_numbers(old_text), said
            (old_numbers, units), (new_numbers, _) = numbers(old_text), numbers(new_text)
            allowed = np.maximum(ROUNDING * units, CHANGED_BY_FEW * old_numbers)
            assert (abs(new_numbers - old_numbers) <= 1.001 * allowed).all(), said


@pytest.mark.slow
def test_it_draws_what_it_draws_when_it_is_run(executed):
    assert sum(len(pictures(cell)) for cell in COMMITTED.cells if cell.cell_type == "code") > 6
    for shown, now in pairs(executed[0]):
        old, new = pictures(shown), pictures(now)
        drawn = f"{now.id} draws something else; {TO_RENEW}"
        assert [picture.shape for picture in new] == [picture.shape for picture in old], drawn
        for a, b in zip(old, new):
            assert abs(a - b).max() <= SHIFTED_BY_A_PIXEL, drawn


def test_every_exercise_has_a_place_to_work_and_a_folded_solution_after_it():
    cells, found = COMMITTED.cells, []
    for place, cell in enumerate(cells):
        for number in EXERCISE.findall(cell.source):
            work, solution = cells[place + 1 : place + 3]
            assert work.cell_type == "code" and "Your code" in work.source, work.id
            assert SOLUTION.match(solution.source)[1] == number, solution.id
            found.append(int(number))
    assert found == list(range(1, 1 + EXERCISES))


def test_every_prediction_has_a_folded_discussion_after_it():
    question, answer = "**Predict.**", "<details><summary>Discussion</summary>"
    text = "\n".join(cell.source for cell in COMMITTED.cells)
    found = re.findall(f"{re.escape(question)}|{answer}", text)
    assert found == [question, answer] * 10
    assert text.count("<details>") == text.count("</details>") == 10 + EXERCISES


@pytest.mark.slow
def test_the_laboratory_trains_in_the_frame_that_its_cell_shows(executed):
    from publish import BROWSERS, find_browser  # which is on the path of tests alone

    found = find_browser()
    if not found:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)} is installed")
    (cell,) = (cell for cell in executed[0].cells if cell.id == "laboratory")
    errors = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(error))
        page.set_content(cell.outputs[0].data["text/html"])
        frame = page.frame_locator("iframe")
        frame.locator("#play").click()
        expect(frame.locator("#step")).not_to_have_text("0")
        frame.locator("#play").click()
        browser.close()
    assert errors == []


@pytest.mark.slow
def test_nothing_is_installed_and_no_network_is_used_where_nothing_is_missing(executed):
    _, calls = executed
    assert calls == ""


def test_it_is_small_and_tells_nothing_of_the_machine_that_ran_it():
    assert NOTEBOOK.stat().st_size < 1.5e6
    for cell in COMMITTED.cells:
        assert not any("text/html" in output.get("data", {}) for output in cell.get("outputs", []))
        assert "execution" not in cell.metadata, f"times of day in {cell.id}; {TO_RENEW}"
        said = "".join([cell.source, *texts(cell).values()])
        assert not re.search(r"/(home|Users|root|tmp|work|usr|opt|content)/|[A-Z]:\\", said)


def test_the_first_cell_is_hidden_and_short():
    first = code_cells(COMMITTED)[0]
    assert first.metadata["jupyter"]["source_hidden"]  # in Jupyter
    assert first.metadata["cellView"] == "form" and first.source.startswith("# @title ")  # on Colab
    assert len(first.source.splitlines()) < 32


# A package in a checkout that builds itself, so that pip needs nothing from elsewhere.
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """
import zipfile

METADATA = ["Metadata-Version: 2.1", "Name: absent-package", "Version: 1", *REQUIRES]
WHEEL = ["Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any"]

def build_wheel(directory, *_):
    name, info = "absent_package-1-py3-none-any.whl", "absent_package-1.dist-info"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("absent_package/__init__.py", "")
        wheel.writestr(f"{info}/METADATA", chr(10).join(METADATA))
        wheel.writestr(f"{info}/WHEEL", chr(10).join(WHEEL))
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


@pytest.fixture
def run_first_cell(tmp_path):
    """Run the first cell somewhere, for a package that is not installed."""
    pytest.importorskip("pip")

    def run(place, source="", **environment):
        cell = code_cells(COMMITTED)[0].source.replace("gan1010_jax", "absent_package")
        cell = cell.replace('SOURCE = ""', f"SOURCE = {source!r}")
        installed = str(tmp_path / "installed")
        environment |= {"PIP_TARGET": installed, "PYTHONPATH": installed}
        return subprocess.run(
            [sys.executable, "-c", f"{cell}\nprint(gan.__file__)"],
            cwd=place,
            env=os.environ | environment,
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture
def run_in_checkout(run_first_cell, tmp_path):
    """Run the first cell in a checkout of a package, as pip installs it."""

    def run(requires):
        checkout = tmp_path / "checkout"
        for folder in ("experiments", "absent_package"):
            (checkout / folder).mkdir(parents=True)
        (checkout / "pyproject.toml").write_text(PYPROJECT)
        (checkout / "backend.py").write_text(BACKEND.replace("REQUIRES", str(requires)))
        return run_first_cell(checkout / "experiments", PIP_NO_INDEX="1")

    return run


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "FileNotFoundError: absent_package is not here: put its wheel beside this notebook"),
        ("absent_package", "No such file or directory"),
    ],
)
def test_the_first_cell_asks_no_index_for_the_package(run_first_cell, tmp_path, source, says):
    with socket.create_server(("127.0.0.1", 0)) as index:
        address = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
        ran = run_first_cell(tmp_path, source, PIP_INDEX_URL=address, PIP_RETRIES="0")
        index.setblocking(False)
        with pytest.raises(BlockingIOError):
            index.accept()
    assert ran.returncode == 1 and says in ran.stderr, ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_first_cell_installs_the_checkout_around_it_and_imports_it(run_in_checkout, tmp_path):
    ran = run_in_checkout(requires=[])
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == str(tmp_path / "installed/absent_package/__init__.py")


@pytest.mark.slow
def test_the_first_cell_installs_the_wheel_beside_it_and_imports_it(run_first_cell, tmp_path):
    backend, place = {}, tmp_path / "content"
    exec(BACKEND.replace("REQUIRES", "[]"), backend)
    place.mkdir()
    backend["build_wheel"](place)
    ran = run_first_cell(place, PIP_NO_INDEX="1")
    assert ran.stdout.splitlines()[-1] == str(tmp_path / "installed/absent_package/__init__.py")


@pytest.mark.slow
def test_the_first_cell_leaves_jax_as_it_is_or_says_why_it_cannot(run_in_checkout, tmp_path):
    ran = run_in_checkout(requires=["Requires-Dist: jax<0.7"])
    assert ran.returncode == 1 and not (tmp_path / "installed").exists()
    assert "The user requested (constraint) jax==" in ran.stderr, ran.stderr


if __name__ == "__main__":
    ran = execute(COMMITTED, NOTEBOOK.parent, os.environ)
    nbformat.write(without_solutions(ran), NOTEBOOK)
