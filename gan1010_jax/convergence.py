"""What "converges" means, for one seed and for a population of them.

Evaluated on the generator's output at every record: it *matches* if the game says so, and is *in
support* if it could be a real sample; once a parameter is not finite it counts as neither.
"""

from collections.abc import Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.checks import count_cells, shortest
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.methods import Hyperparams, Method
from gan1010_jax.training import History

if TYPE_CHECKING:
    from gan1010_jax.population import Population


class Verdict(NamedTuple):
    """How one run went; each field is a scalar.

    Attributes:
      matched: bool, it matches at the end.
      in_support: bool, it is in support at the end.
      forgot: bool, it matched at some record and does not at the end.
      diverged: bool, a parameter is not finite at the end.
      first_match_step: int32, the step of the first record that matches, or -1.
      settled_step: int32, the step of the first record from which every later one matches, or -1.
    """

    matched: jax.Array
    in_support: jax.Array
    forgot: jax.Array
    diverged: jax.Array
    first_match_step: jax.Array
    settled_step: jax.Array


def judge(history: History) -> Verdict:
    """Judge one run by its records."""
    matched = history.matched
    ever_matched = matched.any()
    # From the record after the last miss on, every record matches.
    records = jnp.arange(matched.size)
    settled = jnp.max(jnp.where(matched, -1, records)) + 1
    settled_step = history.step[jnp.minimum(settled, matched.size - 1)]
    return Verdict(
        matched=matched[-1],
        in_support=history.in_support[-1],
        forgot=ever_matched & ~matched[-1],
        diverged=~history.finite[-1],
        first_match_step=jnp.where(ever_matched, history.step[jnp.argmax(matched)], -1),
        settled_step=jnp.where(matched[-1], settled_step, -1),
    )


