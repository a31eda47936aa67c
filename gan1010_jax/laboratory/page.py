"""The laboratory's page: one HTML file with the programs, and the scripts that run them.

`page_files/` holds its frame, its style and its modules. They are bundled into two scripts: that of
the page, and that of the workers, each of which is started with its programs from a blob.
"""

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from gan1010_jax.checks import check_whole
from gan1010_jax.environment import versions
from gan1010_jax.errors import check_choice
from gan1010_jax.figures import layer_sizes
from gan1010_jax.games import pattern_game
from gan1010_jax.gan import Setup
from gan1010_jax.laboratory.bundle import bundle
from gan1010_jax.laboratory.programs import PARTS, print_programs
from gan1010_jax.methods import OBJECTIVES, OPTIMIZERS, gives_belief, undecided
from gan1010_jax.names import OBJECTIVE_NAMES, UPDATE_ORDERS
from gan1010_jax.population import tabulate_cells, train_population

# The penalties of the page: those of any update order.
_PENALTIES = ("none", "r1")
_MAP_RATES = np.geomspace(1e-3, 1.0, 13)
_MAP_SEEDS, _MAP_STEPS = 32, 10_000


def make_laboratory(
    objectives: Sequence[str] = OBJECTIVE_NAMES,
    optimizers: Sequence[str] = ("sgd", "adam"),
    update_orders: Sequence[str] = tuple(UPDATE_ORDERS),
    *,
    bits: int = 4,
) -> str:
    """A page that trains 64 GANs in the browser, as HTML that needs nothing else.

    It has the program of each method of these parts, without penalty and with R1, for every pattern
    of a length. Printing them takes a second or two each, in as many processes as there are
    processors.

    Args:
      objectives: names of objectives.
      optimizers: names of optimisers, of both players.
      update_orders: names of update orders.
      bits: the length of the patterns, 1 to 16.

    Raises:
      InvalidArgument: (a `ValueError`) for a name that is unknown, or another length.
    """
    check_laboratory(objectives, optimizers, update_orders, bits)
    parts = [objectives, _PENALTIES, optimizers, update_orders]
    game = pattern_game(("10" * 8)[:bits])
    data = {
        "version": versions()["gan1010_jax"],
        "choices": {name: [*dict.fromkeys(given)] for name, given in zip(PARTS, parts)},
        "defaults": _defaults(game.name),
        "ranges": _ranges(),
        "sizes": {
            "generator": layer_sizes(game.generator, game.latent),
            "discriminator": layer_sizes(game.discriminator, game.real),
        },
        "objectives": {name: _describe(name) for name in dict.fromkeys(objectives)},
        "map": _compute_map(Setup(game)),
    }
    names = [" ".join(names) for names in itertools.product(*data["choices"].values())]
    data["programs"] = print_programs(names, bits)
    files = {
        "style": _read("uPlot.css") + _read("laboratory.css"),
        "worker": bundle("worker", lambda name: _read(f"{name}.js")),
        "charts": _read("uPlot.js"),
        "script": bundle("laboratory", lambda name: _read(f"{name}.js")),
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: files.get(match[1], match[0]), _read("page.html"))
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    ]
    return page.replace("{{hashes}}", " ".join(hashes))


def check_laboratory(
    objectives: Sequence[str], optimizers: Sequence[str], update_orders: Sequence[str], bits: int
) -> None:
    """Raise `InvalidArgument` for what `make_laboratory` does not take."""
    given = {"objectives": objectives, "optimizers": optimizers, "update_orders": update_orders}
    for (argument, names), known in zip(given.items(), (OBJECTIVES, OPTIMIZERS, UPDATE_ORDERS)):
        for name in names:
            check_choice(argument, name, known)
    check_whole("bits", bits, 1, 16)


def _read(name: str) -> str:
    return (resources.files(__package__) / "page_files" / name).read_text(encoding="utf-8")


def _defaults(pattern: str) -> dict[str, Any]:
    """The settings that the page begins with: the reference's."""
    setup = Setup()
    method = {name: setup.method.options[name] for name in PARTS}
    rates = {"d_lr": setup.hyperparams.d_lr, "g_lr": setup.hyperparams.g_lr}
    return {"pattern": pattern, **method, **rates, "penalty_weight": 1.0, "seed": 0}


def _ranges() -> list[list[float]]:
    """The real range of a coordinate whose bit is 0, and of one whose bit is 1."""
    real = pattern_game("01").real
    return [[low, high] for low, high in zip(real.low, real.high)]


def _describe(objective: str) -> dict[str, Any]:
    """What the page knows of an objective: the losses while D is undecided, and D's last number."""
    found = OBJECTIVES[objective]
    logit, losses = undecided(found)
    return {"belief": gives_belief(found), "logit": logit, "losses": losses}


def _compute_map(setup: Setup) -> dict[str, Any]:
    """The share in support after training, at each pair of learning rates: [D's][G's]."""
    rates = _MAP_RATES.astype(np.float32).tolist()
    population = train_population(
        range(_MAP_SEEDS), setup, steps=_MAP_STEPS, grid={"d_lr": rates, "g_lr": rates}
    )
    shares = tabulate_cells(population)["in_support_fraction"].reshape(len(rates), -1)
    numbers = {"rates": _MAP_RATES.round(6).tolist(), "shares": shares.tolist()}
    return numbers | {"seeds": _MAP_SEEDS, "steps": _MAP_STEPS}
