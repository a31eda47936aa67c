"""A block of seeds: what every engine runs on it, and what leaves the run.

Verdicts and counts are kept up to date from record to record, so that the memory of a block does
not grow with its records, except by the histories of the lanes that are kept.
"""

import operator
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from gan1010_jax.convergence import Marks, mark, no_marks
from gan1010_jax.gan import GANState, Setup, draw_batch, seed_key
from gan1010_jax.training import Carry, History, init_carry, make_record, train_record


class Lane(NamedTuple):
    """The run of one seed between two records.

    Attributes:
      state: both players.
      record: the last record, a `History` without the leading axis; before the first, zeros.
      marks: of all records so far.
    """

    state: GANState
    record: History
    marks: Marks


class Observed(NamedTuple):
    """What leaves the run of a block at a record.

    Attributes:
      counts: how many of the live lanes have each of the `properties`, int32 [..., properties].
      kept: the records of the first lanes, each leaf [..., kept].
    """

    counts: jax.Array
    kept: History


def init_block(seeds: jax.Array, setup: Setup) -> tuple[Lane, chex.PRNGKey]:
    """The lanes and data keys of seeds uint32 [block], each leaf [..., block].

    The hyperparameters of the setup are [block].
    """

    def init_seed(seed, setup):
        # Engines rely on its generator: with another one, a lane's draws may depend on its place
        # in the block.
        carry, data_key = init_carry(seed_key(seed), setup)
        shapes = jax.eval_shape(partial(make_record, setup=setup), carry, jnp.int32(0))
        record = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return Lane(carry.state, record, no_marks()), data_key

    return jax.vmap(init_seed, out_axes=-1)(seeds, setup)


def advance(
    lane: Lane,
    data_key: chex.PRNGKey,
    setup: Setup,
    first_step: jax.Array,
    *,
    steps: int,
    unroll: int = 1,
) -> Lane:
    """The run of one seed after `steps` more steps, from `first_step` on, and one more record.

    The loop over the steps is compiled with `unroll` of them in a row.
    """
    carry, record = train_record(
        Carry(lane.state, lane.record.losses),
        first_step,
        batch_at=partial(draw_batch, data_key, setup),
        setup=setup,
        steps=steps,
        unroll=unroll,
    )
    return Lane(carry.state, record, mark(lane.marks, record))


def observe(record: History, live: jax.Array, kept: int) -> Observed:
    """What leaves the run at a record of a block, whose live lanes count.

    Each leaf of the record is [..., block], or a `Lanes` of vectors [block]. Engines observe the
    record that a step of the scan starts from, not the one that it computes: so they compute the
    same, to the bit, whatever is kept.
    """
    flags = jnp.stack(jax.tree.leaves([*properties(record).values()]))
    return Observed(
        counts=jnp.sum(flags & live, axis=-1, dtype=jnp.int32),
        kept=jax.tree.map(lambda leaf: leaf[..., :kept], record),
    )


def properties(record: History) -> dict[str, Any]:
    """The properties of a record that curves count: divergence, and both tests."""
    diverged = jax.tree.map(operator.invert, record.finite)
    return {"diverged": diverged, "in_support": record.in_support, "matched": record.matched}
