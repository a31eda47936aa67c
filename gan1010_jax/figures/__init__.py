"""Figures, animations and the page: results in; `Figure`s, bytes and HTML out."""

from gan1010_jax.figures.animation import (
    Animation,
    animate_run,
    check_movie,
    encode_animation,
)
from gan1010_jax.figures.architecture import plot_architecture
from gan1010_jax.figures.methods import (
    plot_agreement,
    plot_dirac,
    plot_methods,
    plot_phase_diagram,
    plot_spectrum,
)
from gan1010_jax.figures.page import make_page
from gan1010_jax.figures.population import (
    plot_convergence,
    plot_forgetting,
    plot_generator,
    plot_losses,
    plot_outputs,
    plot_population,
    plot_settling,
)
from gan1010_jax.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    REAL_RANGE,
    layer_sizes,
    styled,
    write_figures,
)
