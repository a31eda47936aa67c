"""The wording of every kind of rejection, in messages.txt; other tests assert name and value alone.

To accept new wording: python tests/test_messages.py
"""

import io
import sys
from contextlib import redirect_stderr
from pathlib import Path
from unittest import mock

import jax
import numpy as np

import gan1010_jax as gan
from gan1010_jax.cli import main
from gan1010_jax.figures import check_movie
from gan1010_jax.games import find_game
from gan1010_jax.population import seed_range

MESSAGES = Path(__file__).parent / "messages.txt"
KEY = jax.random.key(0)
STATE, BATCH = gan.init(KEY), gan.draw_batch(KEY)


def with_hyperparams(**values):
    return gan.Setup(hyperparams=gan.Hyperparams(**values))


def population(seeds=range(3), **options):
    return gan.train_population(seeds, steps=10, **options)


REJECTED = [
    # Games
    lambda: gan.pattern_game("12"),
    lambda: find_game("12"),
    lambda: gan.dirac_game(start=1.0),
    lambda: gan.dirac_game(tolerance=0.0),
    lambda: gan.Game("own", gan.Discriminator(), gan.Generator(), *[[]] * 4),
    # Methods
    lambda: gan.Method("foo"),
    lambda: gan.Method("wgan"),
    lambda: gan.Method("non-saturating"),
    lambda: gan.Method(update_order="foo"),
    lambda: gan.Method(update_order="Alternate"),
    lambda: gan.Method(penalty="r3"),
    lambda: gan.Method(penalty="wgan-gp"),
    lambda: gan.Method(d_steps=0),
    lambda: gan.Method(first="both"),
    lambda: gan.Method(optimizer=0.01),
    lambda: gan.Method(penalty="wgan_gp", update_order="alternating"),
    lambda: gan.Method("wasserstein", penalty="wgan_gp"),
    lambda: gan.Method(update_order="simultaneous", d_steps=2),
    lambda: gan.Method(update_order="extragradient", first="generator"),
    lambda: gan.Method("relativistic"),
    lambda: gan.Method("relativistic", penalty="r1_r2"),
    lambda: gan.Method(sync_period=0),
    lambda: gan.Objective("own", abs, abs, abs, relative=1),
    lambda: gan.Penalty("own", samples="all"),
    lambda: gan.Penalty("own", hyperparams=("clip",)),
    lambda: gan.Penalty(7),
    lambda: gan.Hyperparams(d_lr=-1.0),
    lambda: gan.Hyperparams(clip=0),
    lambda: gan.Hyperparams(average_decay=1.0),
    lambda: gan.Setup(game="1010"),
    lambda: with_hyperparams(target_norm=1.0),
    lambda: with_hyperparams(slow_step_size=0.5),
    # One run
    lambda: gan.train(17),
    lambda: gan.train(KEY, gan.pattern_game()),
    lambda: gan.train(KEY, with_hyperparams(g_lr=np.ones(3))),
    lambda: gan.train(KEY, steps=0),
    lambda: gan.train(KEY, steps=15),
    lambda: gan.train(KEY, steps=10**6, record_every=1),
    lambda: gan.train(KEY, log=3),
    lambda: gan.History(*[np.zeros((2, 4))] * 6).to_pandas(),
    lambda: gan.train_on(STATE, np.zeros((10, 3))),
    lambda: gan.train_on(gan.init(KEY, gan.Setup(gan.pattern_game("1"))), np.zeros((10, 4))),
    lambda: gan.train_on(STATE, np.zeros((10, 4)), gan.Setup(method=gan.Method(d_steps=2))),
    lambda: gan.discriminator_update(STATE, BATCH, samples="all"),
    lambda: gan.params_from_torch({}, {}),
    lambda: gan.step_spectrum(STATE, order=0),
    lambda: gan.step_spectrum(STATE, order=33),
    lambda: gan.wilson_interval(1, 0),
    lambda: gan.wilson_interval(2, 1),
    lambda: gan.wilson_interval(1, 2, confidence=1.0),
    # Many seeds
    lambda: population([]),
    lambda: population([-1]),
    lambda: population(chunk=0),
    lambda: population(engine="foo"),
    lambda: population(engine="palas"),
    lambda: population(grid={"speed": [1.0]}),
    lambda: population(grid={"dlr": [0.1]}),
    lambda: population(grid={"d_lr": 0.1}),
    lambda: population(grid={"d_lr": [0.1, 0.1]}),
    lambda: population(repair=True),
    lambda: population([0, 2], out="out"),
    lambda: gan.replay(-1),
    lambda: seed_range(0),
    lambda: check_movie("avi"),
    lambda: gan.plot.spectrum({"one": np.ones(1)}, style="slide"),
]

