"""A page that replays one training run in a browser: one HTML file that needs nothing else.

`page_files/` holds its frame, its style and the script that draws; what is drawn is computed here.
"""

import base64
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
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

from gan1010_jax.convergence import name_parts
from gan1010_jax.film import Film
from gan1010_jax.games import Game
from gan1010_jax.losses import play
from gan1010_jax.methods import Hyperparams, Method
from gan1010_jax.models import Linear
from gan1010_jax.plotting import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    REAL_RANGE,
    layer_sizes,
    show_steps,
    styled,
)
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
        "caption": "Where the step has led to. “Next update” shows how the next one goes on.",
        "sees": "both",
        "moves": "",
    }
    codes = {name: encode(rows) for name, rows in arrays.items()}
    encoded = list({code["data"]: code for code in codes.values()}.values())  # each once
    data = {
        "steps": film.history.step.tolist(),
        "pattern": game.name,
        "low": game.real.low,
        "high": game.real.high,
        "sizes": {
            "g": layer_sizes(game.generator, game.latent),
            "d": layer_sizes(game.discriminator, game.real),
        },
        "views": [*(describe(update, method) for update in film.updates), result],
        "arrays": {name: encoded.index(code) for name, code in codes.items()},
        "encoded": encoded,
    }
    parts = {
        "title": f"Seed {seed} learns {game.name}",
        "summary": html.escape(summarize(film, method, hyperparams)),
        "charts": make_charts(arrays, np.asarray(film.history.step), game, method),
        "film": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        "style": read("page.css"),
        "script": read("page.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], read("page.html"))


def read(name: str) -> str:
    """One of the page's files."""
    return (resources.files("gan1010_jax") / "page_files" / name).read_text(encoding="utf-8")


def summarize(film: Film, method: Method, hyperparams: Hyperparams) -> str:
    """What was trained, and what came of it, in words."""
    parts, reference = (
        name_parts(method) | vars(numbers)
        for method, numbers in ((method, hyperparams), (Method(), Hyperparams()))
    )
    others = [f"{name} {value}" for name, value in parts.items() if value != reference[name]]
    how = " of the reference" if not others else f" with {', '.join(others).replace('_', ' ')}"
    end = "in support" if film.history.in_support[-1] else "not in support"
    return f"{int(film.history.step[-1]):,} steps{how}. At the end, G's output is {end}."


def describe(update: Update, method: Method) -> dict[str, str]:
    """An update in words: its title, what happens, which sample D sees, and who moves."""
    if update.player == "generator":
        new = method.schedule != "simultaneous" and method.first == "discriminator"
        d = "the new D" if new else "D, as it was before the step,"
        title, sees = "G, through the new D" if new else "G, through D", "fake"
        caption = (
            f"G makes a sample, and {d} judges it. Only G moves, towards what D takes for real."
        )
    else:
        sees = update.on
        title, caption = {
            "real": (
                "D on a real sample",
                "D sees a real sample, and moves to believe more firmly that it is real.",
            ),
            "fake": (
                "D on a fake sample",
                "G makes a sample, and D moves to believe more firmly that it is fake. "
                "G is held still: no gradient reaches it.",
            ),
            "both": (
                "D on both samples",
                "D sees a real sample and one that G makes, which is drawn here, and moves to tell "
                "them apart. G is held still: no gradient reaches it.",
            ),
        }[update.on]
    return {"title": title, "caption": caption, "sees": sees, "moves": update.player}


def show_views(
    film: Film, game: Game, method: Method, hyperparams: Hyperparams
) -> dict[str, np.ndarray]:
    """What the page draws of each record, float32 [records, ...] by name.

    Each update is a view, and so is what they have led to. Those of view k are called `k.d` and
    `k.g`, the players' parameters, `k.d_units` and `k.g_units`, the activations of their units,
    `k.output` and `k.real`.
    """

    def look(state, batch, sees):
        d_params, g_params = state.discriminator.params, state.generator.params
        round = play(d_params, g_params, batch, game, method, hyperparams)
        output = game.generator.apply({"params": g_params}, batch.latent)
        g_units = activations(game.generator, g_params, batch.latent)
        sample = round.real if sees == "real" else round.fake
        return {
            "d": in_order(d_params),
            "g": in_order(g_params),
            "d_units": activations(game.discriminator, d_params, sample),
            "g_units": g_units[:0] if sees == "real" else g_units,
            "output": output,
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
        "belief": jnp.stack([on_real["d_units"][:, -1], shown[-1]["d_units"][:, -1]], axis=1),
        "losses": jnp.stack(history.losses, axis=1),
        "success": jnp.stack([history.finite, history.matched, history.in_support], axis=1),
    }
    return {name: np.asarray(rows, np.float32) for name, rows in arrays.items()}


def activations(network: nn.Module, params: chex.ArrayTree, inputs: jax.Array) -> jax.Array:
    """What the units of a network with logistic layers give, layer by layer, inputs first: [units].

    The last unit of D is the probability that belongs to its logit.
    """
    _, kept = network.apply(
        {"params": params},
        inputs,
        capture_intermediates=lambda module, _: isinstance(module, Linear),
        mutable="intermediates",
    )
    layers = [layer["__call__"][0] for layer in kept["intermediates"].values()]
    return jnp.concatenate([inputs, *map(nn.sigmoid, layers)])


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
        axes.axhspan(low, high, color=REAL_RANGE, lw=0)
    for values, color, style in lines:
        axes.plot(steps, values, color=color, ls=style, lw=1.3)
    for value in across:
        axes.axhline(value, color=GREY, lw=1, ls=":")
    show_steps(axes, steps[-1])
    axes.xaxis.set_major_locator(MaxNLocator(4))
    return figure


def make_charts(
    arrays: Mapping[str, np.ndarray], steps: np.ndarray, game: Game, method: Method
) -> str:
    """The charts over training, each with its legend, in HTML."""
    colors = {"1": BLUE, "0": ORANGE}
    outputs = [
        (f"coordinate {unit + 1} ({bit})", colors[bit], ("-", "--", ":", "-.")[unit // 2 % 4])
        for unit, bit in enumerate(game.name)
    ]
    beliefs = [("a real sample", BLUE, "-"), ("what G makes", ORANGE, "-")]
    losses = [
        ("D on a real sample", BLUE, "-"),
        ("D on a fake sample", ORANGE, "-"),
        ("G", GREEN, "-"),
    ]
    objective = method.objective
    undecided = {float(loss(0.0)) for loss in (objective.d_real, objective.d_fake, objective.g)}
    bands = sorted({*zip(game.real.low, game.real.high)})
    charts = [
        ("G's output, and the real ranges", "output", outputs, [0.5], bands),
        ("D's belief that a sample is real", "belief", beliefs, [0.5], []),
        ("Losses (dotted: D undecided)", "losses", losses, sorted(undecided), []),
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
    value = f'<output data-array="{name}" data-index="{index}"></output>'
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
    for color, css in CSS_COLORS.items():
        svg = re.sub(color, f"var(--{css})", svg, flags=re.IGNORECASE)
    (left, bottom), (right, top) = figure.axes[0].get_position().get_points()
    place = {"left": left, "right": right, "top": 1 - top, "bottom": 1 - bottom}
    data = " ".join(f'data-{side}="{value:.4f}"' for side, value in place.items())
    return f'<div class="chart" {data}>{svg}</div>'
