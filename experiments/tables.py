"""The tables of the studies, in Markdown: on standard output, and the same on the pages."""

from collections.abc import Iterable, Mapping, Sequence


def make_table(titles: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown; its first columns are on the left, and the others on the right."""
    sides = ["---"] * left + ["--:"] * (len(titles) - left)
    return "\n".join(f"| {' | '.join(line)} |" for line in (titles, sides, *rows))


def in_percent(proportion: Mapping[str, float], digits: int) -> list[str]:
    """A fraction, and its interval."""
    fraction, low, high = (
        f"{100 * proportion[key]:.{digits}f}" for key in ("fraction", "ci_low", "ci_high")
    )
    return [f"{fraction} %", f"{low} – {high} %"]


def in_units(quantiles: Mapping[str, float | None], unit: float, digits: int) -> str:
    """A median, and the 5 and 95 % quantiles, in a unit; – for one that is infinite."""
    median, low, high = (
        "–" if quantiles[key] is None else f"{quantiles[key] / unit:.{digits}f}"
        for key in ("p50", "p5", "p95")
    )
    return f"{median} ({low} – {high})"
