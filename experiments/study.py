"""What the studies share: their directory, its files, and their tables in Markdown."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import OmitArgPrefixes

from gan1010_jax.cli import FigureOptions, path, say, unset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Draw = Callable[..., Figure]  # of `style`


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

    look: OmitArgPrefixes[FigureOptions] = field(default_factory=FigureOptions)

    def write(self, name: str, report: Any, draw: "Draw", **others: "Draw") -> None:
        """Write NAME.json, the figure NAME, and other figures by their names."""
        from gan1010_jax.figures import write_figures
        from gan1010_jax.population import write_json

        say("drawing")
        write_json(self.out / f"{name}.json", report)
        write_figures(self.out, {name: draw, **others}, *self.look.arguments())


def make_table(titles: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown; its first columns are on the left, and the others on the right."""
    sides = ["---"] * left + ["--:"] * (len(titles) - left)
    return "\n".join(f"| {' | '.join(line)} |" for line in (titles, sides, *rows))
