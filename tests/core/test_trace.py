"""A traced run: the same run as `train`'s, with every update of the recorded steps."""

import itertools

import chex
import jax
import pytest
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.gan import d_step_batch

KEY = jax.random.key(17)
METHODS = {
    "reference": gan.Method(),
    "generator first": gan.Method("minimax", update_order="alternating", first="generator"),
    "three turns": gan.Method(d_steps=3),
    "simultaneous": gan.Method("nonsaturating", update_order="simultaneous", penalty="r1"),
}


@pytest.mark.parametrize(
    ("game", "record_every"),
    [
        (gan.dirac_game(), 1),
        (gan.dirac_game(), 20),
        pytest.param(gan.pattern_game(), 20, marks=pytest.mark.slow),
    ],
)
def test_a_trace_has_the_history_and_the_end_of_the_run_that_train_gives(game, record_every):
    setup, numbers = gan.Setup(game), {"steps": 100, "record_every": record_every}
    trace = gan.train_traced(KEY, setup, **numbers)
    state, history = gan.train(KEY, setup, **numbers)
    chex.assert_trees_all_close(trace.history, history, atol=1e-6)
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[-1], trace.state), state, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_the_updates_of_a_trace_lead_from_each_state_to_the_next(name):
    setup = gan.Setup(gan.dirac_game(), METHODS[name])
    trace = gan.train_traced(KEY, setup, steps=4, record_every=2)
    second = jax.tree.map(lambda leaf: leaf[1], trace)
    batch = gan.draw_batch(jax.random.split(KEY)[1], setup, step=3)
    chex.assert_trees_all_close(second.batch, batch, atol=1e-7)
    stepped, info = gan.train_step(second.updates[0], batch, setup)
    chex.assert_trees_all_close(stepped, second.state, atol=1e-6)
    expected = gan.StepInfo(second.history.losses, second.updates)
    chex.assert_trees_all_close(info, expected, atol=1e-6)

    moved, losses = {}, {}
    updates = itertools.zip_longest(setup.method.updates, second.updates, second.updates[1:])
    for (player, samples, d_step), start, following in updates:
        drawn = d_step_batch(batch, setup, d_step)
        if player == "generator":
            after, new_losses = gan.generator_update(start, drawn, setup)
        else:
            after, new_losses = gan.discriminator_update(start, drawn, setup, samples=samples)
        moved[player] = getattr(after, player)
        losses |= new_losses
        if setup.method.update_order == "simultaneous":
            chex.assert_trees_all_equal(start, second.updates[0])
        elif following is not None:
            chex.assert_trees_all_close(following, after, atol=1e-6)
    chex.assert_trees_all_close(gan.GANState(**moved), second.state, atol=1e-6)
    chex.assert_trees_all_close(second.history.losses, gan.Losses(**losses), atol=1e-6)


def test_the_updates_of_a_step_are_in_order():
    real, fake, both = (("discriminator", samples) for samples in ("real", "fake", "both"))
    g = ("generator", "fake")
    assert gan.Method().updates == ((*real, 0), (*fake, 0), (*g, 0))
    twice = gan.Method(d_steps=2)
    assert twice.updates == ((*real, 0), (*fake, 0), (*real, 1), (*fake, 1), (*g, 1))
    first = gan.Method(update_order="alternating", first="generator")
    assert first.updates == ((*g, 0), (*both, 0))


def test_a_trace_rejects_what_train_rejects():
    with rejects("steps", 15):
        gan.train_traced(KEY, steps=15, record_every=10)
    with rejects("key"):
        gan.train_traced(17)
