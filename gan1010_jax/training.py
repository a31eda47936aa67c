"""One run of training: `lax.scan` over the records, and within each a loop over its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.checks import (
    check_callable,
    check_key,
    check_kind,
    check_no_extra_draws,
    check_run,
    check_samples,
    check_setup,
    check_state,
    check_steps,
    checked,
)
from gan1010_jax.environment import jit
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.gan import (
    Batch,
    GANState,
    Losses,
    Setup,
    draw_batch,
    init,
    summarize,
    train_step,
)

if TYPE_CHECKING:
    import pandas

# The batch of a step, counted from 0.
_BatchAt = Callable[[jax.Array], Batch]
# Called with the numbers of a record, or of a population so far, by their names.
Log = Callable[[dict[str, Any]], object]


class History(NamedTuple):
    """The records of a run, oldest first.

    Attributes:
      step: int32 [records], how many steps had been taken.
      output: [records, units], the generator's output after that step, or the game's summary.
      losses: `Losses` of [records], the three losses in that step.
      finite: bool [records], whether every parameter is finite after that step.
      matched: bool [records], whether the output matches, and every parameter is finite.
      in_support: bool [records], whether it could be a real sample, and every parameter is finite.
    """

    step: jax.Array
    output: jax.Array
    losses: Losses
    finite: jax.Array
    matched: jax.Array
    in_support: jax.Array

    def to_pandas(self) -> pandas.DataFrame:
        """The records of one run as a `pandas.DataFrame`, a row each.

        Its columns are those of a directory's `histories`: `step`, `output_0` … `output_{n-1}`,
        `d_loss_real`, `d_loss_fake`, `g_loss`, `finite`, `matched` and `in_support`.

        Raises:
          InvalidArgument: (a `ValueError`) for the records of several runs, [runs, records].
          ImportError: if pandas is not installed, which this package does not depend on.
        """
        check_one_run(self)
        return to_frame(record_columns(jax.device_get(self)))


def check_one_run(history: History) -> None:
    """Raise for anything but the `History` of one run."""
    check_kind("history", history, History)
    shape = getattr(history.step, "shape", None)
    if shape is None or len(shape) != 1:
        allowed = "of one run, [records], such as jax.tree.map(lambda leaf: leaf[0], history)"
        raise InvalidArgument("history", shape, allowed)


def record_columns(records: History) -> dict[str, np.ndarray]:
    """Records [...] as columns of their fields; the units of the output are on its last axis."""
    columns = {}
    for name, value in records._asdict().items():
        if name == "output":
            columns |= {f"output_{unit}": value[..., unit] for unit in range(value.shape[-1])}
        elif name == "losses":
            columns |= {loss_column(loss): x for loss, x in value._asdict().items()}
        else:
            columns[name] = value
    return columns


def loss_column(loss: str) -> str:
    """The column of a field of `Losses`: `d_loss_real` of `d_real`, and `g_loss` of `g`."""
    player, *samples = loss.split("_")
    return "_".join([player, "loss", *samples])


def to_frame(columns: Mapping[str, np.ndarray]) -> pandas.DataFrame:
    """Columns [rows] as a `pandas.DataFrame`; pandas is imported here alone."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"to_pandas needs pandas (pip install pandas): {error}") from error
    return pandas.DataFrame(dict(columns))


class Carry(NamedTuple):
    """The scan carry: the state, and the losses in the step that led to it."""

    state: GANState
    losses: Losses


@jit(static_argnames=("steps", "record_every", "log"))
def train(
    key: chex.PRNGKey,
    setup: Setup = Setup(),
    *,
    steps: int = 10_000,
    record_every: int = 10,
    log: Log | None = None,
) -> tuple[GANState, History]:
    """Train one GAN from scratch; `train(jax.random.key(i))` is the reference's run of seed i.

    The random stream: `init_key, data_key = split(key)`; `init` takes the first, and step t,
    counted from 0, takes `draw_batch(data_key, setup, t)`. It depends on nothing else, so a longer
    run begins with the shorter one.

    Args:
      key: a typed key, `jax.random.key(seed)`. The runs of seeds are those of Threefry, JAX's
        default; a key of another implementation has a run of its own.
      setup: what is trained; its hyperparameters are scalars.
      steps: how many steps, a positive multiple of `record_every`.
      record_every: the number of steps from record to record; the last step is always recorded.
        At most 100,000 records, since they are kept in memory.
      log: called with each record as soon as it is made, as a dict of Python numbers: `step`,
        `output_0` … `output_{n-1}`, `d_loss_real`, `d_loss_fake`, `g_loss`, `finite`, `matched`,
        `in_support`. Each record is then a call of a compiled program, the same for every `log`,
        and the numbers are those of a run without one to rounding. What it raises ends the run.
        Inside the caller's own `jit` or `vmap` it is compiled into that program as an ordered
        `jax.debug.callback`: it is called whenever that runs, from any thread, under `vmap` at each
        record for every run in turn, and it must not use JAX; what it raises becomes a
        `jax.errors.JaxRuntimeError` with its text.

    Returns:
      The final state and the `History`.

    Raises:
      InvalidArgument: (a `ValueError`) for an argument outside these limits.
    """
    setup, carry, data_key = _start(key, setup, steps, record_every)
    batch_at = partial(draw_batch, data_key, setup)
    to_record = partial(train_record, batch_at=batch_at, setup=setup, steps=record_every)
    if log is not None:
        to_record = _call_with_record(log, to_record)
    carry, history = jax.lax.scan(to_record, carry, first_steps(steps, record_every))
    return carry.state, history


