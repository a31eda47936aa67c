"""The page that replays a run, in a real browser: what it shows are the history's numbers."""

import base64
import dataclasses
import hashlib
import html
import itertools
import re

import jax
import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright
from programs import run_program
from publish import BROWSERS, find_browser

import gan1010_jax as gan
from gan1010_jax.figures import make_page
from gan1010_jax.figures.page import _describe, _name_outcomes
from gan1010_jax.methods import OBJECTIVES, gives_belief

STEPS, RECORDS = 600, 60
DESKTOP, TELEPHONE = {"width": 1200, "height": 900}, {"width": 360, "height": 740}
UPDATES = ["1 D on a real sample", "2 D on a fake sample", "3 G, through the new D"]

# What is drawn, as numbers: places in the middle panel are between its marks 0 and 1, and those of
# cursors between the ends of their axes.
LOOK = """() => {
  const all = (selector, of = document) => [...of.querySelectorAll(selector)];
  const number = (node, name) => parseFloat(node.getAttribute(name));
  const network = (id) => ({
    ends: all(`#${id} line`).map((line) => ["1", "2"].map((end) =>
      all(`#${id} .unit`).findIndex((unit) =>
        ["x", "y"].every((axis) => number(unit, `c${axis}`) === number(line, axis + end))))),
    painted: all(`#${id} line, #${id} circle:nth-of-type(3n):not([style])`).map(
      (node) => (node.matches(".negative") ? -1 : 1) * number(node, "stroke-width") / 2),
    fills: all(`#${id} circle[opacity]`).map((node) => number(node, "opacity")),
    numbers: all(`#${id} text:not(.label)`).map((node) => node.textContent),
    said: document.querySelector(`#${id} svg`).getAttribute("aria-label"),
  });
  const [zero, , one] = all("#sample .axis text").map((node) => number(node, "x"));
  const place = (x) => (x - zero) / (one - zero);
  return {
    step: document.querySelector("#step").textContent,
    ...Object.fromEntries(["output", "verdict", "losses"].map((name) =>
      [name, all(`[data-array=${name}]`).map((node) => node.textContent)])),
    generator: network("generator"),
    discriminator: network("discriminator"),
    made: all("#sample circle").map((node) => place(number(node, "cx"))),
    makes: all("[id^=output-]").map((node) => node.textContent),
    real: all("#sample path").map(
      (node) => place(parseFloat(node.getAttribute("transform").slice("translate(".length)))),
    low: all("#sample rect").map((node) => place(number(node, "x"))),
    high: all("#sample rect").map((node) => place(number(node, "x") + number(node, "width"))),
    cursors: all(".chart").map((chart) => {
      const { left, right } = chart.dataset;
      return (parseFloat(chart.querySelector(".cursor").style.left) / 100 - left) / (right - left);
    }),
  };
}"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The page of seed 17, made by the program."""
    path = tmp_path_factory.mktemp("page") / "watch.html"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_program("watch", f"--seed 17 --steps {STEPS} --out {path}", monkeypatch) == 0
    return path


@pytest.fixture(scope="module")
def trace():
    return gan.train_traced(jax.random.key(17), steps=STEPS)


@pytest.fixture(scope="module")
def browser():
    found = find_browser()
    if found is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_playwright() as playwright:
        # A browser that runs as root, as in a container, has no sandbox.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, path):
    """Open the page, in a window of some size; fails if anything goes wrong or leaves the page."""
    contexts, trouble = [], []

    def open_in(path=path, viewport=DESKTOP, **options):
        context = browser.new_context(viewport=viewport, **options)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        contexts.append((context, requests, [path.as_uri()]))
        return page

    yield open_in
    for context, requests, allowed in contexts:
        context.close()
        assert requests == allowed
    assert trouble == []


def evaluate(player, inputs):
    """What the units of a network of logistic layers give, inputs first."""
    units = [np.asarray(inputs)]
    for layer in player.params.values():
        dense = layer["Dense_0"]
        units.append(1 / (1 + np.exp(-units[-1] @ dense["kernel"] - dense["bias"])))
    return np.concatenate(units)


