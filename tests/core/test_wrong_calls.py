"""A wrong call of any public name ends in success or in a documented error, and in no other."""

import inspect
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.checks import check_setup

GAME = gan.dirac_game()  # compiles in a tenth of the time of the reference
METHOD, HYPERPARAMS = gan.Method(), gan.Hyperparams()
SETUP = gan.Setup(GAME, METHOD, HYPERPARAMS)
KEY = jax.random.key(0)
STATE = gan.init(KEY, SETUP)
BATCH = gan.draw_batch(KEY, SETUP)
USES_ALL = gan.Method("minimax", "alternating", "wgan_gp", sync_period=5)  # of hyperparameters
MATRIX = np.eye(2, dtype=np.float32)
LENGTH = {"steps": 2, "record_every": 1}
REFERENCE = gan.init(KEY)
D_PARAMS, G_PARAMS = gan.params_to_torch(REFERENCE)


class Anything:
    def __repr__(self):
        return "Anything()"


WRONG = {
    "None": None,
    "5": 5,
    "-1": -1,
    "'x'": "x",
    "a null": "a\0b",
    "10**5000": 10**5000,  # with more digits than Python writes
    "nan": float("nan"),
    "inf": float("inf"),
    "[]": [],
    "{}": {},
    "an object": Anything(),
    "a function": lambda *args: None,
    "an array": np.zeros((2, 3, 5), np.float32),
    "a traceable array": jnp.zeros((2, 3, 5)),
    "a game": gan.pattern_game("01"),
    "a state of another game": REFERENCE,
}

DOCUMENTED = (gan.InvalidArgument, gan.BadFile, gan.UnsupportedPrimitive)


