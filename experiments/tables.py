"""The tables of the studies, in Markdown: on standard output, and the same on the pages."""

from collections.abc import Iterable, Sequence


def make_table(titles: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown; its first columns are on the left, and the others on the right."""
    sides = ["---"] * left + ["--:"] * (len(titles) - left)
    return "\n".join(f"| {' | '.join(line)} |" for line in (titles, sides, *rows))