COMMANDS = [
    "train --seeds 0",
    "train --seeds -3",
    "train --seeds ten",
    "train --seeds 1.5",
    "train --first-seed -1",
    "train --first-seed 4294967296",
    "train --first-seed 4294967290 --seeds 7",
    "train --steps 0",
    "train --record-every 0",
    "train --record-every 20000",
    "train --steps 105",
    "train --steps 2147483640",
    "train --pattern 12",
    "train --pattern=",
    "train --d-lr nan",
    "train --d-lr -1",
    "train --g-lr 1e39",
    "train --g-lr fast",
    "train --engine warp",
    "train --workers 0",
    "train --chunk many",
    "train --movie gif",
    "train --animate --movie avi",
    "train --coordinator localhost:1234",
    "train --distributed --coordinator alpha",
    "train --process-id 0",
    "train --d-lr fast",
    "train --style poster",
    "train --format bmp",
    "watch --seed -1",
    "watch --seed one",
    "watch --steps 250001",
    "watch --out page.txt",
    "watch --pattern 12",
    "watch --penalty r1 --penalty-weight -1",
    "lab --objectives mse,paint",
    "lab --optimizers lion",
    "lab --update-orders random",
    "lab --bits 0",
    "lab --out page.txt",
    "sweep --x speed=1,2",
    "sweep --x d_lr",
    "sweep --x d_lr=log:0:1:3",
    "sweep --x d_lr=log:1e-3:1",
    "sweep --x d_lr=linear:0:1:0",
    "sweep --x d_lr=-1,2",
    "sweep --x d_lr=log:1:inf:3",
    "sweep --x clip=0,1",
    "sweep --x=",
    "sweep --x d_lr=1 --y d_lr=2",
    "sweep --x d_lr=1 --methods mse,foo",
    "sweep --x d_lr=1 --methods mse+foo",
    "sweep --x d_lr=1 --methods mse --penalty r1",
    "sweep --x penalty_weight=1,2 --methods mse+r1,mse",
    "sweep --x d_lr=1 --methods mse+wgan_gp --update-order alternating",
    "sweep --x penalty_weight=1,2",
    "sweep --x d_lr=1 --game 12",
    "sweep --x d_lr=1 --game dirak",
    "sweep --x lr=1",
    "sweep --x d_lr=1 --methods mse,hing+r1",
    "sweep --x d_lr=1 --steps 15",
    "sweep --x d_lr=1 --optimizer lion",
    "sweep --x d_lr=1 --optimizer adma",
]


def messages():
    for call in REJECTED:
        try:
            call()
        except gan.InvalidArgument as error:
            yield str(error)
        else:
            raise AssertionError("a bad argument was accepted")
    for command in COMMANDS:
        with mock.patch.object(sys, "argv", ["gan1010", *command.split()]):
            with redirect_stderr(io.StringIO()) as printed:
                try:
                    main()
                except SystemExit as end:
                    assert end.code == 2
        yield printed.getvalue().removesuffix("\n")


def test_the_wording_of_rejections(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(messages()) == MESSAGES.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    MESSAGES.write_text("\n".join(messages()) + "\n", encoding="utf-8")