def call_right(name, population, out):
    """The arguments of a call of a public name that succeeds."""
    population_arguments = {"population": population}
    with_state = {"state": STATE, "setup": SETUP, "order": 1}
    history = jax.tree.map(lambda leaf: leaf[0], population.history)
    grid = {"seeds": range(2), "setup": SETUP, **LENGTH, "grid": {}, "engine": "fused"}
    files = {"repair": False, **dict.fromkeys(("progress", "log", "finish"), print_nothing)}
    return {
        "Constant": {"value": (0.5,)},
        "Discriminator": {"hidden": 3},
        "Game": {
            "name": "own",
            "discriminator": GAME.discriminator,
            "generator": GAME.generator,
            "real": GAME.real,
            "latent": GAME.latent,
            "matched": GAME.matched,
            "in_support": GAME.in_support,
            "summary_fn": GAME.summary_fn,
            "recipe": None,
        },
        "Generator": {"units": 4, "hidden": 3},
        "Hyperparams": dict.fromkeys(vars(HYPERPARAMS), 0.1),
        "Matches": {"bits": (1, 0)},
        "Method": {
            "objective": "mse",
            "update_order": "reference",
            "penalty": "none",
            "d_steps": 1,
            "first": "discriminator",
            "optimizer": METHOD.optimizer,
            "sync_period": 5,
        },
        "Normal": {"mean": (0.0,), "std": (1.0,)},
        "Objective": {"name": "own", "d_real": abs, "d_fake": abs, "g": abs, "relative": False},
        "Penalty": {
            "name": "own",
            "d": abs,
            "g": abs,
            "samples": "real",
            "needs_mix": False,
            "hyperparams": (),
            "objectives": None,
        },
        "Setup": {"game": GAME, "method": METHOD, "hyperparams": HYPERPARAMS},
        "Uniform": {"low": (0.0,), "high": (1.0,)},
        "Within": {"low": (0.0,), "high": (1.0,)},
        "antisymmetric_part": {"jacobian": MATRIX},
        "bilinear_game": {"start": (0.5, 0.5), "tolerance": 0.1},
        "convergence_curves": population_arguments,
        "convergence_report": population_arguments,
        "dirac_game": {"start": (0.5, 0.5), "tolerance": 0.1},
        "discriminator_update": {
            "state": STATE,
            "batch": BATCH,
            "setup": SETUP,
            "samples": "both",
            "at": STATE,
        },
        "draw_batch": {"key": KEY, "setup": SETUP, "step": 0},
        "expected_step": with_state,
        "field_jacobian": with_state,
        "find_equilibrium": with_state,
        "first_departure": {"step": np.arange(3), "in_support": np.ones(3, bool), "stay": 1},
        "follow": {
            "state": STATE,
            "setup": SETUP,
            "velocity": gan.gradient_velocity,
            **LENGTH,
            "stride": 1,
        },
        "from_lanes": {"tree": gan.to_lanes(MATRIX)},
        "from_nnx": {"make": lambda rngs: nnx.Linear(1, 1, rngs=rngs)},
        "generate": {"state": STATE, "setup": SETUP, "latent": np.zeros(1, np.float32)},
        "gradient_velocity": with_state,
        "level_velocity": {"state": STATE, "setup": SETUP},
        "step_velocity": with_state,
        "generator_update": {"state": STATE, "batch": BATCH, "setup": SETUP, "at": STATE},
        "init": {"key": KEY, "setup": SETUP},
        "judge": {"history": history},
        "load_population": {"out": out, "setup": None},
        "params_from_torch": {
            "d_state_dict": D_PARAMS,
            "g_state_dict": G_PARAMS,
            "setup": gan.Setup(),
        },
        "params_to_torch": {"state": REFERENCE},
        "pattern_game": {"pattern": "10"},
        "replay": {"seed": 0, "setup": SETUP, **LENGTH, "engine": "fused"},
        "replay_row": {"population": population, "row": 0},
        "scalarize": {"fn": lambda x: x, "example_args": 1.0},
        "spectral_radius": {"eigenvalues": MATRIX},
        "step_jacobian": with_state,
        "step_spectrum": with_state,
        "sweep": {k: v for k, v in grid.items() if k != "setup"}
        | {"workers": 1, "chunk": 2, "out": "new", "repair": False, "progress": print_nothing}
        | {
            "finish": print_nothing,
            "log": print_nothing,
            "grid": {"d_lr": [0.1]},
            "methods": SETUP,
        },
        "symmetric_part": {"jacobian": MATRIX},
        "tabulate_cells": population_arguments,
        "to_lanes": {"tree": MATRIX},
        "train": {"key": KEY, "setup": SETUP, **LENGTH, "log": print_nothing},
        "train_on": {
            "state": STATE,
            "real": np.zeros((2, 1)),
            "setup": SETUP,
            "latent": np.zeros((2, 1)),
            "record_every": 1,
        },
        "train_population": grid | files | {"workers": 1, "chunk": 2, "out": "new"},
        "train_share": {"seeds": range(2), "setup": SETUP, "out": "new", **LENGTH, **files},
        "train_step": {"state": STATE, "batch": BATCH, "setup": SETUP},
        "train_traced": {"key": KEY, "setup": SETUP, **LENGTH},
        "vector_field": with_state,
        "wilson_interval": {"count": 1, "total": 2, "confidence": 0.9},
    }[name]


def print_nothing(*args):
    pass


# Records and errors, which hold what they are given.
RECORDS = [
    *(gan.Batch, gan.Counts, gan.GANState, gan.History, gan.Lanes, gan.Losses, gan.Path),
    gan.PenaltyContext,
    *(gan.Player, gan.Population, gan.Proportion, gan.StepInfo, gan.Sweep, gan.Trace, gan.Verdict),
    *(gan.BadFile, gan.InvalidArgument, gan.UnfinishedRun, gan.UnsupportedPrimitive),
]
NAMES = [
    name
    for name in gan.__all__
    if callable(getattr(gan, name)) and getattr(gan, name) not in (*RECORDS, gan.Network)
]


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    out = tmp_path_factory.mktemp("population")
    gan.train_population(range(2), SETUP, **LENGTH, engine="fused", out=out)
    return gan.load_population(out), out


