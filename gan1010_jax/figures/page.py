"""A page that replays one training run in a browser: one HTML file that needs nothing else.

`page_files/` holds its frame, its style and the script that draws; all numbers are computed here.
"""

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources

import chex
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from flax import linen as nn
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gan1010_jax.environment import jit
from gan1010_jax.figures import style
from gan1010_jax.figures.values import layer_sizes, undecided_losses
from gan1010_jax.games import Game
from gan1010_jax.gan import Setup, d_step_batch
from gan1010_jax.methods import Method, flags_of, gives_belief
from gan1010_jax.networks import activations
from gan1010_jax.training import History, Trace

# The names of a chart's colours in the page's style, which has them for light and dark.
_CSS_COLORS = {
    "#000000": "ink",
    style.PAPER.grey: "grey",
    style.PAPER.blue: "blue",
    style.PAPER.orange: "orange",
    style.PAPER.green: "green",
    style.PAPER.real_range: "range",
}
# The line styles as dashes of a chart's legend.
_DASHES = {"-": "none", "--": "7 3", ":": "2 3", "-.": "8 3 2 3"}
_D_CAPTIONS = {
    "real": "D sees a real sample, and moves towards calling it real.",
    "fake": "G makes a sample, and D moves towards calling it fake.",
    "both": "D sees a real sample and one that G makes, which is drawn here, and moves towards "
    "telling them apart.",
}
_Key = tuple[str, str, str]  # of a line of a chart: its label, colour and style


