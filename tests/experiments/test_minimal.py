"""The reference on one screen is the package's own, and says how many seeds have learned."""

import re
import subprocess
import sys
from pathlib import Path

import chex
import jax
import minimal
import pytest

import gan1010_jax as gan

PROGRAM = Path(minimal.__file__)
TRAIN = jax.jit(minimal.train)


@pytest.mark.parametrize("seed", [17, *(pytest.param(s, marks=pytest.mark.slow) for s in (0, 255))])
def test_a_seed_ends_where_the_packages_train_leads(seed):
    """Within 1e-6: the two are different programs. On JAX 0.10.2 they have the same bits."""
    d, g = TRAIN(jax.random.key(seed), minimal.LEARNING_RATE)
    state, _ = gan.train(jax.random.key(seed))
    expected = {"params": state.discriminator.params}, {"params": state.generator.params}
    chex.assert_trees_all_close((d, g), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_it_prints_how_many_of_64_seeds_match(population):
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=True)
    matched = population.columns["matched"].sum()
    assert done.stdout == f"{matched} of 64 generators have learned 1010\n"


def test_it_is_one_screen_on_jax_flax_and_optax_alone():
    lines = PROGRAM.read_text(encoding="utf-8").splitlines()
    imported = {match[1] for line in lines if (match := re.match(r"(?:import|from) (\w+)", line))}
    assert len(lines) <= 80 and imported == {"jax", "flax", "optax"}