def _call_with_record(log: Log, to_record: Callable) -> Callable:
    """A function to the next record that has it logged from within the compiled program."""

    def log_record(record):
        log(_as_numbers(record))

    def to_logged_record(carry, first_step):
        carry, record = to_record(carry, first_step)
        jax.debug.callback(log_record, record, ordered=True)  # which `vmap` takes, unlike IO's
        return carry, record

    return to_logged_record


def _as_numbers(record: History) -> dict[str, Any]:
    """One record as Python numbers by the names of its columns."""
    return {name: np.asarray(x).item() for name, x in record_columns(record).items()}


def _train_logged(
    key: chex.PRNGKey,
    setup: Setup = Setup(),
    *,
    steps: int = 10_000,
    record_every: int = 10,
    log: Log,
) -> tuple[GANState, History]:
    """`train` with a log: a call of one compiled program for each record."""
    check_callable("log", log)
    setup, carry, data_key = _start_compiled(key, setup, steps, record_every)
    if isinstance(data_key, jax.core.Tracer):  # of the caller's `jit` or `vmap`
        return _train_compiled(key, setup, steps=steps, record_every=record_every, log=log)
    records = []
    for first_step in range(0, steps, record_every):
        carry, record = _next_record(carry, data_key, np.int32(first_step), setup, record_every)
        records.append(jax.device_get(record))
        log(_as_numbers(records[-1]))
    history = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *records)
    return carry.state, history


_train_compiled = train
train = checked(_train_compiled, if_logged=_train_logged)


def _start(
    key: chex.PRNGKey, setup: Setup, steps: int, record_every: int
) -> tuple[Setup, Carry, chex.PRNGKey]:
    """Validate the arguments of a run: its setup, its carry before the first step, its data key."""
    check_key(key)
    # To `jit` a default argument is a constant; behind a barrier it compiles as one that is given.
    setup = jax.lax.optimization_barrier(check_run(setup, steps, record_every))
    carry, data_key = init_carry(key, setup)
    return setup, vary_alike(carry, jax.random.key_data(data_key), setup), data_key


_start_compiled = jit(static_argnames=("steps", "record_every"))(_start)


@jit(static_argnames="record_every")
def _next_record(
    carry: Carry, data_key: chex.PRNGKey, first_step: chex.Numeric, setup: Setup, record_every: int
) -> tuple[Carry, History]:
    """The carry after the steps to the next record, and that record."""
    batch_at = partial(draw_batch, data_key, setup)
    return train_record(carry, first_step, batch_at=batch_at, setup=setup, steps=record_every)


def train_record(
    carry: Carry,
    first_step: jax.Array,
    *,
    batch_at: _BatchAt,
    setup: Setup,
    steps: int,
    unroll: int = 1,
) -> tuple[Carry, History]:
    """Take `steps` steps from `first_step` on: the carry after them, and its record.

    The loop is compiled with `unroll` steps in a row.
    """

    def step(t, carry):
        state, info = train_step(carry.state, batch_at(first_step + t), setup)
        return Carry(state, info.losses)

    carry = jax.lax.fori_loop(0, steps, step, carry, unroll=unroll)
    return carry, make_record(carry, first_step + steps, setup)


def init_carry(key: chex.PRNGKey, setup: Setup) -> tuple[Carry, chex.PRNGKey]:
    """The carry of a key's run before its first step, and the key of its batches."""
    init_key, data_key = jax.random.split(key)
    return carry_from(init(init_key, setup)), data_key


def carry_from(state: GANState) -> Carry:
    """The carry of a run that starts from a state."""
    return Carry(state, Losses(*[jnp.zeros((), jnp.result_type(float))] * 3))


def vary_alike(carry: Any, *others: Any) -> Any:
    """The carry of a loop whose body uses others, varying as inside `jax.shard_map` it must.

    There a carry varies from the start over each axis that it will vary over: those of any leaf of
    it or of the others. Its values stay as they are, and compilers drop the selection.
    """
    alike = [jnp.zeros_like(leaf, bool, ()) for leaf in jax.tree.leaves((carry, others))]
    false = reduce(jnp.logical_or, alike)
    return jax.tree.map(lambda leaf: jax.lax.select(false, leaf, leaf), carry)