def make_page(trace: Trace, seed: int, setup: Setup = Setup()) -> str:
    """A run of a game of `pattern_game`, from `train_traced`, as a page in HTML."""
    trace = jax.device_get(trace)
    game, method, history = setup.game, setup.method, trace.history
    outcomes = _name_outcomes(history)
    arrays = jax.device_get(_view_arrays(trace, setup, gives_belief(method.objective)))
    codes = {  # in base64, so that no digit is lost
        name: (rows.shape[1], base64.b64encode(rows.astype("<f4").tobytes()).decode())
        for name, rows in arrays.items()
    }
    encoded = list(dict.fromkeys(codes.values()))  # each once
    views = [_describe(player, samples, method) for player, samples, _ in method.updates]
    after = "Where the step has led: D sees what G makes now."
    views.append({"title": "After the step", "caption": after, "sees": "both", "moves": ""})
    data = {
        "steps": history.step.tolist(),
        "outcomes": outcomes,
        "pattern": _bits(game),
        "low": game.real.low,
        "high": game.real.high,
        "sizes": {
            "g": layer_sizes(game.generator, game.latent),
            "d": layer_sizes(game.discriminator, game.real),
        },
        "verdict": "belief that it is real" if gives_belief(method.objective) else "score",
        "views": views,
        "other": "as it was" if method.at_once else "held still",
        "arrays": {name: encoded.index(code) for name, code in codes.items()},
        "encoded": [{"width": width, "data": code} for width, code in encoded],
    }
    files = {"style": _read("page.css"), "script": _read("page.js")}
    frame = _fill(_read("page.html"), files)
    parts = {
        "scripts": _hashes(frame, "script"),  # of the page's own, before anything else is in it
        "styles": _hashes(frame, "style"),
        "title": html.escape(f"Training a GAN to say {game.name}: seed {seed}"),
        "summary": html.escape(_summary(history, setup, outcomes[-1])),
        "notes": "\n".join(f"<li>{html.escape(note, quote=False)}</li>" for note in _notes(setup)),
        "charts": _make_charts(arrays, np.asarray(history.step), setup),
        "trace": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return _fill(frame, parts)


def _bits(game: Game) -> str:
    """The pattern of a game of `pattern_game`, whatever it is named."""
    return "".join(map(str, game.matched.bits))


def _fill(frame: str, parts: Mapping[str, str]) -> str:
    """A frame with each `{{name}}` that has a part replaced by it."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts.get(match[1], match[0]), frame)


def _hashes(frame: str, tag: str) -> str:
    """The elements of a name as sources of a content security policy, which allows no others."""
    texts = re.findall(f"<{tag}>(.*?)</{tag}>", frame, flags=re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in texts)
    return " ".join(f"'sha256-{digest.decode()}'" for digest in digests)


def _read(name: str) -> str:
    return (resources.files(__package__) / "page_files" / name).read_text(encoding="utf-8")


def _name_outcomes(history: History) -> list[str]:
    tests = [~history.finite, history.in_support, history.matched]
    words = ["diverged", "in support", "matches"]
    return np.select([np.asarray(test) for test in tests], words, "does not match").tolist()


def _summary(history: History, setup: Setup, outcome: str) -> str:
    others = flags_of(setup.method.options | vars(setup.hyperparams))
    how = f" with {' '.join(others)}" if others else " of the reference method"
    every, steps = int(history.step[0]), int(history.step[-1])
    shown = "each" if every == 1 else f"one in {every:,}"
    return f"{steps:,} steps{how}, of which {shown} is shown. At the end: {outcome}."


def _notes(setup: Setup) -> list[str]:
    if gives_belief(setup.method.objective):
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
    if setup.hyperparams.noise_std is not None:
        notes.append(
            "D sees every sample with noise on it: the real one is drawn with its noise, and what "
            "G makes without."
        )
    if setup.hyperparams.average_decay is not None:
        notes.append(
            "The networks are those in training. What counts at the end, and what the chart of G's "
            "output shows, is made with the average of G's weights."
        )
    return notes


def _describe(player: str, samples: str, method: Method) -> dict[str, str]:
    """An update in words: its title, its caption, the sample that D sees, and the player."""
    together = method.at_once
    penalty = method.penalty.term(player, samples)
    if player == "generator":
        d = "the new D" if method.first == "discriminator" and not together else "D"
        title, held = f"G, through {d}", " D is held still."
        caption = f"G makes a sample, {d} judges it, and G moves towards what D calls real."
    else:
        title = f"D on {'both samples' if samples == 'both' else f'a {samples} sample'}"
        caption = _D_CAPTIONS[samples]
        # A penalty may go through G, and even so nothing of G moves.
        held = " G is held still." if penalty else " G is held still: no gradient reaches it."
    caption += " Both move at once, each against the other as it was." if together else held
    if method.update_order == "extragradient":
        caption += " They do so twice: the gradients that count are those where the first has led."
    caption += f" The penalty {method.penalty.name} is part of the loss." if penalty else ""
    return {"title": title, "caption": caption, "sees": samples, "moves": player}


@jit(static_argnames="is_belief")
def _view_arrays(trace: Trace, setup: Setup, is_belief: bool) -> dict[str, jax.Array]:
    """The numbers that the page draws of each record, float32 [records, ...] by name.

    Each update is a view, and so is the state that they have led to. View k has the arrays `k.d`
    and `k.g`, the players' parameters, `k.d_units` and `k.g_units`, the activations of their units,
    `k.output` and `k.real`.
    """
    game, method = setup.game, setup.method
    verdict = nn.sigmoid if is_belief else jnp.asarray

    def view(states, sees, d_step):
        def view_record(state, batch):
            batch = d_step_batch(batch, setup, d_step)
            d_params, g_params = state.discriminator.params, state.generator.params
            g_units = activations(game.generator, g_params, batch.latent)
            output = g_units[-batch.real.size :]
            fake = output if batch.noise is None else output + batch.noise
            sample = batch.real if sees == "real" else fake
            return {
                "d": _in_order(d_params),
                "g": _in_order(g_params),
                "d_units": activations(game.discriminator, d_params, sample, verdict),
                "g_units": g_units[:0] if sees == "real" else g_units,
                "output": output,
                "real": batch.real,
            }

        return jax.vmap(view_record)(states, trace.batch)

    last = method.d_steps - 1
    starts = zip(method.updates, trace.updates)
    views = [view(states, samples, d_step) for (_, samples, d_step), states in starts]
    views.append(view(trace.state, "fake", last))
    on_real, on_fake = view(trace.state, "real", last)["d_units"], views[-1]["d_units"]
    arrays = {f"{k}.{name}": rows for k, view in enumerate(views) for name, rows in view.items()}
    arrays |= {
        "output": trace.history.output,
        "verdict": jnp.stack([on_real[:, -1], on_fake[:, -1]], axis=1),
        "losses": jnp.stack(trace.history.losses, axis=1),
    }
    return {name: rows.astype(jnp.float32) for name, rows in arrays.items()}


def _in_order(params: chex.ArrayTree) -> jax.Array:
    """A network's parameters side by side: of each layer the weights, unit by unit, then biases."""
    layers = [layer["Dense_0"] for layer in params.values()]
    return jnp.concatenate([layer[name].ravel() for layer in layers for name in ("kernel", "bias")])


def _make_charts(arrays: Mapping[str, np.ndarray], steps: np.ndarray, setup: Setup) -> str:
    """The charts over training, each with its legend, in HTML."""
    game, objective, bits = setup.game, setup.method.objective, _bits(setup.game)
    colors, styles = {"1": style.PAPER.blue, "0": style.PAPER.orange}, [*_DASHES]
    outputs = [
        (f"coordinate {unit + 1} ({bit})", colors[bit], styles[bits[:unit].count(bit) % 4])
        for unit, bit in enumerate(bits)
    ]
    verdicts = [("a real sample", style.PAPER.blue, "-"), ("what G makes", style.PAPER.orange, "-")]
    losses = [(label, getattr(style.PAPER, color), "-") for label, color in style.LOSS_KEYS]
    believes = gives_belief(objective)
    verdict = "D's belief that a sample is real" if believes else "D's score of a sample"
    undecided = sorted({*undecided_losses(objective)})
    ranges = sorted({*zip(game.real.low, game.real.high)})
    parts = []
    for title, name, keys, across, bands in (
        ("G's output, and the real ranges", "output", outputs, [0.5], ranges),
        (verdict, "verdict", verdicts, [0.5] if believes else [], []),
        ("Losses (dotted: D undecided)", "losses", losses, undecided, []),
    ):
        legend = "".join(_legend_item(name, k, key) for k, key in enumerate(keys))
        chart = _as_svg(_chart_lines(steps, arrays[name].T, keys, across, bands), name, title)
        caption = f"<figcaption>{html.escape(title, quote=False)}</figcaption>"
        parts.append(f'<figure>{caption}{chart}<ul class="legend">{legend}</ul></figure>')
    return "\n".join(parts)


@style.styled
def _chart_lines(
    steps: np.ndarray,
    lines: np.ndarray,
    keys: Sequence[_Key],
    across: Sequence[float],
    bands: Sequence[tuple[float, float]],
) -> Figure:
    """Lines, each with its colour and style, over the steps, in the size of a telephone."""
    figure = Figure(figsize=(4.6, 2.4))
    axes = figure.subplots()
    for low, high in bands:
        axes.axhspan(low, high, fc=style.PAPER.real_range, ec=style.PAPER.grey, lw=0.6)
    marker = "o" if len(steps) == 1 else ""
    for values, (_, color, line) in zip(lines, keys):
        axes.plot(steps, values, color=color, ls=line, lw=1.3, marker=marker, clip_on=False)
    for value in across:
        axes.axhline(value, color=style.PAPER.grey, lw=1, ls=":")
    style.show_steps(axes, steps[-1])
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=(1, 2, 5, 10)))
    return figure


