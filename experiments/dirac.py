"""Which training methods converge on the Dirac-GAN, beside the verdicts of the paper that asked."""

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Column, Table

import gan1010_jax as gan
from gan1010_jax import store
from gan1010_jax.checks import check_whole
from gan1010_jax.command_line import check_number, keep_compiled_programs, number, run
from gan1010_jax.diagrams import plot_dirac
from gan1010_jax.updates import fresh_state, observe

START = (1.0, 1.0)
SCHEDULES = ("simultaneous", "alternating")
# Having come so near from at least so many starts, a method converges.
NEAR, MOST = 1e-3, 0.99


class Case(NamedTuple):
    """A method of the paper's figure 3, and whether the paper finds that it converges."""

    title: str
    objective: str
    converges: bool
    penalty: str = "none"
    d_steps: int = 1  # in an alternating step
    numbers: dict[str, float] = {}  # noqa: RUF012, not written to
    order: int = 1  # of the quadrature: only noise matters here, not where a linear D is looked at
    smooth: bool = True  # whether the field has a Jacobian at the equilibrium


CASES = (
    Case("minimax", "minimax", False),
    # In continuous time this creeps in, like √(8/t): the eigenvalues are those of minimax.
    Case("nonsaturating", "nonsaturating", False),
    Case("Wasserstein, clipped", "wasserstein", False, d_steps=5, numbers={"clip": 0.3}),
    Case(
        "WGAN-GP",
        "wasserstein",
        False,
        "wgan_gp",
        d_steps=5,
        numbers={"penalty_weight": 0.5, "target_norm": 0.3},
        smooth=False,  # its penalty has a kink at ψ = 0
    ),
    Case("instance noise", "minimax", True, numbers={"noise_std": 1.0}, order=12),
    Case("R1, minimax", "minimax", True, "r1", numbers={"penalty_weight": 0.3}),
    Case("R1, nonsaturating", "nonsaturating", True, "r1", numbers={"penalty_weight": 0.3}),
    Case("consensus", "minimax", True, "consensus", numbers={"penalty_weight": 1.0}),
)


@dataclass(frozen=True)
class Dirac:
    """Compare training methods on the Dirac-GAN, D(x) = ψx against G = θ with real samples at 0.

    Reproduces the comparison of Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do
    actually Converge?" (ICML 2018), for simultaneous and alternating gradient descent. Steps are
    taken in expectation, with instance noise integrated and not drawn. Writes dirac.json, the
    numbers of the table printed at the end, and figures/dirac.png. Exit code 1 if a verdict
    differs from the paper's.
    """

    lr: Annotated[float, number("lr", float)] = 0.1
    """The learning rate of both players."""
    steps: Annotated[int, number("steps", int)] = 2000
    """How many steps to take."""
    starts: Annotated[int, number("starts", int)] = 256
    """How many starts to draw, with θ and ψ uniform in [-1, 1], beside the fixed one at (1, 1)."""
    out: Path | None = None
    """Where to write: a new or empty directory; else runs/dirac-<the time>."""


def main(options: Dirac) -> None:
    """Follow every method under both schedules, draw and print them, and compare the verdicts."""
    check_whole("steps", options.steps, 1, 10**6)
    check_whole("starts", options.starts, 1, 10**5)
    check_number("lr", options.lr, "d_lr")
    rates = gan.Hyperparams(options.lr, options.lr)
    out = options.out or Path("runs") / time.strftime("dirac-%Y%m%d-%H%M%S")
    keep_compiled_programs()
    rows, panels = [], {}
    with store.claim(out, resume=False):
        for case in CASES:
            panel = {"field": field(case), "clip": case.numbers.get("clip", np.inf)}
            for schedule in SCHEDULES:
                row, panel[schedule] = judge(case, schedule, rates, options)
                rows.append(row)
            mark = "converges" if row["converges"] else "does not converge"
            panels[f"{case.title}\n{mark}"] = panel
        store.write_json(out / "dirac.json", rows)
        store.write_figures(out, {"dirac": plot_dirac(panels, bound=2.0)})
    print_table(rows, out)
    differ = [row for row in rows if row["converges"] != row["paper"]]
    for row in differ:
        print(f"not as in the paper: {row['method']}, {row['schedule']}", file=sys.stderr)
    if differ:
        sys.exit(1)