def assert_draws(drawn, player, inputs):
    """A network has its weights and biases, in sign and size, and what its units give."""
    layers = [layer["Dense_0"] for layer in player.params.values()]
    ends, first = [], 0
    for inputs_of, units in (layer["kernel"].shape for layer in layers):
        places = itertools.product(range(inputs_of), range(inputs_of, inputs_of + units))
        ends += [[first + one, first + other] for one, other in places]
        first += inputs_of
    assert drawn["ends"] == ends
    weights = [weight for layer in layers for weight in np.ravel(layer["kernel"])]
    biases = [bias for layer in layers for bias in layer["bias"]]
    np.testing.assert_allclose(drawn["painted"], [*weights, *biases], rtol=1e-5)
    if inputs is None:  # nothing goes through it
        assert not any(drawn["numbers"])
    else:
        units = evaluate(player, inputs)
        np.testing.assert_allclose([float(x) for x in drawn["numbers"]], units, atol=0.0051)
        np.testing.assert_allclose(drawn["fills"], 0.75 * units, atol=1e-5)
        assert re.findall(r"\d\.\d\d", drawn["said"]) == drawn["numbers"]


def assert_shows(page, record, trace):
    """The page shows a record of the history, and what its step has led to."""
    outcomes = page.evaluate("trace.outcomes")
    history, state = jax.tree.map(
        lambda leaf: np.asarray(leaf[record]), (trace.history, trace.state)
    )
    real = trace.batch.real[record]
    drawn = page.evaluate(LOOK)
    assert drawn["step"] == f"step {history.step:,}: {outcomes[record]}"
    assert drawn["output"] == [f"{value:.4f}" for value in history.output]
    assert drawn["losses"] == [f"{value:.4f}" for value in history.losses]
    verdicts = [evaluate(state.discriminator, sample)[-1] for sample in (real, history.output)]
    np.testing.assert_allclose([float(x) for x in drawn["verdict"]], verdicts, atol=1e-4)
    assert_draws(drawn["generator"], state.generator, [0.5])
    assert_draws(drawn["discriminator"], state.discriminator, history.output)
    assert drawn["makes"] == [f"{value:.3f}" for value in history.output]
    ranges = gan.pattern_game("1010").real
    places = [history.output, real, ranges.low, ranges.high]
    np.testing.assert_allclose(
        [drawn[name] for name in ("made", "real", "low", "high")], places, atol=1e-4
    )
    np.testing.assert_allclose(drawn["cursors"], [history.step / STEPS] * 3, atol=1e-4)


@pytest.mark.slow
def test_scrubbing_shows_the_numbers_of_the_history(open_page, trace):
    page = open_page()
    page.evaluate("trace.outcomes.forEach((_, record, all) => (all[record] = `outcome ${record}`))")
    page.locator("#scrubber").fill("0")
    assert_shows(page, 0, trace)
    for record in (1, 17, RECORDS - 1):
        page.locator("#scrubber").fill(str(record))
        assert_shows(page, record, trace)
    x, y = on_chart(page, 30)
    page.mouse.click(x, y)
    assert_shows(page, 30, trace)
    page.mouse.down()
    page.mouse.move(on_chart(page, 12)[0], y)
    assert_shows(page, 12, trace)
    page.mouse.up()
    page.mouse.move(x + 20, y)  # with nothing held down
    assert_shows(page, 12, trace)


def on_chart(page, record):
    """Where a record is on the first chart."""
    chart = page.locator(".chart").first
    chart.evaluate("(chart) => chart.scrollIntoView({ block: 'center' })")
    box = chart.bounding_box()
    left, right = (float(chart.get_attribute(f"data-{side}")) for side in ("left", "right"))
    along = left + (right - left) * (record + 1) / RECORDS  # the steps are 1/60, …, 60/60 of all
    return box["x"] + along * box["width"], box["y"] + box["height"] / 2


LEGENDS = {
    "output": {
        "coordinate 1 (1)": "blue",
        "coordinate 2 (0)": "orange",
        "coordinate 3 (1)": "blue",
        "coordinate 4 (0)": "orange",
    },
    "verdict": {"a real sample": "blue", "what G makes": "orange"},
    "losses": {"D on a real sample": "blue", "D on a fake sample": "orange", "G": "green"},
}


