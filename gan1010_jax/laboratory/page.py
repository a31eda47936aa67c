"""The laboratory's page: one HTML file with the programs, and the scripts that run them.

`page_files/` holds its frame, its style and its modules. They are bundled into two scripts: that of
the page, and that of the workers, each of which is started with its programs from a blob.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from gan1010_jax.checks import check_whole
from gan1010_jax.errors import check_choice
from gan1010_jax.games import pattern_game
from gan1010_jax.gan import Setup
from gan1010_jax.laboratory.bundle import bundle
from gan1010_jax.laboratory.programs import (
    PARTS,
    named_setup,
    print_program,
    print_programs,
    program_name,
    program_names,
    with_weight,
)
from gan1010_jax.methods import (
    OBJECTIVES,
    OPTIMIZERS,
    Method,
    Objective,
    flags_of,
    gives_belief,
    undecided,
)
from gan1010_jax.names import OBJECTIVE_NAMES, TRACED_UPDATE_ORDERS
from gan1010_jax.networks import layer_sizes
from gan1010_jax.population import tabulate_cells, train_population

_PENALTIES = ("none", "r1")  # those of any update order
_R1_WEIGHT = 0.1  # with which the reference learns in 10,000 steps, and stays
_MAP_RATES = np.geomspace(1e-3, 1.0, 13)
_MAP_SEEDS, _MAP_STEPS = 32, 10_000
_LONGEST = 250_000  # steps of a run


def make_laboratory(
    objectives: Sequence[str] = OBJECTIVE_NAMES,
    optimizers: Sequence[str] = ("sgd", "adam"),
    update_orders: Sequence[str] = TRACED_UPDATE_ORDERS,
    *,
    bits: int = 4,
) -> str:
    """A page that trains 64 GANs in the browser, as HTML that needs nothing else.

    It has the program of each method that these parts can make, without penalty and with R1, for
    every pattern of a length. Printing them takes a second or two each, in as many processes as
    there are processors.

    Args:
      objectives: names of objectives.
      optimizers: names of optimisers, of both players.
      update_orders: names of update orders, all but `extragradient`.
      bits: the length of the patterns, 1 to 16.

    Raises:
      InvalidArgument: (a `ValueError`) for a name that is unknown, for another length, and for an
        objective that goes with none of the update orders.
    """
    check_laboratory(objectives, optimizers, update_orders, bits)
    parts = (objectives, _PENALTIES, optimizers, update_orders)
    choices = {name: [*dict.fromkeys(given)] for name, given in zip(PARTS, parts)}
    names = program_names(choices)
    reference = program_name(Method())
    setup = named_setup(reference if reference in names else names[0], bits)
    return _fill_page(
        setup,
        title="The 1010 laboratory",
        choices=choices,
        programs=print_programs(names, bits),
        map=_compute_map(Setup(setup.game)),
        tour=bits == 4 and {reference, program_name(Method(penalty="r1"))} <= {*names},
    )


def check_laboratory(
    objectives: Sequence[str], optimizers: Sequence[str], update_orders: Sequence[str], bits: int
) -> None:
    """Raise `InvalidArgument` for what `make_laboratory` does not take."""
    given = {"objectives": objectives, "optimizers": optimizers, "update_orders": update_orders}
    choices = (OBJECTIVES, OPTIMIZERS, TRACED_UPDATE_ORDERS)
    for (argument, names), known in zip(given.items(), choices):
        for name in names:
            check_choice(argument, name, known)
    check_whole("bits", bits, 1, 16)


def make_watch_page(setup: Setup = Setup(), seed: int = 17, steps: int = 10_000) -> str:
    """The laboratory of one method, on one of its GANs: that of a seed, before its first step.

    Args:
      setup: what is trained: a game of `pattern_game`, and any method.
      seed: the GAN that is shown, 0 to 2³² - 64; the next 63 train beside it.
      steps: how many steps it trains when it is played, 1 to 250,000.

    Raises:
      InvalidArgument: (a `ValueError`) for another seed or number of steps.
    """
    check_watch_page(seed, steps)
    return _fill_page(
        setup,
        title=f"A GAN that learns {setup.game.name}",
        choices={name: [setup.method.options[name]] for name in PARTS},
        programs={program_name(setup.method): print_program(setup)},
        seed=seed,
        steps=steps,
        watch=True,
    )


def check_watch_page(seed: int, steps: int) -> None:
    """Raise `InvalidArgument` for what `make_watch_page` does not take."""
    check_whole("seed", seed, 0, 2**32 - 64)
    check_whole("steps", steps, 1, _LONGEST)


def _fill_page(
    setup: Setup,
    *,
    title: str,
    choices: Mapping[str, Sequence[str]],
    programs: Mapping[str, str],
    seed: int = 0,
    steps: int = 10_000,
    watch: bool = False,
    map: Mapping[str, Any] | None = None,
    tour: bool = False,
) -> str:
    """The page of these programs, which begins with a setup's method, rates and pattern."""
    setup = with_weight(setup)
    game, own = setup.game, setup.method.objective
    data = {
        "choices": choices,
        "defaults": _name_setting(setup) | {"seed": seed},
        "steps": steps,
        "longest": _LONGEST,
        "watch": watch,
        "tour": tour,
        "others": _describe_others(setup),
        "ranges": _ranges(),
        "sizes": {
            "generator": layer_sizes(game.generator, game.latent.center),
            "discriminator": layer_sizes(game.discriminator, game.real.center),
        },
        "objectives": {
            name: _describe(own if name == own.name else OBJECTIVES[name])
            for name in choices["objective"]
        },
        "map": map,
        "programs": programs,
    }
    files = {
        "title": html.escape(title),
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


def _read(name: str) -> str:
    return (resources.files(__package__) / "page_files" / name).read_text(encoding="utf-8")


def _name_setting(setup: Setup) -> dict[str, Any]:
    """What the page can change of a setup."""
    numbers = vars(setup.hyperparams)
    rates = {name: numbers[name] for name in ("d_lr", "g_lr")}
    weight = numbers["penalty_weight"]
    pattern = "".join(map(str, setup.game.matched.bits))
    method = {name: setup.method.options[name] for name in PARTS}
    return {
        "pattern": pattern,
        **method,
        **rates,
        "penalty_weight": _R1_WEIGHT if weight is None else weight,
    }


def _describe_others(setup: Setup) -> dict[str, str]:
    """What differs from the reference and the page cannot change: in words, and as Python."""
    fixed = _name_setting(setup)
    options = Method().options
    method = {
        name: value
        for name, value in setup.method.options.items()
        if name not in fixed and value != options[name]
    }
    numbers = {
        name: value
        for name, value in vars(setup.hyperparams).items()
        if name not in fixed and value is not None
    }
    return {
        "flags": " ".join(flags_of(method | numbers)),
        "method": "".join(f", {name}={value!r}" for name, value in method.items()),
        "hyperparams": "".join(f", {name}={value!r}" for name, value in numbers.items()),
    }


def _ranges() -> list[list[float]]:
    """The real range of a coordinate whose bit is 0, and of one whose bit is 1."""
    real = pattern_game("01").real
    return [[low, high] for low, high in zip(real.low, real.high)]


def _describe(objective: Objective) -> dict[str, Any]:
    """What the page knows of an objective: the losses while D is undecided, and D's last number."""
    logit, losses = undecided(objective)
    return {"belief": gives_belief(objective), "logit": logit, "losses": losses}


def _compute_map(setup: Setup) -> dict[str, Any]:
    """The share in support after training, at each pair of learning rates: [D's][G's]."""
    rates = _MAP_RATES.astype(np.float32).tolist()
    population = train_population(
        range(_MAP_SEEDS), setup, steps=_MAP_STEPS, grid={"d_lr": rates, "g_lr": rates}
    )
    shares = tabulate_cells(population)["in_support_fraction"].reshape(len(rates), -1)
    numbers = {"rates": _MAP_RATES.round(6).tolist(), "shares": shares.tolist()}
    return numbers | {"seeds": _MAP_SEEDS, "steps": _MAP_STEPS}
