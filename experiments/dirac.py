"""Which training methods converge on the Dirac-GAN and on θψ, beside the papers that asked."""

if __name__ == "__main__":
    from gan1010_jax.cli import start

    start()  # before anything that is slow to import

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, NamedTuple

from study import Study, make_table

import gan1010_jax as gan
from gan1010_jax.cli import number, prepare_jax, read, run, say


@dataclass(frozen=True)
class Dirac(Study):
    """Compare training methods on the Dirac-GAN, D(x) = ψx against G = θ with real samples at 0.

    Reproduces the comparison of Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do
    actually Converge?" (ICML 2018), for simultaneous and alternating gradient descent. Then holds
    optimisers and losses to what was published of them, there and on the bilinear game θψ: each
    verdict with the spectral radius of a step by its formula and as measured. Steps are taken in
    expectation, with instance noise integrated and not drawn, in double precision. Writes
    dirac.json, which also has the distances at the end, figures/dirac.png and
    figures/bilinear.png. Exit code 1 if a verdict differs from its paper's.
    """

    lr: Annotated[float, number("lr", float)] = 0.1
    """The learning rate of both players."""
    steps: Annotated[int, number("steps", int)] = 2000
    """How many steps to take in the first comparison; those after it take twenty times as many."""
    starts: Annotated[int, number("starts", int)] = 256
    """How many starts to draw, with θ and ψ uniform in [-1, 1], beside the fixed one at (1, 1)."""


if __name__ == "__main__":
    options = read(Dirac)  # before JAX is imported

import chex
import jax
import jax.numpy as jnp
import numpy as np
from verdicts import VERDICTS, Verdict

from gan1010_jax.checks import check_whole
from gan1010_jax.environment import enable_x64
from gan1010_jax.figures import plot_bilinear, plot_dirac
from gan1010_jax.gan import fresh_state, seed_key, summarize
from gan1010_jax.population import claim

START = (1.0, 1.0)
UPDATE_ORDERS = ("simultaneous", "alternating")
# A method converges if the run from START and this share of the other runs end this near.
NEAR, SHARE = 1e-3, 0.99
MAX_LR = 1.0
TIMES = 20  # as many steps for the theorems: some methods converge slowly
# The growth of small deviations is measured from a start this near, in its first steps.
NEAR_START, NEAR_STEPS = 1e-8, 800
EXACT = 1e-6  # how far a spectral radius may be from its formula
# The bilinear game of the figure, as a textbook's appendix has it: from here, at this rate.
BOOK, BOOK_LR, BOOK_STEPS = (0.6, 0.7), 0.1, 499


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
    if not 0 < options.lr <= MAX_LR:
        raise gan.InvalidArgument("lr", options.lr, f"a number above 0, up to {MAX_LR:g}")
    prepare_jax()
    rows, panels = [], {}
    with claim(options.out), enable_x64(True):
        for case in CASES:
            say(f"training by {case.title}")
            panel = {"field": sample_field(case), "clip": case.hyperparams.get("clip", np.inf)}
            for update_order in UPDATE_ORDERS:
                row, panel[update_order] = judge(case, update_order, options)
                rows.append(row)
            ends = [describe_end(panel[update_order]) for update_order in UPDATE_ORDERS]
            panels[f"{case.title}\n{' · '.join(dict.fromkeys(ends))}"] = panel
        verdicts = [hold(verdict, game, options) for verdict in VERDICTS for game in verdict.games]
        report = {"lr": options.lr, "methods": rows, "verdicts": verdicts}
        converging = [row["method"] for row in rows[::2] if row["converges"]]
        title = f"{len(converging)} of {len(panels)} methods reach the equilibrium"
        note = f"Dirac-GAN · gradient descent at {options.lr:g} · {options.steps:,} steps"
        note += " · where it differs: simultaneous · alternating"
        figure = partial(plot_dirac, panels, 2.0, f"{title}: {'; '.join(converging)}", note)
        note = f"θψ, bilinear · rate {BOOK_LR:g} · {BOOK_STEPS} steps from {BOOK}"
        bilinear = partial(plot_bilinear, follow_cures(), note)
        options.write("dirac", report, figure, bilinear=bilinear)
    print(f"{tabulate(report)}\n\n{tabulate_verdicts(report)}")
    print(f"written to {options.out}")
    differ = [row for row in rows + verdicts if row["converges"] != row["paper"]]
    differ += [row for row in verdicts if abs(row["spectral_radius"] - row["by_formula"]) > EXACT]
    for row in differ:
        print(f"not as in the paper: {row['method']}, {row['update_order']}", file=sys.stderr)
    if differ:
        sys.exit(1)