def wilson_interval(
    count: np.typing.ArrayLike, total: np.typing.ArrayLike, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """The Wilson score interval of a fraction; vectorised, which scipy's is not.

    With p = count/total and z the normal quantile of the confidence, the interval is
    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n). Wilson, *Probable Inference, the Law of
    Succession, and Statistical Inference*, JASA 22 (1927).

    Args:
      count: how many of the total, 0 to `total`; any shape.
      total: how many trials, 1 or more; of a shape that goes with that of `count`.
      confidence: between 0 and 1.

    Returns:
      The lower and upper ends, float64 of the shape of both together.

    Raises:
      InvalidArgument: (a `ValueError`) for a count, total or confidence outside these limits.
    """
    count, total = np.asarray(count, dtype=np.float64), np.asarray(total)
    if not np.all(total >= 1):
        raise InvalidArgument("total", total, "1 or more")
    if not np.all((count >= 0) & (count <= total)):
        raise InvalidArgument("count", count, f"from 0 to the total, {total}")
    if not 0 < confidence < 1:
        raise InvalidArgument("confidence", confidence, "between 0 and 1")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = count / total
    center = p + z**2 / (2 * total)
    half_width = z * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    low, high = (center - half_width) / scale, (center + half_width) / scale
    return np.where(count == 0, 0.0, low), np.where(count == total, 1.0, high)


class Tally(NamedTuple):
    """What is counted over the rows of a population; the tallies of its parts add up to its own.

    Attributes:
      seeds: how many rows.
      matched: how many match at the end.
      in_support: how many are in support at the end.
      forgot: how many matched once, and do not at the end.
      diverged: how many have a parameter that is not finite.
      first_matched: int64 [records], how many matched at each record for the first time.
      settled: int64 [records], how many settled at each record.
      outputs: int64 [units, 50], how many final outputs lie in each fiftieth of [0, 1].
    """

    seeds: int
    matched: int
    in_support: int
    forgot: int
    diverged: int
    first_matched: np.ndarray
    settled: np.ndarray
    outputs: np.ndarray


OUTCOMES = ("matched", "in_support", "forgot", "diverged")
OUTPUT_EDGES = np.linspace(0, 1, 51)


def count_rows(columns: Mapping[str, np.ndarray], steps: np.ndarray) -> Tally:
    """Count over rows, the columns [seeds] of a population with records at some steps."""

    def at_records(events: np.ndarray) -> np.ndarray:
        return np.bincount(np.searchsorted(steps, events[events >= 0]), minlength=len(steps))

    outputs = [column for name, column in columns.items() if name.startswith("output_")]
    return Tally(
        seeds=len(columns["seed"]),
        **{name: int(columns[name].sum()) for name in OUTCOMES},
        first_matched=at_records(columns["first_match_step"]),
        settled=at_records(columns["settled_step"]),
        outputs=np.stack([np.histogram(output, OUTPUT_EDGES)[0] for output in outputs]),
    )


def settling_quantiles(tally: Tally, steps: np.ndarray) -> dict[int, int]:
    """The 5, 50 and 95 % quantiles of the settling step over the seeds that settled.

    Each is the step of the first record by which at least so many of them had settled. Empty if
    none did.
    """
    by_then = np.cumsum(tally.settled)
    if not by_then[-1]:
        return {}
    percents = (5, 50, 95)
    records = [np.searchsorted(100 * by_then, percent * by_then[-1]) for percent in percents]
    return {percent: int(steps[record]) for percent, record in zip(percents, records)}


class Proportion(NamedTuple):
    """A fraction of seeds and its 95 % Wilson interval, or an array of them.

    Attributes:
      count: int64, how many seeds.
      total: int64, of how many.
      fraction: float64, `count / total`; NaN where both are 0, and the interval is then 0 to 1.
      ci_low: float64, the lower end of the interval.
      ci_high: float64, the upper.
    """

    count: np.ndarray
    total: np.ndarray
    fraction: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray


def proportion(count: np.typing.ArrayLike, total: np.typing.ArrayLike) -> Proportion:
    """What fraction of a total a count is, and how sure that is."""
    count, total = np.broadcast_arrays(count, total)
    some = np.maximum(total, 1)
    low, high = wilson_interval(count, some)
    return Proportion(
        count=count,
        total=total,
        fraction=np.where(total, count / some, np.nan),
        ci_low=np.where(total, low, 0),
        ci_high=np.where(total, high, 1),
    )


def convergence_curves(population: "Population") -> dict[str, Proportion]:
    """How a population converges, and whether it stays so: proportions at every record, [records].

    Returns:
      Of all seeds: `matched`, `in_support` and `diverged`, those that are so at the record; and
      `ever_matched`, those that matched at it or before, which is one minus the Kaplan–Meier
      estimate of how long the first match takes (*Nonparametric Estimation from Incomplete
      Observations*, JASA 53, 1958): every seed is watched to the end, so that none is censored
      before. Of the seeds that matched at it or before: `forgotten`, those that do not match at
      it.
    """
    counts, ever_matched = population.curves, np.cumsum(population.tally.first_matched)
    of_all = {name: counts[name] for name in ("matched", "in_support", "diverged")}
    of_all["ever_matched"] = ever_matched
    return {
        **{name: proportion(count, population.tally.seeds) for name, count in of_all.items()},
        "forgotten": proportion(ever_matched - counts["matched"], ever_matched),
    }


def convergence_report(population: "Population") -> dict[str, Any]:
    """How often a population converged, as a dict that `json` can write.

    Returns:
      `matched`, `in_support`, `forgot` and `diverged`, each the `Proportion` of seeds as
      `{count, fraction, ci_low, ci_high}`; `settled_step`, `{p5, p50, p95}` over the seeds
      that settled, or None if none did; `over_training`, a list of the `convergence_curves` after
      each fifth of the steps, `{step, matched, in_support, diverged, ever_matched, forgotten}`;
      what was run: `seeds` (how many; of a grid, how many rows), `grid`, `method`, `first_seed`,
      `steps`, `record_every`, `game` (its name), `hyperparams`, `engine`, `platform`, `device`,
      `versions`; and `wall_seconds` for the whole training, `compile_seconds` of it before the
      first step, `seed_steps_per_second` after that (of the last session, if there were several).
    """
    tally, steps = population.tally, population.curves["step"]
    curves = convergence_curves(population)
    fifths = sorted({-(-fifth * len(steps) // 5) - 1 for fifth in range(1, 6)})
    quantiles = settling_quantiles(tally, steps)
    return {
        "seeds": tally.seeds,
        "steps": population.steps,
        **{name: as_json(proportion(getattr(tally, name), tally.seeds)) for name in OUTCOMES},
        "settled_step": {f"p{percent}": step for percent, step in quantiles.items()} or None,
        "over_training": [
            {
                "step": int(steps[record]),
                **{name: as_json(curve, record) for name, curve in curves.items()},
            }
            for record in fifths
        ],
        "method": name_parts(population.method),
        "grid": {name: np.asarray(values).tolist() for name, values in population.grid.items()},
        "first_seed": population.first_seed,
        "record_every": population.record_every,
        "game": population.game.name,
        "hyperparams": {
            name: np.asarray(value).tolist()
            for name, value in vars(population.hyperparams).items()
            if value is not None and name not in population.grid
        },
        "engine": population.engine,
        "platform": population.platform,
        "device": population.device,
        "wall_seconds": population.wall_seconds,
        "compile_seconds": population.compile_seconds,
        "seed_steps_per_second": population.seed_steps_per_second,
        "versions": population.versions,
    }


def name_parts(method: Method) -> dict[str, Any]:
    """What a method is made of, by name, as JSON."""
    names = [getattr(one, "__name__", repr(one)) for one in method.optimizers]
    return {
        "objective": method.objective.name,
        "schedule": method.schedule,
        "penalty": method.penalty.name,
        "d_steps": method.d_steps,
        "first": method.first,
        "optimizer": ",".join(names) if isinstance(method.optimizer, tuple) else names[0],
    }


def list_options(parts: Mapping[str, Any]) -> list[str]:
    """What a method, its parts and numbers by name, has other than the reference.

    As the options of the programs that make it so.
    """
    reference = name_parts(Method()) | vars(Hyperparams())
    others = {name: value for name, value in parts.items() if value != reference[name]}
    return [
        f"--{name.replace('_', '-')} {f'{value:g}' if isinstance(value, float) else value}"
        for name, value in others.items()
        if value is not None
    ]


def tabulate_cells(population: "Population") -> dict[str, np.ndarray]:
    """How often each cell of a grid converged: NumPy arrays [cells].

    Returns:
      The hyperparameters that the grid varies, in its order; `seeds` and `steps`; for each of
      `matched`, `in_support`, `forgot` and `diverged`, the `Proportion` of the cell's seeds, as
      `matched_count`, `matched_fraction`, `matched_ci_low`, `matched_ci_high` and so on; and the
      quantiles of the settling step, `settled_p5`, `settled_p50` and `settled_p95`, -1 in a cell
      where no seed settled.
    """
    grid, steps = population.grid, population.curves["step"]
    of_row = np.zeros(population.tally.seeds, int)  # a directory may lack some
    for name, values in grid.items():
        order = np.argsort(values)
        places = order[np.searchsorted(values, population.columns[name], sorter=order)]
        of_row = of_row * len(values) + places
    ends = np.cumsum(np.bincount(of_row, minlength=count_cells(grid)))
    columns = dict(population.columns)
    tallies = [
        count_rows({name: column[rows] for name, column in columns.items()}, steps)
        for rows in np.split(np.argsort(of_row, kind="stable"), ends[:-1])
    ]
    seeds = np.array([tally.seeds for tally in tallies])
    meant = [list(map(shortest, values)) for values in grid.values()]
    table = {name: values.ravel() for name, values in zip(grid, np.meshgrid(*meant, indexing="ij"))}
    table |= {"seeds": seeds, "steps": np.full(len(seeds), population.steps)}
    for name in OUTCOMES:
        found = proportion([getattr(tally, name) for tally in tallies], seeds)
        for key in ("count", "fraction", "ci_low", "ci_high"):
            table[f"{name}_{key}"] = getattr(found, key)
    quantiles = [settling_quantiles(tally, steps) for tally in tallies]
    for percent in (5, 50, 95):
        table[f"settled_p{percent}"] = np.array([found.get(percent, -1) for found in quantiles])
    return table


def as_json(proportion: Proportion, place: Any = ()) -> dict[str, Any]:
    """A proportion, or the one at a place in an array of them, as JSON; NaN is null."""
    fraction = proportion.fraction[place].item()
    return {
        "count": proportion.count[place].item(),
        "fraction": None if np.isnan(fraction) else fraction,
        "ci_low": proportion.ci_low[place].item(),
        "ci_high": proportion.ci_high[place].item(),
    }
