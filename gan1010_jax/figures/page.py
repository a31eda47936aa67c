"""A page that replays one training run in a browser: one HTML file that needs nothing else.

`page_files/` holds its frame, its style and the script that draws; what is drawn is computed here.
"""

import base64
import html
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib import resources
from typing import Any

import chex
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from flax import linen as nn
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gan1010_jax.convergence import list_options, name_parts
from gan1010_jax.film import Film
from gan1010_jax.games import Game
from gan1010_jax.losses import play
from gan1010_jax.methods import Hyperparams, Method, Objective
from gan1010_jax.models import Linear
from gan1010_jax.plotting import (
    BLUE,
    GREEN,
    GREY,
    LOSS_KEYS,
    ORANGE,
    REAL_RANGE,
    layer_sizes,
    show_steps,
    styled,
    undecided_losses,
)
from gan1010_jax.training import History
from gan1010_jax.updates import Update

# What the page's style calls the colours of a chart, in light and dark.
CSS_COLORS = {
    "#000000": "ink",
    GREY: "grey",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    REAL_RANGE: "range",
}
# The same line styles in a chart's legend.
DASHES = {"-": "none", "--": "7 3", ":": "2 3", "-.": "8 3 2 3"}


def make_page(film: Film, seed: int, game: Game, method: Method, hyperparams: Hyperparams) -> str:
    """A film as a page, HTML.

    Args:
      film: what `watch` gives, of a game of `pattern_game`.
      seed: what the page calls the run.
      game: what was played.
      method: how it was trained.
      hyperparams: its numbers.
    """
    arrays = show_views(film, game, method, hyperparams)
    result = {
        "title": "After the step",
        "caption": "Where the step has led: D sees what G makes now.",
        "sees": "both",
        "moves": "",
    }
    outcomes = name_outcomes(film.history)
    codes = {name: encode(rows) for name, rows in arrays.items()}
    encoded = list({code["data"]: code for code in codes.values()}.values())  # each once
    data = {
        "steps": film.history.step.tolist(),
        "outcomes": outcomes,
        "pattern": game.name,
        "low": game.real.low,
        "high": game.real.high,
        "sizes": {
            "g": layer_sizes(game.generator, game.latent),
            "d": layer_sizes(game.discriminator, game.real),
        },
        "verdict": "belief that it is real" if gives_belief(method.objective) else "score",
        "views": [*(describe(update, method) for update in film.updates), result],
        "other": "as it was" if method.schedule == "simultaneous" else "held still",
        "arrays": {name: encoded.index(code) for name, code in codes.items()},
        "encoded": encoded,
    }
    parts = {
        "title": f"Training a GAN to say {game.name}: seed {seed}",
        "summary": html.escape(summarize(film, method, hyperparams, outcomes[-1])),
        "notes": "\n".join(f"<li>{note}</li>" for note in explain(method, hyperparams)),
        "charts": make_charts(arrays, np.asarray(film.history.step), game, method),
        "film": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        "style": read("page.css"),
        "script": read("page.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], read("page.html"))


def read(name: str) -> str:
    """One of the page's files."""
    return (resources.files("gan1010_jax") / "page_files" / name).read_text(encoding="utf-8")


def name_outcomes(history: History) -> list[str]:
    """How far G has come at each record, in words."""
    tests = [~history.finite, history.in_support, history.matched]
    words = ["diverged", "in support", "matches"]
    return np.select([np.asarray(test) for test in tests], words, "does not match").tolist()


@cache
def gives_belief(objective: Objective) -> bool:
    """Whether D's sigmoid is its belief that a sample is real; else, its logit is but a score.

    It is if the probability p costs D the least where a share p of the samples is real, whatever p:
    if the objective is a proper scoring rule. Gneiting and Raftery, *Strictly Proper Scoring Rules,
    Prediction, and Estimation* (JASA 2007).
    """

    def slope(p):
        def cost(logit):
            return p * objective.d_real(logit) + (1 - p) * objective.d_fake(logit)

        return jax.grad(cost)(jnp.log(p) - jnp.log1p(-p))

    return all(abs(slope(p)) < 1e-6 for p in (0.25, 0.6))


def summarize(film: Film, method: Method, hyperparams: Hyperparams, outcome: str) -> str:
    """What was trained, and what came of it, in words."""
    others = list_options(name_parts(method) | vars(hyperparams))
    how = f" with {' '.join(others)}" if others else " of the reference method"
    every, steps = int(film.history.step[0]), int(film.history.step[-1])
    shown = "each" if every == 1 else f"one in {every:,}"
    return f"{steps:,} steps{how}, of which {shown} is shown. At the end: {outcome}."


def explain(method: Method, hyperparams: Hyperparams) -> list[str]:
    """What a reader has to know of this method to read the page, in sentences."""
    if gives_belief(method.objective):
        notes = [
            "The last unit of D is its belief that what it sees is real. D wants 1 for real "
            "samples and 0 for fake ones, and G wants 1 for its own: when they are alike, D can "
            "only say 0.5."
        ]
    else:
        notes = [
            "The last unit of D is its score of what it sees, a number of any size. D wants real "
            "samples to score higher than fake ones, and G wants a high score for its own."
        ]
    if hyperparams.noise_std is not None:
        notes.append(
            "D sees every sample with noise on it: the real one is drawn with its noise, and what "
            "G makes without."
        )
    return notes


def describe(update: Update, method: Method) -> dict[str, str]:
    """An update in words: its title, what happens, which sample D sees, and who moves."""
    together = method.schedule == "simultaneous"
    penalty = method.penalty.of(update.player, update.on)
    if update.player == "generator":
        d = "the new D" if method.first == "discriminator" and not together else "D"
        sees, title = "fake", f"G, through {d}"
        caption = f"G makes a sample, {d} judges it, and G moves towards what D calls real."
        held = " D is held still."
    else:
        sees = update.on
        title, caption = {
            "real": (
                "D on a real sample",
                "D sees a real sample, and moves towards calling it real.",
            ),
            "fake": (
                "D on a fake sample",
                "G makes a sample, and D moves towards calling it fake.",
            ),
            "both": (
                "D on both samples",
                "D sees a real sample and one that G makes, which is drawn here, and moves towards "
                "telling them apart.",
            ),
        }[update.on]
        # A penalty may go through G, and even so nothing of G moves.
        held = " G is held still." if penalty else " G is held still: no gradient reaches it."
    caption += " Both move at once, each against the other as it was." if together else held
    caption += f" The penalty {method.penalty.name} is part of the loss." if penalty else ""
    return {"title": title, "caption": caption, "sees": sees, "moves": update.player}


def show_views(
    film: Film, game: Game, method: Method, hyperparams: Hyperparams
) -> dict[str, np.ndarray]:
    """What the page draws of each record, float32 [records, ...] by name.

    Each update is a view, and so is what they have led to. Those of view k are called `k.d` and
    `k.g`, the players' parameters, `k.d_units` and `k.g_units`, the activations of their units,
    `k.output` and `k.real`.
    """
    verdict = nn.sigmoid if gives_belief(method.objective) else jnp.asarray

    def look(state, batch, sees):
        d_params, g_params = state.discriminator.params, state.generator.params
        round = play(d_params, g_params, batch, game, method, hyperparams)
        g_units = activations(game.generator, g_params, batch.latent)
        sample = round.real if sees == "real" else round.fake
        return {
            "d": in_order(d_params),
            "g": in_order(g_params),
            "d_units": activations(game.discriminator, d_params, sample, verdict),
            "g_units": g_units[:0] if sees == "real" else g_units,
            "output": g_units[-round.real.size :],
            "real": round.real,
        }

    batch = film.updates[-1].batch
    views = [(update.state, update.batch, update.on) for update in film.updates]
    views += [(film.state, batch, "fake"), (film.state, batch, "real")]
    looks = [jax.vmap(partial(look, sees=sees))(state, batch) for state, batch, sees in views]
    *shown, on_real = looks
    history = film.history
    arrays = {f"{k}.{name}": rows for k, view in enumerate(shown) for name, rows in view.items()}
    arrays |= {
        "output": history.output,
        "verdict": jnp.stack([on_real["d_units"][:, -1], shown[-1]["d_units"][:, -1]], axis=1),
        "losses": jnp.stack(history.losses, axis=1),
    }
    return {name: np.asarray(rows, np.float32) for name, rows in arrays.items()}


def activations(
    network: nn.Module,
    params: chex.ArrayTree,
    inputs: jax.Array,
    last: Callable[[jax.Array], jax.Array] = jnp.asarray,
) -> jax.Array:
    """What the units of a network with logistic layers give, layer by layer, inputs first: [units].

    Those of the last layer give what the network does, through a function.
    """
    output, kept = network.apply(
        {"params": params},
        inputs,
        capture_intermediates=lambda module, _: isinstance(module, Linear),
        mutable="intermediates",
    )
    *hidden, _ = [layer["__call__"][0] for layer in kept["intermediates"].values()]
    return jnp.concatenate([inputs, *map(nn.sigmoid, hidden), jnp.atleast_1d(last(output))])


def in_order(params: chex.ArrayTree) -> jax.Array:
    """A network's parameters side by side: of each layer the weights, unit by unit, then biases."""
    layers = [layer["Dense_0"] for layer in params.values()]
    return jnp.concatenate(
        [x.ravel() for layer in layers for x in (layer["kernel"], layer["bias"])]
    )


def encode(rows: np.ndarray) -> dict[str, Any]:
    """Rows of float32 as JSON: little-endian, in base64, so that no digit is lost."""
    data = base64.b64encode(rows.astype("<f4").tobytes()).decode()
    return {"width": rows.shape[1], "data": data}


@styled
def chart_lines(
    steps: np.ndarray,
    lines: Sequence[tuple[np.ndarray, str, str]],
    across: Sequence[float],
    bands: Sequence[tuple[float, float]] = (),
) -> Figure:
    """Lines, each with its colour and style, over the steps, in the size of a telephone."""
    figure = Figure(figsize=(4.6, 2.4))
    axes = figure.subplots()
    for low, high in bands:
        axes.axhspan(low, high, fc=REAL_RANGE, ec=GREY, lw=0.6)
    marker = "o" if len(steps) == 1 else ""
    for values, color, style in lines:
        axes.plot(steps, values, color=color, ls=style, lw=1.3, marker=marker, clip_on=False)
    for value in across:
        axes.axhline(value, color=GREY, lw=1, ls=":")
    show_steps(axes, steps[-1])
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=(1, 2, 5, 10)))
    return figure