def _legend_item(name: str, index: int, key: _Key) -> str:
    """A line of a chart's legend in HTML, with room for the value at the record that is shown."""
    label, color, dash = key
    stroke = f"stroke: var(--{_CSS_COLORS[color]}); stroke-width: 3"
    line = f'<line x2="30" y1="3" y2="3" style="{stroke}; stroke-dasharray: {_DASHES[dash]}"/>'
    key = f'<svg class="key" viewBox="0 0 30 6" aria-hidden="true">{line}</svg>'
    value = f'<span class="value" data-array="{name}" data-index="{index}"></span>'
    return f"<li>{key}{html.escape(label)}{value}</li>"


def _as_svg(figure: Figure, name: str, title: str) -> str:
    """A chart in HTML: an SVG in the page's colours, with the place of its axes in it."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    said = f'role="img" aria-label="{html.escape(title)}, over training"'
    svg = re.sub(r'<svg[^>]*?( viewBox="[^"]*")[^>]*>', rf"<svg\1 {said}>", svg, count=1)
    svg = re.sub("<style.*?</style>", "", svg, flags=re.DOTALL)  # the page's has what is in it
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # the other charts have the same
    for color, css in _CSS_COLORS.items():
        svg = re.sub(color, f"var(--{css})", svg, flags=re.IGNORECASE)
    (left, bottom), (right, top) = figure.axes[0].get_position().get_points()
    place = {"left": left, "right": right, "top": 1 - top, "bottom": 1 - bottom}
    data = " ".join(f'data-{side}="{value:.4f}"' for side, value in place.items())
    return f'<div class="chart" {data}>{svg}</div>'
