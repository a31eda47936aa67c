"""The results of seeds as Arrow tables, and back; each column says what it means."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset

from gan1010_jax.blocks import Block
from gan1010_jax.convergence import OUTCOMES
from gan1010_jax.training import History
from gan1010_jax.updates import Losses

# name: unit, meaning
MEANINGS = {
    "seed": ("", "the integer that the run started from"),
    "step": ("steps", "how many steps had been taken"),
    "seeds": ("seeds", "how many seeds the counts are of"),
    "matched": ("", "the output matches: of bits, each coordinate is on its bit's side of 0.5"),
    "in_support": ("", "the output could be real: of bits, each coordinate is in its real range"),
    "forgot": ("", "it matched at some record, and does not at the end"),
    "diverged": ("", "a parameter is not finite"),
    "finite": ("", "every parameter is finite"),
    "first_match_step": ("steps", "the first record that matches, or -1"),
    "settled_step": ("steps", "the first record from which every later one matches, or -1"),
    "d_loss_real": ("loss", "the discriminator's loss on a real sample, in the last step"),
    "d_loss_fake": ("loss", "the discriminator's loss on a fake sample, in the last step"),
    "g_loss": ("loss", "the generator's loss, in the last step"),
    "d_lr": ("", "the discriminator's learning rate"),
    "g_lr": ("", "the generator's learning rate"),
    "penalty_weight": ("", "what the penalty is multiplied by"),
    "target_norm": ("", "what the penalty wgan_gp wants the norm of the gradient to be"),
    "noise_std": ("", "the standard deviation of the instance noise"),
    "clip": ("", "the bound that the discriminator's parameters are clipped to"),
}
OUTPUT = ("", "a coordinate of the generator's output, or of what else the game observes")
PROPORTION = {
    "count": ("seeds", "how many seeds of the cell are so: {}"),
    "fraction": ("", "which fraction of the cell's seeds is so: {}"),
    "ci_low": ("", "the lower end of that fraction's 95 % Wilson interval"),
    "ci_high": ("", "the upper end of that fraction's 95 % Wilson interval"),
}
MEANINGS |= {
    f"{name}_{key}": (unit, meaning.format(MEANINGS[name][1]))
    for name in OUTCOMES
    for key, (unit, meaning) in PROPORTION.items()
}
MEANINGS |= {
    f"settled_p{percent}": ("steps", f"the {percent} % quantile of the settling step, or -1")
    for percent in (5, 50, 95)
}
MEANINGS |= {
    "method": ("", "how it was trained"),
    "steps": ("steps", "how many steps each seed was trained"),
}


def make_tables(block: Block, steps: np.ndarray) -> dict[str, pa.Table]:
    """The tables of some seeds with records at some steps [records], by their names.

    `population` has a row for each seed, `curves` one for each record with how many of the seeds
    have succeeded there, and `histories` one for each seed and record, of the seeds whose history
    is kept.
    """
    seeds = block.columns["seed"]
    curves = {"step": steps, "seeds": np.full(len(steps), len(seeds)), **block.counts}
    tables = {"population": block.columns, "curves": curves}
    if block.history is not None:
        history = block.history
        kept, records = history.step.shape
        units = np.moveaxis(history.output, -1, 0)
        long = {
            "seed": np.repeat(seeds[:kept], records),
            "step": history.step,
            **{f"output_{unit}": output for unit, output in enumerate(units)},
            "d_loss_real": history.losses.d_real,
            "d_loss_fake": history.losses.d_fake,
            "g_loss": history.losses.g,
            "finite": history.finite,
            "matched": history.matched,
            "in_support": history.in_support,
        }
        tables["histories"] = {name: np.ravel(column) for name, column in long.items()}
    return {name: make_table(columns) for name, columns in tables.items()}


def make_table(columns: Mapping[str, np.ndarray]) -> pa.Table:
    """A table of some columns, with the unit and the meaning of each."""
    arrays = {name: pa.array(column) for name, column in columns.items()}
    fields = []
    for name, array in arrays.items():
        unit, meaning = OUTPUT if name.startswith("output_") else MEANINGS[name]
        fields.append(pa.field(name, array.type, metadata={"unit": unit, "meaning": meaning}))
    return pa.Table.from_arrays(list(arrays.values()), schema=pa.schema(fields))


def read_columns(table: pa.Table) -> dict[str, np.ndarray]:
    """The columns of a table."""
    return {name: table[name].to_numpy() for name in table.column_names}


def read_counts(table: pa.Table) -> dict[str, np.ndarray]:
    """How many seeds have succeeded at each record, of a table of curves."""
    columns = read_columns(table)
    del columns["step"], columns["seeds"]
    return columns


def read_history(table: pa.Table, records: int) -> History:
    """The histories of a table, each leaf [seeds, records, ...]."""
    columns = {name: column.reshape(-1, records) for name, column in read_columns(table).items()}
    outputs = [column for name, column in columns.items() if name.startswith("output_")]
    return History(
        step=columns["step"],
        output=np.stack(outputs, axis=-1),
        losses=Losses(columns["d_loss_real"], columns["d_loss_fake"], columns["g_loss"]),
        finite=columns["finite"],
        matched=columns["matched"],
        in_support=columns["in_support"],
    )


def no_history(units: int, records: int) -> History:
    """The histories of no seeds, each leaf [0, records, ...]."""
    none = np.empty((0, records))
    return History(
        step=none.astype(np.int32),
        output=np.empty((0, records, units)),
        losses=Losses(none, none, none),
        finite=none.astype(bool),
        matched=none.astype(bool),
        in_support=none.astype(bool),
    )


class StoredColumns(Mapping[str, np.ndarray]):
    """The columns of a dataset of Parquet files, each read when it is asked for, and then kept."""

    def __init__(self, files: Iterable[Path]):
        """Of some files, in their order."""
        self.dataset = pyarrow.dataset.dataset([str(file.resolve()) for file in files])
        self.columns: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        """One column, [seeds]."""
        if name not in self.dataset.schema.names:
            raise KeyError(name)
        if name not in self.columns:
            self.columns[name] = self.dataset.to_table(columns=[name])[name].to_numpy()
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the columns, in their order."""
        return iter(self.dataset.schema.names)

    def __len__(self) -> int:
        """How many columns there are."""
        return len(self.dataset.schema.names)
