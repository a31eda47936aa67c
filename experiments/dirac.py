"""Which training methods converge on the Dirac-GAN, beside the verdicts of the paper that asked."""

if __name__ == "__main__":
    from gan1010_jax.cli import start

    start()  # before anything that is slow to import

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

from study import Study, make_table

import gan1010_jax as gan
from gan1010_jax.cli import number, prepare_jax, read, run, say


@dataclass(frozen=True)
class Dirac(Study):
    """Compare training methods on the Dirac-GAN, D(x) = ψx against G = θ with real samples at 0.

    Reproduces the comparison of Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do
    actually Converge?" (ICML 2018), for simultaneous and alternating gradient descent. Steps are
    taken in expectation, with instance noise integrated and not drawn. Writes dirac.json, which
    also has the distances at the end, and figures/dirac.png. Exit code 1 if a verdict
    differs from the paper's.
    """

    lr: Annotated[float, number("lr", float)] = 0.1
    """The learning rate of both players."""
    steps: Annotated[int, number("steps", int)] = 2000
    """How many steps to take."""
    starts: Annotated[int, number("starts", int)] = 256
    """How many starts to draw, with θ and ψ uniform in [-1, 1], beside the fixed one at (1, 1)."""


if __name__ == "__main__":
    options = read(Dirac)  # before JAX is imported

import chex
import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.checks import check_whole
from gan1010_jax.figures import plot_dirac
from gan1010_jax.gan import fresh_state, seed_key, summarize
from gan1010_jax.population import claim

START = (1.0, 1.0)
UPDATE_ORDERS = ("simultaneous", "alternating")
# A method converges if the run from START and this share of the other runs end this near.
NEAR, SHARE = 1e-3, 0.99
MAX_LR = 1000


class Case(NamedTuple):
    """A method of the paper's figure 3, and whether the paper finds that it converges."""

    title: str
    objective: str
    converges: bool
    penalty: str = "none"
    d_steps: int = 1  # in an alternating step
    hyperparams: dict[str, float] = {}  # noqa: RUF012, not written to
    order: int = 1  # of the quadrature: only noise matters here, not where a linear D is looked at
    smooth: bool = True  # whether the field has a Jacobian at the equilibrium

    def setup(self, lr: float, update_order: str) -> gan.Setup:
        """The setup, at one learning rate of both players."""
        d_steps = self.d_steps if update_order == "alternating" else 1
        method = gan.Method(self.objective, update_order, self.penalty, d_steps)
        return gan.Setup(gan.dirac_game(), method, gan.Hyperparams(lr, lr, **self.hyperparams))


CASES = (
    Case("minimax", "minimax", False),
    # In continuous time this creeps in, like √(8/t): the eigenvalues are those of minimax.
    Case("nonsaturating", "nonsaturating", False),
    Case("Wasserstein, clipped", "wasserstein", False, d_steps=5, hyperparams={"clip": 0.3}),
    Case(
        "WGAN-GP",
        "wasserstein",
        False,
        "wgan_gp",
        d_steps=5,
        hyperparams={"penalty_weight": 0.5, "target_norm": 0.3},
        smooth=False,  # its penalty is not differentiable at ψ = 0
    ),
    Case("instance noise", "minimax", True, hyperparams={"noise_std": 1.0}, order=12),
    Case("R1, minimax", "minimax", True, "r1", hyperparams={"penalty_weight": 0.3}),
    Case("R1, nonsaturating", "nonsaturating", True, "r1", hyperparams={"penalty_weight": 0.3}),
    Case("consensus", "minimax", True, "consensus", hyperparams={"penalty_weight": 1.0}),
)


def main(options: Dirac) -> None:
    check_whole("steps", options.steps, 1, 10**6)
    check_whole("starts", options.starts, 1, 10**5)
    if not 0 <= options.lr <= MAX_LR:  # of which float32 has the square, too
        raise gan.InvalidArgument("lr", options.lr, f"a number from 0 to {MAX_LR}")
    prepare_jax()
    rows, panels = [], {}
    with claim(options.out):
        for case in CASES:
            say(f"training by {case.title}")
            panel = {"field": sample_field(case), "clip": case.hyperparams.get("clip", np.inf)}
            for update_order in UPDATE_ORDERS:
                row, panel[update_order] = judge(case, update_order, options)
                rows.append(row)
            mark = "converges" if row["converges"] else "does not converge"
            panels[f"{case.title}\n{mark}"] = panel
        options.write("dirac", rows, plot_dirac(panels, bound=2.0))
    print(tabulate(rows))
    print(f"written to {options.out}")
    differ = [row for row in rows if row["converges"] != row["paper"]]
    for row in differ:
        print(f"not as in the paper: {row['method']}, {row['update_order']}", file=sys.stderr)
    if differ:
        sys.exit(1)