@pytest.mark.slow
def test_a_chart_has_the_lines_of_its_legend_where_they_are(path, trace):
    last = {"output": trace.history.output[-1], "losses": [x[-1] for x in trace.history.losses]}
    across = {"output": [0.5], "verdict": [0.5], "losses": [0.25]}
    figures = path.read_text().split("<figure>")
    for name, legend in LEGENDS.items():
        chart = next(figure for figure in figures if f'data-array="{name}"' in figure)
        keys = re.findall(r"stroke: var\(--(\w+)\)[^>]*/></svg>([^<]*)<", chart)
        assert {label: color for color, label in keys} == legend
        drawn = [
            (np.array(re.findall(r"[\d.]+", path), float), style)
            for path, style in re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', chart)
        ]
        lines = [(path.reshape(-1, 2), style) for path, style in drawn if "width: 1.3" in style]
        assert [style.split("--")[1].split(")")[0] for _, style in lines] == [*legend.values()]
        wanted = ('viewBox="0 0 ', 'data-left="', 'data-right="')
        width, left, right = (float(re.search(rf"{key}([\d.]+)", chart)[1]) for key in wanted)
        for line, _ in lines:
            at = (line[:, 0] / width - left) / (right - left)
            np.testing.assert_allclose(at, trace.history.step / STEPS, atol=2e-3)
        if name in last:
            heights = [line[-1, 1] for line, _ in lines]
            scale = np.polyfit(heights, last[name], 1)
            np.testing.assert_allclose(np.polyval(scale, heights), last[name], atol=1e-3)
            dotted = [path for path, style in drawn if "--grey" in style and "dasharray" in style]
            values = [np.polyval(scale, path[1]) for path in dotted]
            np.testing.assert_allclose(values, across[name], atol=2e-3)
            bands = [np.polyval(scale, path[1::2]) for path, style in drawn if "--range" in style]
            ends = [value for band in bands for value in (band.min(), band.max())]
            ranges = [0.0, 0.2, 0.8, 1.0] if name == "output" else []
            np.testing.assert_allclose(ends, ranges, atol=2e-3)


@pytest.mark.slow
def test_the_keyboard_is_enough(open_page, trace):
    page = open_page(viewport={"width": 1000, "height": 500})
    press = page.keyboard.press
    for key, record in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0)):
        press(key)
        assert_shows(page, record, trace)
    # Every control is reached, and is in sight; to reach the player does not move the page.
    reached, scrolled = [], []
    for _ in range(11):
        press("Tab")
        name, bottom, top = page.evaluate(
            """[document.activeElement.id || document.activeElement.textContent,
                document.activeElement.getBoundingClientRect().bottom,
                document.querySelector("footer").getBoundingClientRect().top]"""
        )
        reached.append(name)
        scrolled.append(page.evaluate("scrollY"))
        assert bottom < top or len(reached) > 5
    player = ["play", "back", "forward", "next", "speed", "scrubber"]
    assert reached == [*UPDATES, "After the step", "How to read it", *player]
    assert len(set(scrolled[4:])) == 1
    press("End")
    assert_shows(page, RECORDS - 1, trace)
    press("ArrowRight")
    assert_shows(page, RECORDS - 1, trace)
    press("Home")
    assert_shows(page, 0, trace)

    play = page.locator("#play")
    press("Space")
    expect(play).to_have_text("Pause")
    page.keyboard.down("Space")
    page.keyboard.down("Space")  # held: it repeats
    page.keyboard.up("Space")
    assert play.inner_text() == "Play"
    stopped = page.evaluate("record")
    page.wait_for_timeout(150)
    assert page.evaluate("record") == stopped
    page.locator("#play").focus()
    press("Space")  # of the button, and not of the page as well
    expect(play).to_have_text("Pause")
    expect(play).to_have_text("Play", timeout=10_000)  # it stops at the end
    assert_shows(page, RECORDS - 1, trace)


@pytest.mark.slow
def test_playing_stands_still_out_of_sight_and_is_not_announced(open_page):
    page = open_page()
    assert page.get_by_role("status").count() == 1
    expect(page.locator("#step")).to_have_attribute("aria-live", "polite")
    page.locator("#speed").select_option("slow")
    record, live = page.evaluate(
        """() => {
          play();
          tick(before + 60_000); // the frame after a minute in another tab
          return [record, ["step", "caption"].map((id) => element(id).ariaLive)];
        }"""
    )
    assert record == 2
    assert live == ["off", "off"]
    page.locator("#play").click()
    expect(page.locator("#step")).to_have_attribute("aria-live", "polite")