def make_charts(
    arrays: Mapping[str, np.ndarray], steps: np.ndarray, game: Game, method: Method
) -> str:
    """The charts over training, each with its legend, in HTML."""
    colors, styles = {"1": BLUE, "0": ORANGE}, [*DASHES]
    outputs = [
        (f"coordinate {unit + 1} ({bit})", colors[bit], styles[game.name[:unit].count(bit) % 4])
        for unit, bit in enumerate(game.name)
    ]
    verdicts = [("a real sample", BLUE, "-"), ("what G makes", ORANGE, "-")]
    losses = [(label, color, "-") for label, color in LOSS_KEYS]
    objective = method.objective
    bands = sorted({*zip(game.real.low, game.real.high)})
    believes = gives_belief(objective)
    verdict = "D's belief that a sample is real" if believes else "D's score of a sample"
    undecided = sorted({*undecided_losses(objective)})
    charts = [
        ("G's output, and the real ranges", "output", outputs, [0.5], bands),
        (verdict, "verdict", verdicts, [0.5] if believes else [], []),
        ("Losses (dotted: D undecided)", "losses", losses, undecided, []),
    ]
    parts = []
    for title, name, keys, across, bands in charts:
        rows = arrays[name]
        lines = [(rows[:, k], color, style) for k, (_, color, style) in enumerate(keys)]
        legend = "".join(legend_item(name, k, *key) for k, key in enumerate(keys))
        chart = as_svg(chart_lines(steps, lines, across, bands), name, title)
        caption = f"<figcaption>{title}</figcaption>"
        parts.append(f'<figure>{caption}{chart}<ul class="legend">{legend}</ul></figure>')
    return "\n".join(parts)


