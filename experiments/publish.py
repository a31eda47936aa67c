"""Run the programs whose results the pages show, keep the results, and insert their numbers."""

if __name__ == "__main__":
    from gan1010_jax.cli import start

    start()  # before anything that is slow to import

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro
from study import make_table

import gan1010_jax as gan
from gan1010_jax.cli import read, run, say, unset


@dataclass(frozen=True)
class Publish:
    """Insert the kept results' numbers into README.md, experiments/README.md and docs/.

    With names, those runs come first: each command as the pages have it, in an empty directory,
    and the figures and numbers that the pages show are kept in figures/ and results/. This
    needs the extra `test`, PyTorch (benchmark), a browser (watch), and a machine that does nothing
    else.
    """

    examples: ClassVar = {
        "": "insert the numbers that are kept",
        "million dirac": "run these two first",
    }

    names: Annotated[tuple[str, ...], tyro.conf.Positional, unset("none")] = ()
    """Which runs, or "all"."""


if __name__ == "__main__":
    options = read(Publish)  # before JAX is imported

import agreement
import benchmark
import dirac
import numpy as np
import predictions
import spectrum
import waves

from gan1010_jax.convergence import OUTCOMES, proportion
from gan1010_jax.environment import versions
from gan1010_jax.figures import find_fall
from gan1010_jax.population import write_file, write_json

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ROOT = HERE.parent
PAGES = (ROOT / "README.md", HERE / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def take_screenshot(page: Path) -> bytes:
    """A picture of `watch.py`'s page in a browser, while G moves in step 5,000."""
    from playwright.sync_api import sync_playwright  # which only this needs

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto(f"{page.as_uri()}#step=5000")
        tab.locator("#one-step", has_text="step 5,000:").wait_for()
        tab.locator("#updates button").nth(2).click()
        picture = tab.screenshot()
        browser.close()
    return picture


def sample_curves(out: Path) -> bytes:
    """The numbers of seeds that match and are in support after every 1,000 steps, as JSON."""
    population = gan.load_population(out)
    every = 1000 // population.record_every
    names = ("step", "matched", "in_support")
    curves = {name: population.curves[name][every - 1 :: every].tolist() for name in names}
    return json.dumps({"seeds": population.counts.seeds, **curves}).encode()


MAKERS = {"screenshot": take_screenshot, "curves": sample_curves}
# The files that are kept of each run that the pages show. After `=` stands a file's source, a name
# in the run's directory or one of `MAKERS`; without one, the names are the same. Of each figure a
# dark one is kept, too, for pages that are dark.
STYLES = ["--style", "paper", "dark"]
KEPT = {
    "finding": "results/finding.json=finding.json figures/finding.png",
    "first": "results/first.txt=../../stdout.txt figures/training.gif figures/generator.png "
    "figures/losses.png figures/convergence.png figures/outputs.png figures/architecture.png",
    "watch": "figures/watch.png=screenshot",
    "million": "results/million.json=report.json figures/million.png=figures/convergence.png "
    "figures/settling.png",
    "long_run": "results/long_run.json=curves figures/long_run.png=figures/convergence.png "
    "figures/forgetting.png",
    "phase_diagram": "figures/phase_diagram.png",
    "methods": "figures/methods.png=figures/phase_diagram.png",
    "compare_methods": "results/compare_methods.json=compare_methods.json "
    "results/compare_methods.md=compare_methods.md figures/compare_methods.png "
    "results/cures.md=cures.md figures/cures.png",
    "waves": "results/waves.json=waves.json figures/waves.png figures/departures.png "
    "figures/orbit.png figures/rates.png figures/brake.png",
    "predictions": "results/predictions.json=predictions.json "
    "results/predictions.md=predictions.md figures/predictions.png",
    "spectrum": "results/spectrum.json=spectrum.json figures/spectrum.png",
    "dirac": "results/dirac.json=dirac.json figures/dirac.png figures/bilinear.png",
    "agreement": "results/agreement.json=agreement.json figures/agreement.png",
    "benchmark": "results/benchmark.json=report.json figures/benchmark.png",
    "notebook": "",  # which runs in place
}


def main(options: Publish) -> None:
    names = KEPT if options.names == ("all",) else options.names
    for name in names:
        if name not in KEPT:
            raise gan.InvalidArgument("names", name, f"all, or some of {', '.join(KEPT)}")
    commands = dict(find_commands())
    for name in names:
        print(f"$ {commands[name]}", flush=True)
        perform(name, commands[name])
    for page in PAGES:
        write_file(page, insert(page.read_text(encoding="utf-8")).encode())


def list_kept(name: str) -> Iterator[tuple[str, str]]:
    """The files that are kept of a run, each with its source; of figures, also the dark ones."""
    for kept, _, source in (word.partition("=") for word in KEPT[name].split()):
        pair = kept, source or kept
        yield pair
        if kept.endswith(".png") and source not in MAKERS:
            yield tuple(one.replace(".png", "-dark.png") for one in pair)


def find_commands() -> list[tuple[str, str]]:
    """The commands that the pages show, each after the name of its run."""
    command = r"(?:```bash\n|`)(python [^`]*?)(?:\n```\n\n\(|`<br>)<!-- (\w+)\.seconds -->"
    pages = [page.read_text(encoding="utf-8") for page in reversed(PAGES)]
    return [(name, shown) for page in pages for shown, name in re.findall(command, page)]


def perform(name: str, command: str) -> None:
    """Run a command; keep the files that the pages show, and its duration."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for part in ("experiments", "tests"):
            (place / part).symlink_to(HERE.parent / part)
        _, *arguments = shlex.split(command.replace("\\\n", ""))
        kept = [*list_kept(name)]
        arguments += STYLES if any(one.endswith("-dark.png") for one, _ in kept) else []
        # As for a newcomer, with nothing compiled yet.
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(place / "compiled")}
        with (place / "stdout.txt").open("w") as stdout:
            started = time.perf_counter()
            program = [sys.executable, *arguments]
            subprocess.run(program, cwd=place, env=environment, check=True, stdout=stdout)
            seconds = time.perf_counter() - started
        say("keeping the results")
        out = next(iter([*place.glob("runs/*"), place]))
        for one, source in kept:
            make = MAKERS.get(source)
            write_file(HERE / one, make(out) if make else (out / source).read_bytes())
    runs = read_json("runs")
    runs[name] = {"command": command, "seconds": round(seconds, 1), "versions": versions()}
    write_json(RESULTS / "runs.json", {name: runs[name] for name in KEPT if name in runs})


# The numbers and tables of the pages, each made of kept results


def insert(page: str) -> str:
    """A page with every value, from `<!-- name -->` to `<!-- / -->`, made anew."""
    values = make_values()

    def fill(match):
        name, space = match.groups()
        return f"<!-- {name} -->{space}{values[name]}{space}<!-- / -->"

    return re.sub(r"<!-- (\w+\.\w+) -->(\n?).*?<!-- / -->", fill, page, flags=re.DOTALL)


def make_values() -> dict[str, str]:
    """Every value of the pages, by its run and its own name."""
    runs = read_json("runs")
    values = {f"{name}.seconds": in_words(run["seconds"]) for name, run in runs.items()}
    first = (RESULTS / "first.txt").read_text(encoding="utf-8")
    table, _, _ = first.partition("training ")  # whose speed is not shown
    values["first.table"] = re.sub(" +$", "", f"```text\n{table}```", flags=re.MULTILINE)
    for name, make in VALUES.items():
        values |= {f"{name}.{key}": value for key, value in make(read_json(name)).items()}
    return values


def read_json(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def in_words(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds > 180 else f"{seconds / 60:.1f} minutes"


def in_percent(row: dict, digits: int) -> list[str]:
    """A fraction, and its interval."""
    fraction, low, high = (f"{100 * row[k]:.{digits}f}" for k in ("fraction", "ci_low", "ci_high"))
    return [f"{fraction} %", f"{low} – {high} %"]


def of_million(report: dict) -> dict[str, str]:
    rows = [
        [name.replace("_", " "), f"{report[name]['count']:,}", *in_percent(report[name], 4)]
        for name in OUTCOMES
    ]
    titles = [f"of {report['seeds']:,} seeds", "seeds", "fraction", "95 % interval"]
    settled = {key: f"{step:,}" for key, step in report["settled_step"].items()}
    both = {name: f"{100 * report[name]['fraction']:.2f} %" for name in ("matched", "in_support")}
    return {"table": make_table(titles, rows), **both, **settled}


def of_long_run(curves: dict) -> dict[str, str]:
    seeds, steps = curves["seeds"], curves["step"]
    matched, inside = (np.array(curves[name]) for name in ("matched", "in_support"))
    first, *_, last = np.flatnonzero(inside == seeds)
    worst = int(last + inside[last:].argmin())
    rows = []
    for step in sorted({10_000, 20_000, 50_000, steps[worst], 100_000, 150_000, 250_000}):
        place = steps.index(step)
        both = (proportion(x[place], seeds)._asdict() for x in (matched, inside))
        rows.append([f"{step:,}", *(cell for one in both for cell in in_percent(one, 2))])
    interval = "95 % interval"
    return {
        "table": make_table(["after step", "matched", interval, "in support", interval], rows),
        "first": f"{steps[first]:,}",
        "last": f"{steps[last]:,}",
        "worst": f"{steps[worst]:,}",
        "worst_in_support": f"{100 * inside[worst] / seeds:.0f} %",
        "least_matched": f"{math.floor(100 * matched[first:].min() / seeds)} %",
    }


def of_finding(report: dict) -> dict[str, str]:
    *_, (_, cured) = report.items()
    share = np.array(cured) / report["seeds"]
    _, least = find_fall(share)
    return {"kept": f"{math.floor(1000 * share[least]) / 10} %"}


def of_compare_methods(report: dict) -> dict[str, str]:
    rows: dict[str, list[str]] = {}
    for row in report["methods"]:
        early, late, method = row["10000"], row["50000"], f"{row['objective']}, {row['optimizer']}"
        for number in (early["in_support"], late["in_support"], late["forgot"]):
            rows.setdefault(method, [method]).append(f"{100 * number['fraction']:.1f}")
    columns = ["10,000", "50,000", "forgot"]
    titles = ["objective, optimiser", *columns, *(f"R1: {column}" for column in columns)]
    settled = {row["method"]: f"{row['settled_p50']:,}" for row in report["cures"]}
    return {
        "table": make_table(titles, rows.values()),
        "r1": settled["R1, 0.1"],
        "wasserstein": settled["wasserstein, R1, 0.4"],
        "relativistic": settled["relativistic, R1 and R2, 0.1"],
    }


def of_predictions(rows: list[dict]) -> dict[str, str]:
    medians = {}
    for kind in predictions.PREDICTIONS:
        found = [row[kind]["r2"] for row in rows if row[kind]["r2"] is not None]
        medians[kind] = f"{100 * np.median(found):.1f} %"
    return {"count": f"{len(rows)}", **medians}


def of_agreement(report: dict) -> dict[str, str]:
    least = min(report["p_values"].values())
    return {"table": agreement.tabulate(report), "least_p": f"{least:.2g}"}


def of_benchmark(report: dict) -> dict[str, str]:
    rates = {(row["program"], row["seeds"]): row.get(benchmark.RATE) for row in report["rows"]}
    one = rates["pytorch", None]
    sizes = [size for name, size in rates if name == "engine_fused" and size >= 1024]
    times = [rates["engine_fused", size] / one / 1e3 for size in sizes]
    return {
        "table": benchmark.tabulate(report),
        "machine": benchmark.describe(report["machine"]),
        "step": benchmark.describe_step(report),
        "times": f"{min(times):.0f},000 to {max(times):.0f},000",
    }


VALUES = {
    "million": of_million,
    "long_run": of_long_run,
    "finding": of_finding,
    "compare_methods": of_compare_methods,
    "waves": lambda report: {
        "table": waves.tabulate(report["predictions"]),
        "error": f"{100 * report['predictions']['level model']['median_error']:.1f} %",
    },
    "predictions": of_predictions,
    "spectrum": lambda report: {"table": spectrum.tabulate(report)},
    "dirac": lambda report: {
        "table": dirac.tabulate(report),
        "verdicts": dirac.tabulate_verdicts(report),
    },
    "agreement": of_agreement,
    "benchmark": of_benchmark,
}


if __name__ == "__main__":
    run(main, options)
