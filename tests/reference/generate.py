"""Run the reference program and write down what it gave, for the tests.

    python tests/reference/generate.py runs          # about two minutes on two cores
    python tests/reference/generate.py population    # about twenty-five

`runs.npz` holds eight runs of 10,000 steps, `long_run.npz` one of 50,000, and `population.npz` a
row for each of 400 independent runs. They came from PyTorch 2.13.0; another release may round
differently.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from pytorch_gan import Discriminator, Generator, draw_real, train

STEPS, LONG_STEPS = 10_000, 50_000
RECORD_EVERY, DOUBLE_RECORD_EVERY = 10, 1_000
RUN_SEEDS, LONG_RUN_SEED = range(1010, 1018), 1018
POPULATION_SEEDS = range(400)

Arrays = dict[str, np.ndarray]
Players = tuple[Discriminator, Generator]


def start(seed: int) -> Players:
    """Both networks of a run; its samples are drawn after them."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return Discriminator(), Generator()


def name_parameters(prefix: str, players: Players) -> Arrays:
    """The parameters of both, under such names as `initial/d/model.0.weight`."""
    return {
        f"{prefix}/{player}/{name}": value.numpy().copy()
        for player, network in zip("dg", players)
        for name, value in network.state_dict().items()
    }


def record_run(seed: int, steps: int = STEPS) -> Arrays:
    """A run in single precision, recorded every tenth step; and the same in double, more seldom."""
    players, samples = start(seed), draw_real(steps)
    in_double = Discriminator().double(), Generator().double()
    for network, copy in zip(players, in_double):
        copy.load_state_dict(network.state_dict())
    initial = name_parameters("initial", players)
    record = train(*players, samples, RECORD_EVERY)
    double = train(*in_double, samples.double(), DOUBLE_RECORD_EVERY)
    return {
        "samples": samples.numpy(),
        "output": record.output.numpy(),
        "losses": record.losses.numpy(),
        "double/output": double.output.numpy(),
        "double/losses": double.losses.numpy(),
        **initial,
        **name_parameters("final", players),
        **name_parameters("double/final", in_double),
    }


def judge_run(seed: int) -> Arrays:
    """A run's row, in the words of the project's own tables; written without its code."""
    record = train(*start(seed), draw_real(STEPS), RECORD_EVERY)
    output, step = record.output.numpy(), np.arange(RECORD_EVERY, STEPS + 1, RECORD_EVERY)
    low, high = np.float32([0.8, 0, 0.8, 0]), np.float32([1, 0.2, 1, 0.2])
    matches = ((output > 0.5) == [True, False, True, False]).all(axis=1)
    misses = step[~matches]
    settled_step = RECORD_EVERY + misses[-1] if misses.size else RECORD_EVERY
    return {
        "seed": np.int32(seed),
        "matched": matches[-1],
        "in_support": ((output[-1] >= low) & (output[-1] <= high)).all(),
        "first_match_step": np.int32(step[matches.argmax()] if matches.any() else -1),
        "settled_step": np.int32(settled_step if matches[-1] else -1),
        **{f"output_{unit}": value for unit, value in enumerate(output[-1])},
        **dict(zip(("d_loss_real", "d_loss_fake", "g_loss"), record.losses[-1].numpy())),
    }


def write(name: str, rows: Sequence[Arrays]) -> None:
    """Write rows side by side, each array [rows, ...], beside this file."""
    arrays = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    np.savez_compressed(Path(__file__).with_name(name), **arrays)
    print(f"{name}: {len(rows)} runs")


def in_processes(function: Callable[[int], Arrays], seeds: Sequence[int]) -> list[Arrays]:
    """A function of each seed, a process on each core."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, seeds))


def main() -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["runs", "population"], nargs="+")
    what = parser.parse_args().what
    if "runs" in what:
        write("runs.npz", in_processes(record_run, RUN_SEEDS))
        write("long_run.npz", [record_run(LONG_RUN_SEED, LONG_STEPS)])
    if "population" in what:
        write("population.npz", in_processes(judge_run, POPULATION_SEEDS))


if __name__ == "__main__":
    main()
