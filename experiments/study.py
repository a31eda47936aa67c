"""What the studies share: their directory, its files, and their tables in Markdown."""

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from gan1010_jax.cli import path, say, unset

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _new_directory() -> Path:
    return Path("runs") / time.strftime(f"{Path(sys.argv[0]).stem}-%Y%m%d-%H%M%S")


@dataclass(frozen=True)
class Study:
    """The option that every study has beside its own."""

    examples: ClassVar = {"": "as reported in experiments/README.md"}

    out: Annotated[Path, path("out"), unset("runs/<program>-<time>")] = field(
        default_factory=_new_directory
    )
    """Where to write: a new or empty directory."""

    def write(self, name: str, report: Any, figure: "Figure", **others: "Figure") -> None:
        """Write NAME.json, figures/NAME.png, and other figures by their names."""
        from gan1010_jax.figures import write_figures
        from gan1010_jax.population import write_json

        say("drawing")
        write_json(self.out / f"{name}.json", report)
        write_figures(self.out, {name: figure, **others})


def make_table(titles: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown; its first columns are on the left, and the others on the right."""
    sides = ["---"] * left + ["--:"] * (len(titles) - left)
    return "\n".join(f"| {' | '.join(line)} |" for line in (titles, sides, *rows))
