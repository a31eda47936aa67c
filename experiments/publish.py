"""Run the programs whose results README shows, keep what it shows, and insert the numbers."""

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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

import gan1010_jax as gan
from gan1010_jax import store
from gan1010_jax.command_line import run
from gan1010_jax.convergence import OUTCOMES, proportion
from gan1010_jax.version import versions

HERE = Path(__file__).parent
RESULTS, FIGURES = HERE / "results", HERE / "figures"
PAGES = (HERE.parent / "README.md", HERE / "README.md")
RUNS = RESULTS / "runs.json"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
COLUMNS = ("outputs", "losses", "parameters")


class Show(NamedTuple):
    """A run that the pages show.

    Attributes:
      command: as the pages have it.
      kept: what is kept of what it writes, by where: the name of a file in its directory, or what
        makes one of it.
      output: where its standard output is kept, if anywhere.
    """

    command: str
    kept: dict[str, str | Callable[[Path], bytes]]
    output: str | None = None


def find_browser() -> str | None:
    """Where a browser is installed, if one is."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def take_screenshot(page: Path) -> bytes:
    """What a page looks like in a browser, while G moves in step 5,000."""
    from playwright.sync_api import sync_playwright  # which only this needs

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1120, "height": 960})
        tab.goto(page.as_uri())
        tab.locator("#scrubber").fill("499")
        tab.locator("#views button").nth(2).click()
        picture = tab.screenshot()
        browser.close()
    return picture


def sample_curves(out: Path) -> bytes:
    """How many seeds match and are in support after every 1,000 steps of a run, as JSON."""
    population = gan.load_population(out)
    every = 1000 // population.record_every
    curves = {
        name: population.curves[name][every - 1 :: every].tolist()
        for name in ("step", "matched", "in_support")
    }
    return json.dumps({"seeds": population.tally.seeds, **curves}).encode()


SWEEP_AXES = "--x d_lr=log:1e-3:{0} --y g_lr=log:1e-3:{0}"
SHOWS = {
    "first": Show(
        "python experiments/train.py --seeds 64 --animate",
        {
            f"figures/{name}": f"figures/{name}"
            for name in (
                "training.gif",
                "generator.png",
                "losses.png",
                "convergence.png",
                "outputs.png",
                "architecture.png",
            )
        },
        output="results/first.txt",
    ),
    "watch": Show(
        "python experiments/watch.py --seed 17 --out runs/watch.html",
        {"figures/watch.png": take_screenshot},
    ),
    "million": Show(
        "python experiments/train.py --seeds 1000000 --out runs/million",
        {
            "results/million.json": "report.json",
            "figures/million.png": "figures/convergence.png",
            "figures/settling.png": "figures/settling.png",
        },
    ),
    "long": Show(
        "python experiments/train.py --seeds 4096 --steps 250000 --record-every 50",
        {
            "results/long_run.json": sample_curves,
            "figures/long_run.png": "figures/convergence.png",
            "figures/forgetting.png": "figures/forgetting.png",
        },
    ),
    "phases": Show(
        f"python experiments/sweep.py {SWEEP_AXES.format('1.25893:32')}",
        {"figures/phase_diagram.png": "figures/phase_diagram.png"},
    ),
    "methods": Show(
        f"python experiments/sweep.py {SWEEP_AXES.format('1:31')} --seeds 64 \\\n"
        "    --methods mse,nonsaturating,wasserstein,mse+r1",
        {"figures/methods.png": "figures/phase_diagram.png"},
    ),
    "card": Show(
        "python experiments/card.py",
        {
            "results/card.json": "card.json",
            "results/card.md": "card.md",
            "figures/card.png": "figures/card.png",
        },
    ),
    "spectrum": Show(
        "python experiments/spectrum.py",
        {
            "results/spectrum.json": "spectrum.json",
            "figures/spectrum.png": "figures/spectrum.png",
        },
    ),
    "dirac": Show(
        "python experiments/dirac.py",
        {"results/dirac.json": "dirac.json", "figures/dirac.png": "figures/dirac.png"},
    ),
    "agreement": Show(
        "python experiments/agreement.py",
        {
            "results/agreement.json": "agreement.json",
            "figures/agreement.png": "figures/agreement.png",
        },
    ),
    "benchmark": Show(
        "python experiments/benchmark.py",
        {
            "results/benchmark.json": "report.json",
            "figures/benchmark.png": "figures/benchmark.png",
        },
    ),
    "notebook": Show("python tests/test_notebook.py", {}),  # which runs it in place
}


# What experiments/README.md says of each program: its run, its file, its picture, and its use.
PROGRAMS = (
    ("first", "train.py", "convergence.png", "many GANs: how often, and when, they converge"),
    ("watch", "watch.py", "watch.png", "one GAN, replayed in a browser"),
    ("notebook", "colab.ipynb", "generator.png", "a tour, for Colab or Jupyter; this runs it anew"),
    ("phases", "sweep.py", "phase_diagram.png", "where a method converges: a grid of its numbers"),
    ("card", "card.py", "card.png", "which methods keep what they have learned"),
    ("spectrum", "spectrum.py", "spectrum.png", "whether what they have learned is stable"),
    ("dirac", "dirac.py", "dirac.png", "the smallest game, beside the paper that made it"),
    ("agreement", "agreement.py", "agreement.png", "whether it is the same GAN as PyTorch's"),
    ("benchmark", "benchmark.py", "benchmark.png", "how fast it is, beside PyTorch's and JAX's"),
)


@dataclass(frozen=True)
class Publish:
    """Insert the kept results' numbers into README.md and experiments/README.md.

    With names, those runs come first: each command as the pages have it, in an empty directory,
    and of what it writes the pages' figures and numbers are kept in figures/ and results/. This
    needs the extra `test`, PyTorch (benchmark), a browser (watch), and a machine that does nothing
    else.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Which runs, or "all"."""


def main(options: Publish) -> None:
    """Run what is asked for, and insert the numbers."""
    names = SHOWS if options.names == ("all",) else options.names
    for name in names:
        if name not in SHOWS:
            raise gan.InvalidArgument("names", name, f"all, or some of {', '.join(SHOWS)}")
    for name in names:
        print(f"$ {SHOWS[name].command}", flush=True)
        perform(name, SHOWS[name])
    for page in PAGES:
        store.write_file(page, insert(page.read_text(encoding="utf-8")).encode())


def perform(name: str, show: Show) -> None:
    """Run a command, and keep what the pages show of it and how long it took."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for part in ("experiments", "tests"):
            (place / part).symlink_to(HERE.parent / part)
        _, *arguments = shlex.split(show.command.replace("\\\n", ""))
        # As for a newcomer, with nothing compiled yet.
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(place / "compiled")}
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=place,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        seconds = time.perf_counter() - started
        out = next(iter([*place.glob("runs/*"), place]))
        for kept, source in show.kept.items():
            store.write_file(HERE / kept, source(out) if callable(source) else read(out, source))
        if show.output:
            store.write_file(HERE / show.output, done.stdout.encode())
    runs = read_json(RUNS) if RUNS.exists() else {}
    runs[name] = {"command": show.command, "seconds": round(seconds, 1), "versions": versions()}
    store.write_json(RUNS, {name: runs[name] for name in SHOWS if name in runs})