def make_record(carry: Carry, step: jax.Array, setup: Setup) -> History:
    """One record, a `History` without the leading axis, after `step` steps."""
    output, finite = summarize(carry.state, setup), _all_finite(carry.state)
    matched = setup.game.matched(output) & finite
    in_support = setup.game.in_support(output) & finite
    return History(step, output, carry.losses, finite, matched, in_support)


def _all_finite(state: GANState) -> jax.Array:
    """Whether every parameter of both players is finite: a bool."""
    params = jax.tree.leaves((state.discriminator.params, state.generator.params))
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in params]).all()


def first_steps(steps: int, record_every: int) -> jax.Array:
    """The first step that leads to each record, counted from 0: int32 [records]."""
    return jnp.arange(0, steps, record_every, dtype=jnp.int32)


def record_steps(steps: int, record_every: int) -> np.ndarray:
    """How many steps have been taken at each record: int32 [records]."""
    return np.arange(record_every, steps + 1, record_every, dtype=np.int32)


def train_on(
    state: GANState,
    real: Any,
    setup: Setup = Setup(),
    *,
    latent: Any = None,
    record_every: int = 10,
) -> tuple[GANState, History]:
    """Train on real samples of your own, one a step, from a state of your own.

    Nothing is drawn: given another program's first parameters (`params_from_torch`) and its
    samples, this replays it step by step. Works under `jit` and `vmap`.

    Args:
      state: where to start, such as from `init`, in JAX's default float type.
      real: the real samples, [steps, units], as an array or a tensor.
      setup: what is trained; the game's own distributions are not used. An optimiser that keeps its
        learning rate in its state goes on with that one.
      latent: the generator's inputs, [steps, latent units]; by default, the center of the game's
        latent distribution in every step.
      record_every: the number of steps from record to record; it divides the number of steps.

    Returns:
      The final state and the `History`, as `train` does; its steps are counted from 0 here.

    Raises:
      InvalidArgument: (a `ValueError`) for a state of another game or method, samples of another
        shape, or an argument outside the limits of `train`.
    """
    setup = check_setup(setup)
    check_state(state, setup)
    check_no_extra_draws(setup)
    real = check_samples("real", real, setup.game.real)
    steps = len(real)
    if latent is None:
        center = setup.game.latent.center
        latent = jnp.broadcast_to(center, (steps, *center.shape))
    latent = check_samples("latent", latent, setup.game.latent, steps)
    check_steps(steps, record_every)
    return _train_on_batches(state, Batch(real, latent), setup, record_every=int(record_every))


@jit(static_argnames="record_every")
def _train_on_batches(
    state: GANState, batches: Batch, setup: Setup, record_every: int
) -> tuple[GANState, History]:
    """`train_on` with batches [steps, ...]; arguments already validated."""

    def batch_at(step):
        return jax.tree.map(lambda leaf: leaf[step], batches)

    to_record = partial(train_record, batch_at=batch_at, setup=setup, steps=record_every)
    starts = first_steps(len(batches.real), record_every)
    carry = vary_alike(carry_from(state), batches, setup)
    carry, history = jax.lax.scan(to_record, carry, starts)
    return carry.state, history


class Trace(NamedTuple):
    """A run with its players and every update of each recorded step; a leading axis of records.

    Attributes:
      history: the records, as `train` returns them.
      state: both players after the recorded step.
      batch: the batch of that step.
      updates: the state that each of its updates started from, in the order of `Method.updates`.
    """

    history: History
    state: GANState
    batch: Batch
    updates: tuple[GANState, ...]


@checked
@jit(static_argnames=("steps", "record_every"))
def train_traced(
    key: chex.PRNGKey,
    setup: Setup = Setup(),
    *,
    steps: int = 10_000,
    record_every: int = 10,
) -> Trace:
    """Train one GAN as `train` does, and keep the players and every update at each record.

    Arguments and errors are those of `train`, and so are the numbers, to rounding.
    """
    setup, carry, data_key = _start(key, setup, steps, record_every)
    batch_at = partial(draw_batch, data_key, setup)

    def trace_record(carry, first_step):
        # The last step of a record is taken by itself, for its updates.
        to_last = partial(train_record, batch_at=batch_at, setup=setup, steps=record_every - 1)
        carry, _ = to_last(carry, first_step)
        batch = batch_at(first_step + record_every - 1)
        state, info = train_step(carry.state, batch, setup)
        carry = Carry(state, info.losses)
        record = make_record(carry, first_step + record_every, setup)
        return carry, Trace(record, state, batch, info.updates)

    _, trace = jax.lax.scan(trace_record, carry, first_steps(steps, record_every))
    return trace
