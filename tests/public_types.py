"""The types of the public functions, as a type checker sees them; never run."""

from typing import Any, assert_type

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import gan1010_jax as gan

key = jax.random.key(0)
setup = gan.Setup(gan.pattern_game("01"), gan.Method("hinge"), gan.Hyperparams(d_lr=0.1))
state = assert_type(gan.init(key, setup), gan.GANState)
batch = assert_type(gan.draw_batch(key, setup, 3), gan.Batch)
assert_type(gan.generate(state, setup), jax.Array)
assert_type(gan.discriminator_update(state, batch), tuple[gan.GANState, dict[str, jax.Array]])
assert_type(gan.generator_update(state, batch), tuple[gan.GANState, dict[str, jax.Array]])
assert_type(gan.train_step(state, batch, setup), tuple[gan.GANState, gan.StepInfo])
_, history = assert_type(gan.train(key, setup, steps=10), tuple[gan.GANState, gan.History])
rows: list[dict[str, Any]] = []
assert_type(gan.train(key, log=rows.append), tuple[gan.GANState, gan.History])
assert_type(history.to_pandas(), pd.DataFrame)
assert_type(gan.train_on(state, np.zeros((10, 2)), setup), tuple[gan.GANState, gan.History])
assert_type(gan.train_traced(key, steps=10), gan.Trace)

population = assert_type(gan.train_population(range(3), setup, out="out"), gan.Population)
assert_type(gan.train_share(range(3), setup, out="out"), gan.Population | None)
assert_type(gan.train_population(range(3), log=rows.append), gan.Population)
assert_type(population.to_pandas(), pd.DataFrame)
assert_type(gan.load_population("out"), gan.Population)
assert_type(gan.replay(0), gan.History)
assert_type(gan.replay_row(population, 0), gan.History)
assert_type(gan.convergence_report(population), dict[str, Any])
assert_type(gan.convergence_curves(population), dict[str, gan.Proportion])
assert_type(population.counts, gan.Counts)
assert_type(gan.plot.convergence(population), Figure)
assert_type(gan.plot.losses(history, 0, setup), Figure)
assert_type(gan.plot.phase_diagram({}, "d_lr", style="slides"), Figure)
assert_type(gan.plot.population(population), dict[str, Figure])

assert_type(gan.step_spectrum(state, setup, order=3), jax.Array)
assert_type(gan.expected_step(state, setup), gan.GANState)
assert_type(gan.find_equilibrium(state, setup), gan.GANState)
assert_type(gan.step_velocity(state, setup), gan.GANState)
assert_type(gan.follow(state, setup, gan.level_velocity, steps=1000), gan.Path)
assert_type(gan.first_departure(np.arange(3), np.ones(3, bool)), jax.Array)
assert_type(gan.params_from_torch({}, {}), gan.GANState)