def read(out: Path, name: str) -> bytes:
    """A file of a run."""
    return (out / name).read_bytes()


# The pages' blocks, each made of kept results


def insert(page: str) -> str:
    """A page with every block, from `<!-- name -->` to `<!-- /name -->`, made anew."""

    def fill(match):
        name, _, of = match[1].partition(" ")
        made = BLOCKS[name](of) if of else BLOCKS[name]()
        return f"<!-- {match[1]} -->\n{made}\n<!-- /{match[1]} -->"

    return re.sub(r"<!-- ([a-z ]+) -->\n.*?<!-- /\1 -->", fill, page, flags=re.DOTALL)


def read_json(path: Path) -> Any:
    """A kept result."""
    return json.loads(path.read_text(encoding="utf-8"))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], side: str = "--:") -> str:
    """A table in Markdown: its first column on the left, the others on the right, or at a side."""
    lines = [titles, ["---", *[side] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show_proportion(row: dict, digits: int) -> list[str]:
    """A fraction, and its interval."""
    fraction, low, high = (f"{100 * row[k]:.{digits}f}" for k in ("fraction", "ci_low", "ci_high"))
    return [f"{fraction} %", f"{low} – {high} %"]


def show_seconds(seconds: float) -> str:
    """A duration in words."""
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds > 180 else f"{seconds / 60:.1f} minutes"


def three_digits(value: float) -> str:
    """A number below 1,000 to three digits, at most two of them decimals."""
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def show_run(name: str) -> str:
    """A command, and how long it took."""
    ran = read_json(RUNS)[name]
    return f"```bash\n{ran['command']}\n```\n\n({show_seconds(ran['seconds'])} on two cores.)"


def show_first() -> str:
    """What the first command prints, but for what is never the same."""
    printed = (RESULTS / "first.txt").read_text(encoding="utf-8")
    lines = printed[: printed.index("training ")].splitlines()
    return "```text\n" + "\n".join(line.rstrip() for line in lines) + "\n```"


def show_million() -> str:
    """How often, and when, a million seeds converge."""
    report = read_json(RESULTS / "million.json")
    rows = [
        [name.replace("_", " "), f"{report[name]['count']:,}", *show_proportion(report[name], 4)]
        for name in OUTCOMES
    ]
    titles = [f"of {report['seeds']:,} seeds", "seeds", "fraction", "95 % interval"]
    early, median, late = (f"{step:,}" for step in report["settled_step"].values())
    return (
        f"{table(titles, rows)}\n\nHalf of the seeds that settle have settled by step {median}, "
        f"5 % by step {early} and 95 % by step {late}."
    )


def show_long() -> str:
    """How many seeds keep what they have learned."""
    curves = read_json(RESULTS / "long_run.json")
    seeds, steps = curves["seeds"], curves["step"]
    matched, inside = (np.array(curves[name]) for name in ("matched", "in_support"))
    everyone = np.flatnonzero(inside == seeds)
    first, last = (steps[everyone[k]] for k in (0, -1))
    worst = int(inside[everyone[-1] :].argmin()) + int(everyone[-1])
    shown = sorted({10_000, 20_000, 50_000, steps[worst], 100_000, 150_000, 250_000})
    rows = []
    for step in shown:
        place = steps.index(step)
        pairs = (proportion(row[place], seeds) for row in (matched, inside))
        rows.append([f"{step:,}", *(x for p in pairs for x in show_proportion(p._asdict(), 2))])
    interval = "95 % interval"
    least = matched[everyone[0] :].min() / seeds
    return (
        f"All {seeds:,} generators are in support from step {first:,} to step {last:,}. Then, "
        "although nothing has changed, they begin to leave, learn again and leave again, at first "
        f"nearly all at the same time: around step {steps[worst]:,}, only "
        f"{100 * inside[worst] / seeds:.0f} % are in support. Yet once they have learned it, "
        f"{math.floor(100 * least)} % match at any time, or more.\n\n"
        + table(["after step", "matched", interval, "in support", interval], rows)
    )


def show_card() -> str:
    """How many seeds are in support by each method, early and late, and how many have forgotten."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for row in read_json(RESULTS / "card.json")["methods"]:
        early, late = row["10000"], row["50000"]
        numbers = early["in_support"], late["in_support"], late["forgot"]
        cells = rows.setdefault((row["optimizer"], row["objective"]), [])
        cells += [f"{100 * number['fraction']:.1f}" for number in numbers]
    columns = ["10,000", "50,000", "forgot"]
    titles = ["objective, optimiser", *columns, *(f"R1: {column}" for column in columns)]
    return table(titles, [[f"{name}, {by}", *cells] for (by, name), cells in rows.items()])


def show_spectrum() -> str:
    """What the spectra of steps say."""
    stops = read_json(RESULTS / "spectrum.json")["stops"]
    rows = []
    for row in stops:
        if row["group"] == "not matched" or (row["group"] != "all") != (row["step"] == 70_000):
            continue
        numbers = ((row["field"], 1, 3), (row["radius_minus_1"], 1e-5, 1))
        cells = [
            f"{q['p50'] / unit:.{d}f} ({q['p5'] / unit:.{d}f} – {q['p95'] / unit:.{d}f})"
            for q, unit, d in numbers
        ]
        rows.append([f"{row['step']:,}", f"{row['seeds']} {row['group']}", *cells])
    return table(
        ["after step", "seeds", "length of the field", "spectral radius - 1, in 10⁻⁵"], rows
    )


def show_dirac() -> str:
    """Which methods converge on the Dirac-GAN."""
    methods: dict[str, list[dict]] = {}
    for row in read_json(RESULTS / "dirac.json"):
        methods.setdefault(row["method"], []).append(row)
    rows = []
    for name, pair in methods.items():
        radii = (row["spectral_radius"] for row in pair)
        cells = ["has a kink there" if radius is None else f"{radius:.5f}" for radius in radii]
        verdicts = [
            "yes" if all(row[key] for row in pair) else "no" for key in ("converges", "paper")
        ]
        rows.append([name, *cells, *verdicts])
    return table(
        ["method", "spectral radius, simultaneous", "alternating", "converges", "in the paper"],
        rows,
    )


def show_agreement() -> str:
    """How far this GAN is from the reference program."""
    report = read_json(RESULTS / "agreement.json")
    rows = [
        [f"`{row['program']}`, {row['dtype']}", *(f"{row[name]:.1e}" for name in COLUMNS)]
        for row in report["runs"]
    ]
    least = min(report["p_values"].values())
    return (
        f"{table(['the largest difference', *COLUMNS], rows)}\n\n"
        f"In distribution, {report['seeds']:,} seeds are held against 400 runs of the reference "
        "program that share nothing with them, by Kolmogorov–Smirnov tests of each output, each "
        "loss and the settling step, and Fisher's exact test of the seeds that match and that are "
        f"in support: the smallest of {len(report['p_values'])} p-values is {least:.2g}."
    )


def show_benchmark() -> str:
    """How fast every program is."""
    report = read_json(RESULTS / "benchmark.json")
    rates = {
        (row["program"], row["seeds"]): row["seed_steps_per_second"]
        for row in report["rows"]
        if not row["unavailable"]
    }
    programs = {
        "torch_compile": "PyTorch, `compile(vmap)`",
        "vmap_scan": "JAX, `jit(vmap(scan))`",
        "engine_vmap": "engine `vmap`",
        "engine_fused": "engine `fused`",
    }
    sizes = sorted({seeds for program, seeds in rates if seeds})
    rows = [
        [f"{seeds:,}", *(three_digits(rates[program, seeds] / 1e6) for program in programs)]
        for seeds in sizes
    ]
    one = rates["pytorch", None]
    times = [rates["engine_fused", seeds] / one for seeds in sizes if seeds >= 1024]
    machine = report["machine"]
    return (
        "Millions of steps of one seed in a second, random draws and records included, on "
        f"{machine['cores']} cores ({machine['cpu']}, {' and '.join(machine['vectors'])}), all in "
        f"one run:\n\n{table(['seeds at a time', *programs.values()], rows)}\n\n"
        "The reference written as a textbook does, in PyTorch, one seed on each core, does "
        f"{one / 1e6:.2g}: from 1,024 seeds on, `fused` is {min(times) / 1e3:.0f},000 to "
        f"{max(times) / 1e3:.0f},000 times as fast."
    )


def show_programs() -> str:
    """Every program: what it is for, its command, how long that takes, and a picture."""
    runs, rows = read_json(RUNS), []
    for name, program, picture, purpose in PROGRAMS:
        command = SHOWS[name].command.replace("\\\n    ", "")
        image = f'<img src="figures/{picture}" width="240" alt="">'
        time = show_seconds(runs[name]["seconds"])
        rows.append([f"[{program}]({program})", f"{purpose}<br>`{command}`<br>{time}", image])
    wide = "&nbsp;" * 60  # or pictures are squeezed
    return table(
        ["program", "what it shows, its command, and how long that takes", wide], rows, "---"
    )


BLOCKS = {
    "run": show_run,
    "first": show_first,
    "million": show_million,
    "long": show_long,
    "card": show_card,
    "spectrum": show_spectrum,
    "dirac": show_dirac,
    "agreement": show_agreement,
    "benchmark": show_benchmark,
    "programs": show_programs,
}


if __name__ == "__main__":
    run(Publish, main)
