"""The smallest GAN, trained once to watch it or a million times to measure it.

    import jax
    import gan1010_jax as gan

    state, history = gan.train(jax.random.key(0))
    gan.convergence_report(gan.train_population(range(64)))

`updates.py` is the GAN; read it first.
"""

from gan1010_jax.convergence import (
    Proportion,
    Tally,
    Verdict,
    convergence_curves,
    convergence_report,
    judge,
    tabulate_cells,
    wilson_interval,
)
from gan1010_jax.errors import BadFile, InvalidArgument, UnfinishedRun
from gan1010_jax.film import Film, watch
from gan1010_jax.games import (
    Constant,
    Game,
    Matches,
    Normal,
    Uniform,
    Within,
    dirac_game,
    pattern_game,
)
from gan1010_jax.interop import params_from_torch, params_to_torch
from gan1010_jax.losses import Batch
from gan1010_jax.methods import Hyperparams, Method, Objective, Penalty, Round
from gan1010_jax.models import Discriminator, Generator
from gan1010_jax.population import Population, load_population, replay, train_population
from gan1010_jax.scalarize import Lanes, UnsupportedPrimitive, from_lanes, scalarize, to_lanes
from gan1010_jax.stability import (
    antisymmetric_part,
    expected_step,
    field_jacobian,
    find_equilibrium,
    spectral_radius,
    step_jacobian,
    step_spectrum,
    symmetric_part,
    vector_field,
)
from gan1010_jax.training import History, train, train_on
from gan1010_jax.updates import (
    GANState,
    Losses,
    Player,
    Update,
    discriminator_update,
    draw_batch,
    generate,
    generator_update,
    init,
    train_step,
)
from gan1010_jax.version import __version__

__all__ = [
    "BadFile",
    "Batch",
    "Constant",
    "Discriminator",
    "Film",
    "GANState",
    "Game",
    "Generator",
    "History",
    "Hyperparams",
    "InvalidArgument",
    "Lanes",
    "Losses",
    "Matches",
    "Method",
    "Normal",
    "Objective",
    "Penalty",
    "Player",
    "Population",
    "Proportion",
    "Round",
    "Tally",
    "UnfinishedRun",
    "Uniform",
    "UnsupportedPrimitive",
    "Update",
    "Verdict",
    "Within",
    "__version__",
    "antisymmetric_part",
    "convergence_curves",
    "convergence_report",
    "dirac_game",
    "discriminator_update",
    "draw_batch",
    "expected_step",
    "field_jacobian",
    "find_equilibrium",
    "from_lanes",
    "generate",
    "generator_update",
    "init",
    "judge",
    "load_population",
    "params_from_torch",
    "params_to_torch",
    "pattern_game",
    "replay",
    "scalarize",
    "spectral_radius",
    "step_jacobian",
    "step_spectrum",
    "symmetric_part",
    "tabulate_cells",
    "to_lanes",
    "train",
    "train_on",
    "train_population",
    "train_step",
    "vector_field",
    "watch",
    "wilson_interval",
]