@pytest.mark.slow
def test_the_updates_are_highlighted_in_turn(open_page, trace):
    page = open_page()
    pressed = page.locator("#views button[aria-pressed=true]")
    expect(pressed).to_have_text("After the step")
    expect(page.locator("figure.moves")).to_have_count(0)
    updates = zip(UPDATES, gan.Method().updates, trace.updates)
    for number, (title, (player, samples, _), states) in enumerate(updates):
        page.keyboard.press("u")
        expect(pressed).to_have_text(title)
        expect(page.locator("figure.moves")).to_have_id(player)
        still = "generator" if player == "discriminator" else "discriminator"
        expect(page.locator(f"#{still} .mark")).to_have_text("held still")
        expect(page.locator("#step")).to_have_text(f"step 20: update {number + 1} of 3")
        drawn, state = page.evaluate(LOOK), jax.tree.map(lambda leaf: leaf[1], states)
        made, real = gan.generate(state), trace.batch.real[1]
        seen = real if samples == "real" else made
        assert_draws(drawn["discriminator"], state.discriminator, seen)
        assert_draws(drawn["generator"], state.generator, None if seen is real else [0.5])
        np.testing.assert_allclose([drawn["made"], drawn["real"]], [made, real], atol=1e-4)
    page.keyboard.press("u")
    expect(pressed).to_have_text("After the step")
    assert_shows(page, 1, trace)
    page.locator("#views button").first.click()
    expect(page.locator("#step")).to_have_text("step 20: update 1 of 3")
    page.locator("#speed").select_option("update by update")
    page.locator("#play").click()
    expect(pressed).to_have_text(UPDATES[1])
    expect(pressed).to_have_text(UPDATES[2])


