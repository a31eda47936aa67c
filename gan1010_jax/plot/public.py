"""The figures that users draw, each by its short name."""

from gan1010_jax.figures import plot_architecture as architecture
from gan1010_jax.figures import plot_convergence as convergence
from gan1010_jax.figures import plot_forgetting as forgetting
from gan1010_jax.figures import plot_generator as generator
from gan1010_jax.figures import plot_losses as losses
from gan1010_jax.figures import plot_outputs as outputs
from gan1010_jax.figures import plot_phase_diagram as phase_diagram
from gan1010_jax.figures import plot_population as population
from gan1010_jax.figures import plot_settling as settling
from gan1010_jax.figures import plot_spectrum as spectrum

__all__ = [
    "architecture",
    "convergence",
    "forgetting",
    "generator",
    "losses",
    "outputs",
    "phase_diagram",
    "population",
    "settling",
    "spectrum",
]