def legend_item(name: str, index: int, label: str, color: str, style: str) -> str:
    """A line of a chart's legend in HTML, with room for the value at the record that is shown."""
    stroke = f"stroke: var(--{CSS_COLORS[color]}); stroke-width: 3"
    line = f'<line x2="30" y1="3" y2="3" style="{stroke}; stroke-dasharray: {DASHES[style]}"/>'
    key = f'<svg class="key" viewBox="0 0 30 6" aria-hidden="true">{line}</svg>'
    value = f'<span class="value" data-array="{name}" data-index="{index}"></span>'
    return f"<li>{key}{html.escape(label)}{value}</li>"


def as_svg(figure: Figure, name: str, title: str) -> str:
    """A chart in HTML: an SVG in the page's colours, that says where its axes are in it."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r"<svg[^>]*?( viewBox=\"[^\"]*\")[^>]*>",
        rf'<svg\1 role="img" aria-label="{html.escape(title)}, over training">',
        svg,
        count=1,
    )
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # the other charts have the same
    for color, css in CSS_COLORS.items():
        svg = re.sub(color, f"var(--{css})", svg, flags=re.IGNORECASE)
    (left, bottom), (right, top) = figure.axes[0].get_position().get_points()
    place = {"left": left, "right": right, "top": 1 - top, "bottom": 1 - bottom}
    data = " ".join(f'data-{side}="{value:.4f}"' for side, value in place.items())
    return f'<div class="chart" {data}>{svg}</div>'