@pytest.mark.slow
def test_names_are_no_markup_and_only_the_pages_own_scripts_are_allowed(trace):
    evil = "</title><script>alert(1)</script>"
    game = dataclasses.replace(gan.pattern_game(), name=evil)
    text = make_page(jax.tree.map(lambda leaf: leaf[:1], trace), 17, gan.Setup(game))
    assert evil not in text and text.count(html.escape(evil)) == 2  # the title and the heading
    (policy,) = re.findall('Content-Security-Policy"\\s+content="(.*?)"', text, flags=re.DOTALL)
    allowed = dict(part.split(maxsplit=1) for part in policy.split(";"))
    (script,) = re.findall("<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert allowed["script-src"] == f"'sha256-{digest}'" and allowed["default-src"] == "'none'"
    assert "unsafe" not in allowed["style-src-elem"]


@pytest.mark.slow
def test_a_browser_blocks_a_script_and_a_style_that_are_not_the_pages_own(browser, path, tmp_path):
    other, said = tmp_path / "other.html", []
    extra = '<script>document.title = "run"</script><style>h1 { color: red }</style></body>'
    other.write_text(path.read_text().replace("</body>", extra))
    page = browser.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.goto(other.as_uri())
    assert page.title() != "run"
    assert ["inline script" in said[0], "inline style" in said[1]] == [True, True], said
    page.close()


@pytest.mark.slow
def test_one_record_has_its_updates_too_and_a_name_is_no_markup(open_page, trace, tmp_path):
    one, name = tmp_path / "one.html", "<b></script>"
    start = jax.tree.map(lambda leaf: leaf[:1], trace)
    method = gan.Method(penalty=gan.Penalty(name, d=lambda ctx: 0.0, samples="real"))
    one.write_text(make_page(start, 17, gan.Setup(method=method)))
    page = open_page(one)
    pressed = page.locator("#views button[aria-pressed=true]")
    for title in (*UPDATES, "After the step", UPDATES[0]):
        page.locator("#next").click()
        expect(pressed).to_have_text(title)
    expect(page.locator("#caption")).to_contain_text(f"The penalty {name} is part of the loss.")
    how = (
        f"10 steps with --penalty {name}, of which one in 10 is shown. At the end: does not match."
    )
    assert how in page.inner_text("main")


@pytest.mark.slow
def test_an_outcome_is_the_best_that_a_finite_state_has_come_to(trace):
    flags = {
        "in support": (True, True, True),
        "matches": (True, True, False),
        "does not match": (True, False, False),
        "diverged": (False, False, False),
    }
    finite, matched, in_support = np.array([*flags.values()]).T
    history = trace.history._replace(finite=finite, matched=matched, in_support=in_support)
    assert _name_outcomes(history) == [*flags]


@pytest.mark.slow
def test_a_finger_drags_on_a_chart_and_scrolls_the_page(open_page):
    page = open_page(viewport=TELEPHONE, has_touch=True, is_mobile=True)
    touch = page.context.new_cdp_session(page)
    for across, along in ((60, 0), (0, -120)):
        page.evaluate("go(0)")
        x, y = on_chart(page, 20)
        scrolled = page.evaluate("scrollY")
        for part in range(9):
            points = [{"x": x + across * part / 8, "y": y + along * part / 8}]
            kind = "touchMove" if part else "touchStart"
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        if across:
            assert page.evaluate("record") > 20
            assert page.evaluate("scrollY") == scrolled
        else:
            page.wait_for_function(f"scrollY > {scrolled} + 50")
            assert page.evaluate("record") == 0


@pytest.mark.slow
def test_it_is_readable_on_a_telephone_in_the_light_and_in_the_dark(open_page):
    for scheme, width in (("light", 360), ("dark", 320)):
        page = open_page(viewport=TELEPHONE | {"width": width}, color_scheme=scheme, has_touch=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for figure in page.locator("figure svg[role=img]").all():
            assert figure.bounding_box()["width"] > width - 80
        for button in page.locator("button").all():
            assert button.bounding_box()["height"] >= 32
        # The controls stay in sight, and networks above them too.
        footer = page.locator("footer").bounding_box()
        assert footer["height"] < TELEPHONE["height"] / 4
        assert footer["y"] + footer["height"] <= TELEPHONE["height"]
        assert_contrast(page, scheme)
        page.emulate_media(media="print")
        expect(page.locator("#step")).to_be_visible()
        expect(page.locator("#play")).not_to_be_visible()


def assert_contrast(page, scheme):
    """Text has the contrast that WCAG 2.2 asks for (AA), and lines have theirs."""
    names = ("paper", "panel", "ink", "grey", "blue", "orange", "green", "range", "unit")
    colors = page.evaluate(
        """(names) => names.map((name) =>
            getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim())""",
        names,
    )
    of = {name: np.array([*bytes.fromhex(color[1:])]) for name, color in zip(names, colors)}
    of["full"] = 0.75 * of["unit"] + 0.25 * of["panel"]  # a unit that gives 1
    light = {name: luminance(color) for name, color in of.items()}
    assert (light["paper"] > light["ink"]) == (scheme == "light")
    for tag, style, name in (
        ("body", "backgroundColor", "paper"),
        ("body", "color", "ink"),
        ("line.positive", "stroke", "blue"),
        ("line.negative", "stroke", "orange"),
    ):
        is_now = page.evaluate(f"getComputedStyle(document.querySelector('{tag}')).{style}")
        assert re.findall(r"\d+", is_now) == [str(x) for x in of[name]]
    texts = [*itertools.product(("ink", "grey", "blue", "orange"), ("paper", "panel"))]
    texts += [("paper", "ink"), ("paper", "green"), ("ink", "full")]
    lines = [*itertools.product(("blue", "orange"), ("range",)), ("green", "panel")]
    for least, pairs in ((4.5, texts), (3.0, lines)):
        for one, other in pairs:
            low, high = sorted((light[one], light[other]))
            assert (high + 0.05) / (low + 0.05) >= least, f"{one} on {other}, {scheme}"


def luminance(color):
    """The relative luminance of WCAG 2.2, of an sRGB colour of 0 to 255."""
    parts = np.asarray(color) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.slow
def test_a_page_is_small_and_the_same_for_the_same_run(path, tmp_path, monkeypatch):
    assert path.stat().st_size < 2e6 * RECORDS / 1000 + 1e5
    again = tmp_path / "again.html"
    assert run_program("watch", f"--seed 17 --steps {STEPS} --out {again}", monkeypatch) == 0
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_page_without_javascript_has_its_charts_and_says_so(open_page):
    page = open_page(java_script_enabled=False)
    expect(page.locator("noscript strong")).to_be_visible()
    expect(page.locator(".chart").first).to_be_visible()
    expect(page.locator("footer")).not_to_be_visible()


@pytest.mark.slow
def test_methods_and_patterns_are_shown_as_they_are(open_page, monkeypatch, tmp_path):
    options = "--seed 1 --steps 40 --pattern 110 --objective wasserstein --penalty wgan_gp"
    options += " --update-order simultaneous --noise-std 0.1 --d-lr 0.05 --out"
    other = tmp_path / "other.html"
    assert run_program("watch", f"{options} {other}", monkeypatch) == 0
    page = open_page(other)
    assert page.title() == "Training a GAN to say 110: seed 1"
    text = page.inner_text("main")
    how = "--objective wasserstein --update-order simultaneous --penalty wgan_gp --d-lr 0.05"
    assert f"40 steps with {how} --noise-std 0.1, of which one in 10 is shown." in text
    assert "its score of what it sees" in text and "noise on it" in text and "belief" not in text
    titles = page.locator("#views button").all_text_contents()
    assert titles == ["1 D on both samples", "2 G, through D", "After the step"]
    assert page.locator("#sample svg circle").count() == 3
    keys = page.locator("li:has([data-array=output]) line").all()
    assert len({key.get_attribute("style") for key in keys}) == 3  # two are of the same colour
    # D's last unit is its score, which is G's loss but for the sign; both of the same noisy sample.
    page.keyboard.press("u")
    page.keyboard.press("u")
    expect(page.locator("#discriminator .mark")).to_have_text("as it was")
    drawn = page.evaluate(LOOK)
    score = float(drawn["discriminator"]["numbers"][-1])
    assert abs(score + float(drawn["losses"][2])) < 0.0051
    seen = [float(number) for number in drawn["discriminator"]["numbers"][:3]]
    assert np.abs(seen - np.array(drawn["made"])).max() > 0.01


@pytest.mark.slow
def test_a_run_that_diverges_is_shown(open_page, monkeypatch, tmp_path):
    other = tmp_path / "other.html"
    options = f"--steps 200 --record-every 20 --objective lsgan --d-lr 100 --out {other}"
    assert run_program("watch", options, monkeypatch) == 0
    page = open_page(other)
    page.locator("#scrubber").fill("9")
    expect(page.locator("#step")).to_have_text("step 200: diverged")
    assert "At the end: diverged." in page.inner_text("main")
    assert page.evaluate(LOOK)["output"] == ["not finite"] * 4
    assert page.evaluate("[show(-1.5, 4), show(2.5e30, 4)]") == ["-1.5000", "2.5e+30"]


def test_a_belief_is_a_belief_only_under_a_proper_scoring_rule():
    proper = {name for name, objective in OBJECTIVES.items() if gives_belief(objective)}
    assert proper == {"mse", "minimax", "nonsaturating"}


def test_an_update_is_described_as_it_is():
    d, g = "discriminator", "generator"
    told = _describe(d, "real", gan.Method())
    assert told["caption"].startswith("D sees a real sample, and moves")
    for samples in ("real", "fake", "both"):
        told = _describe(d, samples, gan.Method())
        assert told["sees"] == samples and told["moves"] == d
        assert told["caption"].endswith("G is held still: no gradient reaches it.")
    told = _describe(g, "fake", gan.Method())
    assert told == {
        "title": "G, through the new D",
        "caption": "G makes a sample, the new D judges it, and G moves towards what D calls real. "
        "D is held still.",
        "sees": "fake",
        "moves": g,
    }
    assert _describe(g, "fake", gan.Method(first=g))["title"] == "G, through D"
    # A penalty is told of where it counts, and nothing is said of gradients then.
    r1, consensus = (
        gan.Method(penalty="r1"),
        gan.Method(update_order="alternating", penalty="consensus"),
    )
    assert _describe(d, "real", r1)["caption"].endswith("The penalty r1 is part of the loss.")
    for method, player, samples in ((r1, d, "fake"), (r1, g, "fake")):
        assert "penalty" not in _describe(player, samples, method)["caption"]
    for player, samples in ((d, "both"), (g, "fake")):
        caption = _describe(player, samples, consensus)["caption"]
        assert "The penalty consensus" in caption and "no gradient" not in caption
    for player, samples in ((d, "both"), (g, "fake")):
        caption = _describe(player, samples, gan.Method(update_order="simultaneous"))["caption"]
        assert "Both move at once" in caption and "still" not in caption