def judge(
    case: Case, schedule: str, rates: gan.Hyperparams, options: Dirac
) -> tuple[dict, np.ndarray]:
    """How a method goes under a schedule: a row of the table, and the run from the fixed start."""
    d_steps = case.d_steps if schedule == "alternating" else 1
    method = gan.Method(case.objective, schedule, case.penalty, d_steps)
    hyperparams = gan.Hyperparams(rates.d_lr, rates.g_lr, **case.numbers)
    rules = (method, hyperparams, options.steps, case.order)
    fixed = gan.init(jax.random.key(0), gan.dirac_game(START), method)
    keys = jax.random.split(jax.random.key(1), options.starts)
    drawn = jax.vmap(partial(gan.init, game=gan.dirac_game(), method=method))(keys)
    starts = jax.tree.map(lambda one, many: jnp.append(one, many), fixed, drawn)
    paths = np.asarray(follow(starts, *rules))
    from_start, *from_starts = np.hypot(*paths[-1].T)
    equilibrium = gan.init(jax.random.key(0), gan.dirac_game((0.0, 0.0)), method)
    game = gan.dirac_game()
    spectrum = gan.step_spectrum(equilibrium, game, method, hyperparams, order=case.order)
    row = {
        "method": case.title,
        "schedule": schedule,
        "d_steps": d_steps,
        "hyperparams": {k: float(v) for k, v in vars(hyperparams).items() if v is not None},
        "spectral_radius": float(gan.spectral_radius(spectrum)) if case.smooth else None,
        "distance_from_start": float(from_start),
        "distance_from_starts_p50": float(np.median(from_starts)),
        "distance_from_starts_max": float(np.max(from_starts)),
        "converges": bool(from_start < NEAR and np.mean(np.less(from_starts, NEAR)) >= MOST),
        "paper": case.converges,
    }
    return row, paths[:, 0]


@partial(jax.jit, static_argnames=("method", "steps", "order"))
def follow(
    states: gan.GANState, method: gan.Method, hyperparams: gan.Hyperparams, steps: int, order: int
) -> jax.Array:
    """The (θ, ψ) of expected steps from states [starts] on, [steps + 1, starts, 2]."""
    game = gan.dirac_game()
    look = jax.vmap(partial(observe, game=game))

    def step(states, _):
        after = jax.vmap(
            lambda state: gan.expected_step(state, game, method, hyperparams, order=order)
        )(states)
        return after, look(after)

    _, paths = jax.lax.scan(step, states, length=steps)
    return jnp.concatenate([look(states)[None], paths])


def field(case: Case) -> np.ndarray:
    """The vector field on a lattice: θ, ψ and their velocities, each [17, 17]."""
    method = gan.Method(case.objective, "simultaneous", case.penalty)
    hyperparams = gan.Hyperparams(**case.numbers)
    theta, psi = np.meshgrid(*[np.linspace(-2, 2, 17, dtype=np.float32)] * 2)

    def velocity(theta, psi):
        game = gan.dirac_game()
        state = fresh_state({"psi": psi}, {"theta": theta}, method, hyperparams)
        d_velocity, g_velocity = gan.vector_field(
            state, game, method, hyperparams, order=case.order
        )
        return g_velocity["theta"], d_velocity["psi"]

    velocities = jax.jit(jax.vmap(jax.vmap(velocity)))(theta, psi)
    return np.stack([theta, psi, *velocities])


def print_table(rows: list[dict], out: Path) -> None:
    """Print the rows on standard output."""
    titles = ("spectral\nradius", "end, from\n(1, 1)", "end, the\nfarthest")
    table = Table(
        Column("method", no_wrap=True),
        Column("descent", no_wrap=True),
        *(Column(title, justify="right") for title in titles),
        "con-\nverges",
        "paper",
        box=box.SIMPLE_HEAD,
        title="The distance from the equilibrium",
        caption="none: WGAN-GP's penalty has a kink there, and its field no Jacobian",
    )
    for row in rows:
        radius = row["spectral_radius"]
        distances = (row["distance_from_start"], row["distance_from_starts_max"])
        table.add_row(
            row["method"],
            row["schedule"],
            "none" if radius is None else f"{radius:.5f}",
            *(f"{distance:.1e}" for distance in distances),
            *("yes" if row[key] else "no" for key in ("converges", "paper")),
        )
    console = Console(highlight=False, markup=False, width=max(92, Console().width))
    console.print(table)
    console.print(f"written to {out}", soft_wrap=True)


if __name__ == "__main__":
    run(Dirac, main)