def call(name, arguments, documented=DOCUMENTED):
    """Call a public name; the error that it does not document, if any."""
    shutil.rmtree("new", ignore_errors=True)
    function = getattr(gan, name)
    kinds = {p.name: p.kind for p in inspect.signature(function).parameters.values()}
    extra = [v for k, v in arguments.items() if kinds.get(k) == inspect.Parameter.VAR_POSITIONAL]
    if extra:
        first = [v for k, v in arguments.items() if k in kinds and v is not extra[0]]
        positional, arguments = [*first, *extra], {}
    else:
        positional = []
    try:
        made = function(*positional, **arguments)
        if name in USES:
            USES[name](made)
    except documented:
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]


def use(function, *args):
    """Use a value at a function's first argument, and compute nothing."""
    return lambda made: jax.eval_shape(lambda *args: function(made)(*args), *args)


# What is made of wrong parts is rejected then, or when it is used.
USES = {
    **dict.fromkeys(("Constant", "Normal", "Uniform"), use(lambda made: made.sample, KEY)),
    "Discriminator": use(lambda made: made.init, KEY, np.zeros(3)),
    "Game": lambda made: check_setup(gan.Setup(made)),
    "Generator": use(lambda made: made.init, KEY, np.zeros(1)),
    "Hyperparams": lambda made: check_setup(gan.Setup(GAME, USES_ALL, made)),
    **dict.fromkeys(("Matches", "Within"), use(lambda made: made, np.zeros(1))),
    "Method": lambda made: check_setup(gan.Setup(GAME, made)),
    "Setup": check_setup,
    "from_nnx": use(lambda made: made.init, KEY, np.zeros(1)),
}


def wrong_calls(name, right):
    """Every call with one wrong argument, by the argument's and the value's names."""
    for argument in right:
        for kind, wrong in WRONG.items():
            yield f"{name}({argument}={kind})", right | {argument: wrong}


# These compile for every kind of wrong argument.
LONG = ("find_equilibrium", "generator_update", "replay", "field_jacobian", "step_jacobian")
LONG += ("follow", "gradient_velocity", "step_velocity")
LONG += ("train_traced", "vector_field", "expected_step", "step_spectrum", "train_share")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in NAMES]
)
def test_a_wrong_call_of_a_public_name_ends_in_a_documented_error(
    name, population, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    right = call_right(name, *population)
    assert call(name, right, documented=()) is None, "the right call succeeds"
    calls = dict(wrong_calls(name, right))
    assert len(calls) == len(right) * len(WRONG)  # 2,592 in all
    undocumented = {label: call(name, arguments) for label, arguments in calls.items()}
    assert {label: error for label, error in undocumented.items() if error} == {}


def test_every_argument_of_every_public_name_is_tried(population):
    for name in NAMES:
        parameters = set(inspect.signature(getattr(gan, name)).parameters)
        parameters -= {"resume", "options", "parent"}  # "parent" is Flax's own
        if name in ("Discriminator", "Generator"):
            parameters.remove("name")  # Flax's own, too
        assert set(call_right(name, *population)) >= parameters, name


@pytest.mark.parametrize("record", [r for r in RECORDS if not issubclass(r, Exception)])
def test_a_record_holds_whatever_it_is_given(record):
    parameters = inspect.signature(record).parameters.values()
    fields = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    for wrong in WRONG.values():
        made = record(*[wrong] * len(fields))
        assert isinstance(made, record)


def test_an_argument_whose_value_cannot_be_written_is_rejected_all_the_same():
    with rejects("pattern") as caught:
        gan.pattern_game(10**5000)
    assert str(caught.value).endswith("got an object of type int")


def test_a_rejection_stands_alone():
    """Without the error of JAX or Flax that led to it."""
    with rejects("state") as caught:
        gan.generate(STATE, gan.Setup())
    assert caught.value.__suppress_context__


def test_the_own_error_of_a_function_that_is_given_goes_through():
    def broken(logit):
        raise KeyError("broken")

    method = gan.Method(gan.Objective("broken", broken, broken, broken))
    with pytest.raises(KeyError, match="broken"):
        gan.train(KEY, gan.Setup(GAME, method), **LENGTH)
