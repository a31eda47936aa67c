"""The public names of the package: what `gan` is, after `import gan1010_jax as gan`."""

import gan1010_jax.plot as plot  # as a module, which type checkers find so
from gan1010_jax.checks import checked
from gan1010_jax.convergence import (
    Counts,
    Proportion,
    Verdict,
    judge,
    wilson_interval,
)
from gan1010_jax.engines import Lanes, UnsupportedPrimitive, from_lanes, scalarize, to_lanes
from gan1010_jax.environment import __version__
from gan1010_jax.errors import BadFile, InvalidArgument, UnfinishedRun
from gan1010_jax.flow import (
    Path,
    first_departure,
    follow,
    gradient_velocity,
    level_velocity,
    step_velocity,
)
from gan1010_jax.games import (
    Constant,
    Game,
    Matches,
    Normal,
    Uniform,
    Within,
    bilinear_game,
    dirac_game,
    pattern_game,
)
from gan1010_jax.gan import (
    Batch,
    GANState,
    Losses,
    Player,
    Setup,
    StepInfo,
    discriminator_update,
    draw_batch,
    generate,
    generator_update,
    init,
    train_step,
)
from gan1010_jax.interop import params_from_torch, params_to_torch
from gan1010_jax.methods import Hyperparams, Method, Objective, Penalty, PenaltyContext
from gan1010_jax.models import Discriminator, Generator
from gan1010_jax.networks import Network, from_nnx
from gan1010_jax.population import (
    Population,
    Sweep,
    convergence_curves,
    convergence_report,
    load_population,
    replay,
    replay_row,
    sweep,
    tabulate_cells,
    train_population,
    train_share,
)
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
from gan1010_jax.training import History, Trace, train, train_on, train_traced

# Here alone, since the checks stand above the GAN, which calls these functions unchecked.
init, draw_batch, generate = checked(init), checked(draw_batch), checked(generate)
discriminator_update = checked(discriminator_update)
generator_update, train_step = checked(generator_update), checked(train_step)

__all__ = [
    "BadFile",
    "Batch",
    "Constant",
    "Counts",
    "Discriminator",
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
    "Network",
    "Normal",
    "Objective",
    "Path",
    "Penalty",
    "PenaltyContext",
    "Player",
    "Population",
    "Proportion",
    "Setup",
    "StepInfo",
    "Sweep",
    "Trace",
    "UnfinishedRun",
    "Uniform",
    "UnsupportedPrimitive",
    "Verdict",
    "Within",
    "__version__",
    "antisymmetric_part",
    "bilinear_game",
    "convergence_curves",
    "convergence_report",
    "dirac_game",
    "discriminator_update",
    "draw_batch",
    "expected_step",
    "field_jacobian",
    "find_equilibrium",
    "first_departure",
    "follow",
    "from_lanes",
    "from_nnx",
    "generate",
    "generator_update",
    "gradient_velocity",
    "init",
    "judge",
    "level_velocity",
    "load_population",
    "params_from_torch",
    "params_to_torch",
    "pattern_game",
    "plot",
    "replay",
    "replay_row",
    "scalarize",
    "spectral_radius",
    "step_jacobian",
    "step_spectrum",
    "step_velocity",
    "sweep",
    "symmetric_part",
    "tabulate_cells",
    "to_lanes",
    "train",
    "train_on",
    "train_population",
    "train_share",
    "train_step",
    "train_traced",
    "vector_field",
    "wilson_interval",
]
