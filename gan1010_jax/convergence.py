"""What "converges" means for one run, and how runs are counted.

Evaluated on the generator's output at every record: it *matches* if the game's test says so, and is
*in support* if it could be a real sample; once a parameter is not finite it is neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.checks import as_array, check_kind
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.methods import is_real
from gan1010_jax.training import History


class Verdict(NamedTuple):
    """The outcome of one run; each field is a scalar, and a column of a population.

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


# The unit and the meaning of each field, as the tables of populations state them.
VERDICT_MEANINGS = {
    "matched": ("", "the output matches: of bits, each coordinate is on its bit's side of 0.5"),
    "in_support": ("", "the output could be real: of bits, each coordinate is in its real range"),
    "forgot": ("", "it matched at some record, and does not at the end"),
    "diverged": ("", "a parameter is not finite"),
    "first_match_step": ("steps", "the first record that matches, or -1"),
    "settled_step": ("steps", "the first record from which every later one matches, or -1"),
}


class Marks(NamedTuple):
    """What a verdict needs of all records so far; kept up to date from record to record.

    Attributes:
      first_match_step: int32, the step of the first record that matched, or -1.
      settled_step: int32, the step of the first record from which every one so far matched, or -1.
    """

    first_match_step: jax.Array
    settled_step: jax.Array


def no_marks() -> Marks:
    """The marks of a run before its first record."""
    return Marks(*[jnp.full((), -1, jnp.int32)] * 2)


def mark(marks: Marks, record: History) -> Marks:
    """The marks after one more record, a `History` without the leading axis."""

    def since(step):
        return jnp.where(step < 0, jnp.asarray(record.step, jnp.int32), step)

    first, settled = marks
    return Marks(
        first_match_step=jnp.where(record.matched, since(first), first),
        settled_step=jnp.where(record.matched, since(settled), -1),
    )


def conclude(marks: Marks, last: History) -> Verdict:
    """The verdict on a run with these marks and this last record."""
    return Verdict(
        matched=last.matched,
        in_support=last.in_support,
        forgot=(marks.first_match_step >= 0) & ~last.matched,
        diverged=~last.finite,
        first_match_step=marks.first_match_step,
        settled_step=marks.settled_step,
    )


def judge(history: History) -> Verdict:
    """Judge one run by its records.

    Raises:
      InvalidArgument: (a `ValueError`) for anything but the `History` of one run.
    """
    check_kind("history", history, History)
    flags = (history.step, history.finite, history.matched, history.in_support)
    shapes = [getattr(leaf, "shape", None) for leaf in flags]
    if shapes[0] in (None, ()) or shapes[0] == (0,) or shapes != [shapes[0][:1]] * 4:
        raise InvalidArgument("history", shapes, "of one run, each test [records]")
    flags = history._replace(output=None, losses=None)
    marks, _ = jax.lax.scan(_mark_next, no_marks(), flags)
    return conclude(marks, jax.tree.map(lambda leaf: leaf[-1], flags))


def _mark_next(marks: Marks, record: History) -> tuple[Marks, None]:
    """A step of a scan over records; one function, so that JAX compiles it once."""
    return mark(marks, record), None


def wilson_interval(
    count: np.typing.ArrayLike, total: np.typing.ArrayLike, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """The Wilson score interval of a fraction; vectorised, which scipy's is not.

    With p = count/total and z the normal quantile of the confidence, the interval is
    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n). Wilson, *Probable Inference, the Law of
    Succession, and Statistical Inference*, JASA 22 (1927).

    Args:
      count: the number of successes, 0 to `total`; any shape.
      total: the number of trials, 1 or more; of a shape that broadcasts with `count`.
      confidence: between 0 and 1.

    Returns:
      The lower and upper ends, float64 of the shape of both together.

    Raises:
      InvalidArgument: (a `ValueError`) for a count, total or confidence outside these limits.
    """
    count, total, confidence = (
        _as_floats(name, value)
        for name, value in (("count", count), ("total", total), ("confidence", confidence))
    )
    if not np.all(total >= 1):
        raise InvalidArgument("total", total, "1 or more")
    if not np.all((count >= 0) & (count <= total)):
        raise InvalidArgument("count", count, f"from 0 to the total, {total}")
    if confidence.ndim or not 0 < confidence < 1:
        raise InvalidArgument("confidence", confidence, "between 0 and 1")
    try:
        np.broadcast_shapes(count.shape, total.shape)
    except ValueError:
        raise InvalidArgument(
            "total", total, f"of a shape like the count's, {count.shape}"
        ) from None
    z = NormalDist().inv_cdf((1 + float(confidence)) / 2)
    p = count / total
    center = p + z**2 / (2 * total)
    half_width = z * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    low, high = (center - half_width) / scale, (center + half_width) / scale
    return np.where(count == 0, 0.0, low), np.where(count == total, 1.0, high)


def _as_floats(name: str, value: Any) -> np.ndarray:
    """Numbers as float64; raise for anything else."""
    array = np.asarray(as_array(name, value, "a number, or an array of them"))
    if not is_real(array):
        raise InvalidArgument(name, value, "a number, or an array of them")
    return array.astype(np.float64)


class Counts(NamedTuple):
    """Counts over the rows of a population; those of its chunks add up to its own.

    Attributes:
      seeds: the number of rows.
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


def count_rows(columns: Mapping[str, np.ndarray], steps: np.ndarray) -> Counts:
    """Count over the columns [rows] of a population with records at these steps [records]."""

    def at_records(events: np.ndarray) -> np.ndarray:
        return np.bincount(np.searchsorted(steps, events[events >= 0]), minlength=len(steps))

    outputs = [column for name, column in columns.items() if name.startswith("output_")]
    return Counts(
        seeds=len(columns["seed"]),
        **{name: int(columns[name].sum()) for name in OUTCOMES},
        first_matched=at_records(columns["first_match_step"]),
        settled=at_records(columns["settled_step"]),
        outputs=np.stack([np.histogram(output, OUTPUT_EDGES)[0] for output in outputs]),
    )


def add_counts(counts: Counts | None, others: Counts) -> Counts:
    """The counts of both sets of rows together; of the first, None is no row."""
    return others if counts is None else Counts(*map(sum, zip(counts, others)))


def settling_quantiles(counts: Counts, steps: np.ndarray) -> dict[int, int]:
    """The 5, 50 and 95 % quantiles of the settling step over the seeds that settled.

    Each is the step of the first record by which at least that share of them had settled. Empty if
    none did.
    """
    by_then = np.cumsum(counts.settled)
    if not by_then[-1]:
        return {}
    percents = (5, 50, 95)
    records = [np.searchsorted(100 * by_then, percent * by_then[-1]) for percent in percents]
    return {percent: int(steps[record]) for percent, record in zip(percents, records)}


class Proportion(NamedTuple):
    """A fraction of seeds and its 95 % Wilson interval, or an array of them.

    Attributes:
      count: int64, the number of seeds that have the property.
      total: int64, the number of all seeds.
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
    """The fraction that a count is of a total, and its interval."""
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


def as_json(proportion: Proportion, index: Any = ()) -> dict[str, Any]:
    """A proportion, or the one at an index of an array of them, as JSON; NaN becomes null."""
    fraction = proportion.fraction[index].item()
    return {
        "count": proportion.count[index].item(),
        "fraction": None if np.isnan(fraction) else fraction,
        "ci_low": proportion.ci_low[index].item(),
        "ci_high": proportion.ci_high[index].item(),
    }
