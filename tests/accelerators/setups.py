"""The setups whose kernels an accelerator's compiler must take: each part of every method, once."""

from collections.abc import Iterator
from functools import partial

import optax

import gan1010_jax as gan
from gan1010_jax.methods import OBJECTIVES, PENALTIES

OPTIMIZERS = {
    "momentum": partial(optax.sgd, momentum=0.9),
    "adam": optax.adam,
    "rmsprop": optax.rmsprop,
    "adagrad": optax.adagrad,
    "lion": optax.lion,
    "adabelief": optax.adabelief,
    "optimistic": optax.optimistic_gradient_descent,
}


def setups() -> Iterator[tuple[str, gan.Setup]]:
    """Every setup, with its name."""
    for objective in OBJECTIVES:
        for penalty in PENALTIES.values():
            if penalty.objectives is None or objective in penalty.objectives:
                method = gan.Method(objective, "alternating", penalty)
                yield f"{objective} {penalty.name}", gan.Setup(gan.pattern_game("10"), method)
    for name, optimizer in OPTIMIZERS.items():
        yield name, gan.Setup(gan.pattern_game("1"), gan.Method(optimizer=optimizer))
    methods = {
        "simultaneous": gan.Method("nonsaturating", "simultaneous"),
        "first G": gan.Method("nonsaturating", first="generator"),
        "two D steps": gan.Method(d_steps=2),
        "extragradient": gan.Method("nonsaturating", "extragradient"),
        "lookahead": gan.Method(sync_period=5),
    }
    for name, method in methods.items():
        yield name, gan.Setup(method=method)
    yield "noise", gan.Setup(hyperparams=gan.Hyperparams(noise_std=0.1))
    yield "average", gan.Setup(hyperparams=gan.Hyperparams(average_decay=0.9))
    yield "clip", gan.Setup(hyperparams=gan.Hyperparams(clip=0.1))
    for pattern in ("1", "1010", "1010" * 4):
        yield f"{len(pattern)} bits", gan.Setup(gan.pattern_game(pattern))
    for objective in ("mse", "nonsaturating"):
        yield f"dirac {objective}", gan.Setup(gan.dirac_game(), gan.Method(objective, penalty="r1"))
    yield "bilinear", gan.Setup(gan.bilinear_game(), gan.Method("wasserstein"))