def judge(case: Case, update_order: str, options: Dirac) -> tuple[dict, np.ndarray]:
    """The verdict on a method: a row of the table, and the run from START, [steps + 1, 2]."""
    setup = case.setup(options.lr, update_order)
    keys = jax.random.split(seed_key(1), options.starts)
    drawn = jax.vmap(partial(gan.init, setup=setup))(keys)
    starts = jax.tree.map(jnp.append, state_at(*START, setup), drawn)
    paths = np.asarray(follow(starts, setup, options.steps, case.order))
    from_start, *from_starts = np.hypot(*paths[-1].T)
    spectrum = gan.step_spectrum(state_at(0.0, 0.0, setup), setup, order=case.order)
    row = {
        "method": case.title,
        "update_order": update_order,
        "d_steps": setup.method.d_steps,
        "hyperparams": {k: v for k, v in vars(setup.hyperparams).items() if v is not None},
        "spectral_radius": float(gan.spectral_radius(spectrum)) if case.smooth else None,
        "distance_from_start": finite(from_start),
        "distance_from_starts_p50": finite(np.median(from_starts)),
        "distance_from_starts_max": finite(np.max(from_starts)),
        "converges": bool(from_start < NEAR and np.mean(np.less(from_starts, NEAR)) >= SHARE),
        "paper": case.converges,
    }
    return row, paths[:, 0]


def finite(distance: float) -> float | None:
    """A distance; None where a run has diverged beyond float32."""
    return float(distance) if np.isfinite(distance) else None


def state_at(theta: chex.Numeric, psi: chex.Numeric, setup: gan.Setup) -> gan.GANState:
    return fresh_state({"psi": jnp.float32(psi)}, {"theta": jnp.float32(theta)}, setup)


@partial(jax.jit, static_argnames=("steps", "order"))
def follow(states: gan.GANState, setup: gan.Setup, steps: int, order: int) -> jax.Array:
    """The (θ, ψ) of expected steps from states [starts] on, [steps + 1, starts, 2]."""
    expected_step = jax.vmap(partial(gan.expected_step, setup=setup, order=order))
    parameters = jax.vmap(partial(summarize, setup=setup))

    def step(states, _):
        states = expected_step(states)
        return states, parameters(states)

    _, paths = jax.lax.scan(step, states, length=steps)
    return jnp.concatenate([parameters(states)[None], paths])


def sample_field(case: Case) -> np.ndarray:
    """The vector field on a lattice: θ, ψ and their velocities, each [17, 17]."""
    setup = case.setup(0.01, "simultaneous")
    theta, psi = np.meshgrid(*[np.linspace(-2, 2, 17, dtype=np.float32)] * 2)

    def velocity(theta, psi):
        state = state_at(theta, psi, setup)
        d_velocity, g_velocity = gan.vector_field(state, setup, order=case.order)
        return g_velocity["theta"], d_velocity["psi"]

    velocities = jax.jit(jax.vmap(jax.vmap(velocity)))(theta, psi)
    return np.stack([theta, psi, *velocities])


def tabulate(rows: list[dict]) -> str:
    """The verdicts as a table in Markdown, a line for the two update orders of each method."""
    lines = []
    for pair in zip(rows[::2], rows[1::2]):
        radii = (row["spectral_radius"] for row in pair)
        cells = ["not differentiable" if radius is None else f"{radius:.5f}" for radius in radii]
        verdicts = (all(row[key] for row in pair) for key in ("converges", "paper"))
        lines.append([pair[0]["method"], *cells, *("yes" if yes else "no" for yes in verdicts)])
    radii = ["spectral radius, simultaneous", "alternating"]
    return make_table(["method", *radii, "converges", "in the paper"], lines)


if __name__ == "__main__":
    run(main, options)
