"""What this room offers."""

from gan1010_jax.figures.animation import (
    Animation,
    animate_run,
    check_movie,
    encode_animation,
)
from gan1010_jax.figures.files import write_figures
from gan1010_jax.figures.methods import (
    plot_agreement,
    plot_bilinear,
    plot_cures,
    plot_dirac,
    plot_methods,
    plot_phase_diagram,
    plot_spectrum,
)
from gan1010_jax.figures.population import (
    plot_architecture,
    plot_convergence,
    plot_forgetting,
    plot_generator,
    plot_losses,
    plot_outputs,
    plot_population,
    plot_settling,
)
from gan1010_jax.figures.style import (
    PAPER,
    Palette,
    find_fall,
    headed,
    legend_below,
    palette,
    styled,
)
from gan1010_jax.figures.values import note_of
from gan1010_jax.figures.waves import (
    plot_brake,
    plot_departures,
    plot_finding,
    plot_orbit,
    plot_predictions,
    plot_rates,
    plot_waves,
)

__all__ = [
    "PAPER",
    "Animation",
    "Palette",
    "animate_run",
    "check_movie",
    "encode_animation",
    "find_fall",
    "headed",
    "legend_below",
    "note_of",
    "palette",
    "plot_agreement",
    "plot_architecture",
    "plot_bilinear",
    "plot_brake",
    "plot_convergence",
    "plot_cures",
    "plot_departures",
    "plot_dirac",
    "plot_finding",
    "plot_forgetting",
    "plot_generator",
    "plot_losses",
    "plot_methods",
    "plot_orbit",
    "plot_outputs",
    "plot_phase_diagram",
    "plot_population",
    "plot_predictions",
    "plot_rates",
    "plot_settling",
    "plot_spectrum",
    "plot_waves",
    "styled",
    "write_figures",
]
