"""A film of a run: the same run as `train`'s, with every update that it is made of."""

import itertools

import chex
import jax
import numpy as np
import pytest

import gan1010_jax as gan

KEY = jax.random.key(17)
METHODS = {
    "reference": gan.Method(),
    "generator first": gan.Method("minimax", schedule="alternating", first="generator"),
    "three turns": gan.Method(d_steps=3),
    "simultaneous": gan.Method("nonsaturating", schedule="simultaneous", penalty="r1"),
}


@pytest.mark.parametrize("record_every", [1, 20])
def test_a_film_has_the_history_and_the_end_of_the_run_that_train_gives(record_every):
    film = gan.watch(KEY, steps=100, record_every=record_every)
    state, history = gan.train(KEY, steps=100, record_every=record_every)
    chex.assert_trees_all_close(film.history, history, atol=1e-6)
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[-1], film.state), state, atol=1e-6)
    for update in film.updates:
        for name, loss in update.losses.items():
            np.testing.assert_allclose(loss, getattr(history.losses, name), atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_the_updates_of_a_film_lead_from_each_state_to_the_next(name):
    method = METHODS[name]
    film = gan.watch(KEY, method=method, steps=4, record_every=2)
    updates, after, losses = jax.tree.map(
        lambda leaf: leaf[1], (film.updates, film.state, film.history.losses)
    )
    last = {name: loss for update in updates for name, loss in update.losses.items()}
    chex.assert_trees_all_close(losses._asdict(), last, atol=1e-6)
    batch = gan.draw_batch(jax.random.split(KEY)[1], method=method, step=3)
    stepped, _ = gan.train_step(updates[0].state, batch, method=method)
    chex.assert_trees_all_close(stepped, after, atol=1e-6)

    @jax.jit
    def move(update):
        if update.player == "generator":
            return gan.generator_update(update.state, update.batch, method=method)[0]
        return gan.discriminator_update(update.state, update.batch, method=method, on=update.on)[0]

    turns = batch if method.d_steps > 1 else jax.tree.map(lambda leaf: leaf[None], batch)
    for update, move_of in zip(updates, method.moves, strict=True):
        assert (update.player, update.on) == (move_of.player, move_of.on)
        of_turn = jax.tree.map(lambda leaf, turn=move_of.turn: leaf[turn], turns)
        chex.assert_trees_all_close(update.batch, of_turn, atol=1e-7)

    moved = {}
    for update, following in itertools.zip_longest(updates, updates[1:]):
        next_state = move(update)
        moved[update.player] = getattr(next_state, update.player)
        if method.schedule == "simultaneous":
            chex.assert_trees_all_equal(update.state, updates[0].state)
        elif following is not None:
            chex.assert_trees_all_close(following.state, next_state, atol=1e-6)
    chex.assert_trees_all_close(gan.GANState(**moved), after, atol=1e-6)


def test_the_moves_of_a_step_are_in_order():
    real, fake, both = (("discriminator", on) for on in ("real", "fake", "both"))
    g = ("generator", "fake")
    assert gan.Method().moves == [(*real, 0), (*fake, 0), (*g, 0)]
    turns = gan.Method(d_steps=2)
    assert turns.moves == [(*real, 0), (*fake, 0), (*real, 1), (*fake, 1), (*g, 1)]
    first = gan.Method(schedule="alternating", first="generator")
    assert first.moves == [(*g, 0), (*both, 0)]


def test_a_film_refuses_what_train_refuses():
    with pytest.raises(gan.InvalidArgument, match="steps must be a multiple"):
        gan.watch(KEY, steps=15, record_every=10)
    with pytest.raises(gan.InvalidArgument, match="key must be one typed key"):
        gan.watch(17)