def judge(case: Case, update_order: str, options: Dirac) -> tuple[dict, np.ndarray]:
    """The verdict on a method: a row of the table, and the run from START, [steps + 1, 2]."""
    setup = case.setup(options.lr, update_order)
    path, _, row = train_from_everywhere(setup, options.steps, options.starts, case.order)
    row = {
        "method": case.title,
        "update_order": update_order,
        "d_steps": setup.method.d_steps,
        "hyperparams": {k: v for k, v in vars(setup.hyperparams).items() if v is not None},
        "spectral_radius": measure_radius(setup, case.order) if case.smooth else None,
        **row,
        "paper": case.converges,
    }
    return row, path


def describe_end(path: np.ndarray) -> str:
    """Where the last tenth of a run [steps + 1, 2] is, in words."""
    end = path[-(len(path) // 10 + 1) :]
    distance = np.hypot(*end.T)
    if not np.isfinite(end).all():
        return "diverges"
    if distance.max() < NEAR:
        return "converges"
    if np.ptp(end, axis=0).max() < NEAR:
        return f"sticks {distance[-1]:.2g} away"
    if np.ptp(distance) < NEAR:
        return "circles"
    return "spirals out" if distance[-1] > 1.05 * distance[0] else "circles"


def hold(verdict: Verdict, game: str, options: Dirac) -> dict:
    """A verdict on a game beside what is measured: a row of the table."""
    say(f"holding {verdict.title}, {verdict.update_order}, to its verdict on the game {game}")
    setup = verdict.setup(game, options.lr)
    path, near, row = train_from_everywhere(setup, TIMES * options.steps, options.starts, order=1)
    return {
        "method": verdict.title,
        "update_order": verdict.update_order,
        "game": game,
        "hyperparams": {k: v for k, v in vars(setup.hyperparams).items() if v is not None},
        "formula": verdict.formula,
        "by_formula": verdict.predict(game, options.lr),
        "spectral_radius": measure_radius(setup, order=1),
        "growth": measure_growth(near, setup.method.sync_period or 1),
        "largest_theta_at_the_end": finite(np.abs(path[-len(path) // 10 :, 0]).max()),
        **row,
        "paper": verdict.converges,
        "source": verdict.paper,
    }


def train_from_everywhere(
    setup: gan.Setup, steps: int, starts: int, order: int
) -> tuple[np.ndarray, np.ndarray, dict]:
    """The runs from START and from near the equilibrium, each [steps + 1, 2], and the verdict.

    From START, what counts; from near, the parameters. The verdict is that of `starts` others too.
    """
    drawn = jax.vmap(partial(gan.init, setup=setup))(jax.random.split(seed_key(1), starts))
    near = state_at(*np.multiply(START, NEAR_START), setup)
    fixed = jax.tree.map(lambda *leaves: jnp.stack(leaves), state_at(*START, setup), near)
    states = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), fixed, drawn)
    paths, ends = jax.device_get(follow(states, setup, steps, order))
    from_start, _, *from_starts = np.hypot(*ends.T)
    row = {
        "distance_from_start": finite(from_start),
        "distance_from_starts_p50": finite(np.median(from_starts)),
        "distance_from_starts_max": finite(np.max(from_starts)),
        "converges": bool(from_start < NEAR and np.mean(np.less(from_starts, NEAR)) >= SHARE),
    }
    return *paths, row


def finite(number: float) -> float | None:
    """A number; None where a run has diverged beyond float64."""
    return float(number) if np.isfinite(number) else None


def state_at(theta: chex.Numeric, psi: chex.Numeric, setup: gan.Setup) -> gan.GANState:
    return fresh_state(
        {"psi": jnp.asarray(psi, float)}, {"theta": jnp.asarray(theta, float)}, setup
    )


@partial(jax.jit, static_argnames=("steps", "order"))
def follow(
    states: gan.GANState, setup: gan.Setup, steps: int, order: int
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """Take expected steps from states [starts] on.

    Returns:
      The summaries of the first state's run, [steps + 1, 2], and the parameters (θ, ψ) of the
      second's; and the summaries of all at the end, [starts, 2].
    """
    expected_step = jax.vmap(partial(gan.expected_step, setup=setup, order=order))
    summaries = jax.vmap(partial(summarize, setup=setup))

    def observe(states):
        params = jnp.stack([states.generator.params["theta"], states.discriminator.params["psi"]])
        return summaries(states)[0], params[:, 1]

    def step(states, _):
        states = expected_step(states)
        return states, observe(states)

    last, paths = jax.lax.scan(step, states, length=steps)
    joined = jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), observe(states), paths)
    return joined, summaries(last)


def measure_radius(setup: gan.Setup, order: int) -> float:
    """The spectral radius of a step at the equilibrium; of lookahead, of its cycle, per step."""
    period = setup.method.sync_period or 1
    return float(
        np.abs(np.linalg.eigvals(cycle_jacobian(setup, period, order))).max() ** (1 / period)
    )


@partial(jax.jit, static_argnames=("period", "order"))
def cycle_jacobian(setup: gan.Setup, period: int, order: int) -> jax.Array:
    """The Jacobian [n, n] of `period` expected steps at the equilibrium, after a first step.

    Before it, an optimiser may be in a state that does not come again.
    """

    def step(_, cycle):
        state, jacobian = cycle
        here = gan.step_jacobian(state, setup, order=order)
        return gan.expected_step(state, setup, order=order), here @ jacobian

    state = gan.expected_step(state_at(0.0, 0.0, setup), setup, order=order)
    eye = jnp.eye(gan.step_jacobian(state, setup, order=order).shape[0])
    _, jacobian = jax.lax.fori_loop(0, period, step, (state, eye))
    return jacobian


def measure_growth(path: np.ndarray, period: int) -> float | None:
    """The factor of a step in the distance from the equilibrium, along a path [steps, 2] near it.

    From the area between a point and the next, which a turn does not change: of a linear map, each
    step multiplies it by the modulus squared. Its first steps, in which other modes die away, are
    left out; of lookahead, points are a period apart. None for a path that is too short.
    """
    theta, psi = path[: NEAR_STEPS + 1 : period].T
    periods = len(theta) - 1
    begin, end = periods // 8, periods - 1
    if begin >= end:
        return None
    with np.errstate(all="ignore"):  # of a run that has left the float type
        area = np.abs(theta[:-1] * psi[1:] - psi[:-1] * theta[1:])
        return finite((area[end] / area[begin]) ** (0.5 / period / (end - begin)))


def follow_cures() -> dict[str, np.ndarray]:
    """The runs of the figure: the bilinear game at the rate 0.1, each [500, 2], by their method."""
    paths = {}
    for title in ("descent", "extragradient", "optimistic", "lookahead, k = 5, α = ½"):
        verdict = next(verdict for verdict in VERDICTS if verdict.title == title)
        setup = replace(verdict.setup("bilinear", BOOK_LR), game=gan.bilinear_game(BOOK))
        _, history = gan.train(seed_key(0), setup, steps=BOOK_STEPS, record_every=1)
        growth = verdict.predict("bilinear", BOOK_LR)
        paths[f"{title.removesuffix(', α = ½')}: × {growth:.5f} a step"] = np.concatenate(
            [[BOOK], history.output]
        )
    return paths


def sample_field(case: Case) -> np.ndarray:
    """The vector field on a lattice: θ, ψ and their velocities, each [17, 17]."""
    setup = case.setup(0.01, "simultaneous")
    theta, psi = np.meshgrid(*[np.linspace(-2, 2, 17)] * 2)

    def velocity(theta, psi):
        state = state_at(theta, psi, setup)
        d_velocity, g_velocity = gan.vector_field(state, setup, order=case.order)
        return g_velocity["theta"], d_velocity["psi"]

    velocities = jax.jit(jax.vmap(jax.vmap(velocity)))(theta, psi)
    return np.stack([theta, psi, *velocities])


def tabulate(report: dict) -> str:
    """The methods as a table in Markdown, a line for the two update orders of each."""
    lines, rows = [], report["methods"]
    for pair in zip(rows[::2], rows[1::2]):
        radii = (row["spectral_radius"] for row in pair)
        cells = ["not differentiable" if radius is None else f"{radius:.5f}" for radius in radii]
        verdicts = (all(row[key] for row in pair) for key in ("converges", "paper"))
        lines.append([pair[0]["method"], *cells, *("yes" if yes else "no" for yes in verdicts)])
    radii = ["spectral radius, simultaneous", "alternating"]
    return make_table(["method", *radii, "converges", "in the paper"], lines)


def tabulate_verdicts(report: dict) -> str:
    """The verdicts as a table in Markdown, a line for each method and update order."""
    lines: dict[tuple[str, str], list[dict]] = {}
    for row in report["verdicts"]:
        lines.setdefault((row["method"], row["update_order"]), []).append(row)
    table = []
    for (method, update_order), rows in lines.items():
        by_game = {row["game"]: row for row in rows}
        cells = [method, update_order, rows[0]["formula"]]
        for game in ("bilinear", "dirac"):
            numbers = (by_game.get(game, {}).get(key) for key in ("spectral_radius", "growth"))
            cells += ["–" if number is None else f"{number:.5f}" for number in numbers]
        verdicts = (all(row[key] for row in rows) for key in ("converges", "paper"))
        table.append([*cells, *("yes" if yes else "no" for yes in verdicts), rows[0]["source"]])
    titles = ["method", "update order", "spectral radius", "on θψ", "growth"]
    titles += ["on the Dirac-GAN", "growth", "converges", "in the paper", "paper"]
    return make_table(titles, table, left=3)


if __name__ == "__main__":
    run(main, options)
