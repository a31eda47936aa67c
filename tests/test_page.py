"""The page that replays a run, in a real browser: what it shows are the history's numbers."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

import gan1010_jax as gan

PROGRAM = Path(__file__).parent.parent / "experiments" / "watch.py"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
STEPS, RECORDS = 600, 60
DESKTOP, TELEPHONE = {"width": 1200, "height": 900}, {"width": 360, "height": 740}
UPDATES = ["1 D on a real sample", "2 D on a fake sample", "3 G, through the new D"]


def watch(options, monkeypatch):
    """Run the program in this process, which has the compiled programs; its exit code."""
    monkeypatch.setattr(sys, "argv", [str(PROGRAM), *options.split()])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(PROGRAM), run_name="__main__")
    return end.value.code


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The page of seed 17, made by the program."""
    path = tmp_path_factory.mktemp("page") / "watch.html"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert watch(f"--seed 17 --steps {STEPS} --out {path}", monkeypatch) == 0
    return path


@pytest.fixture(scope="module")
def film():
    return gan.watch(jax.random.key(17), steps=STEPS)


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
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


def readouts(page):
    """The numbers beside the charts, by the name of their array."""
    shown = {}
    for output in page.locator("output[data-array]").all():
        shown.setdefault(output.get_attribute("data-array"), []).append(output.inner_text())
    return shown


def assert_shows(page, record, film):
    """The page shows the numbers of a record of the history."""
    history = jax.tree.map(lambda leaf: np.asarray(leaf[record]), film.history)
    expect(page.locator("#step")).to_contain_text(f"step {history.step:,}: ")
    shown = readouts(page)
    assert shown["output"] == [f"{value:.4f}" for value in history.output]
    assert shown["losses"] == [f"{value:.4f}" for value in history.losses]
    outputs = [page.locator(f"#output-{unit}").text_content() for unit in range(4)]
    assert outputs == [f"{value:.3f}" for value in history.output]
    belief = jax.nn.sigmoid(
        gan.Discriminator().apply(
            {"params": jax.tree.map(lambda leaf: leaf[record], film.state.discriminator.params)},
            np.stack([film.updates[0].batch.real[record], history.output]),
        )
    )
    assert np.abs(np.array(shown["belief"], float) - belief).max() < 1e-4


def test_scrubbing_shows_the_numbers_of_the_history(open_page, film):
    page = open_page()
    assert_shows(page, 0, film)
    for record in (1, 17, RECORDS - 1):
        page.locator("#scrubber").fill(str(record))
        assert_shows(page, record, film)
    chart = page.locator(".chart").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    left, right = (float(chart.get_attribute(f"data-{side}")) for side in ("left", "right"))
    along = left + (right - left) * 31 / RECORDS  # the records' steps are 1/60, …, 60/60 of all
    page.mouse.click(box["x"] + along * box["width"], box["y"] + box["height"] / 2)
    assert_shows(page, 30, film)


def test_the_keyboard_is_enough(open_page, film):
    page = open_page()
    press = page.keyboard.press
    for key, record in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0)):
        press(key)
        assert_shows(page, record, film)
    page.locator("#scrubber").focus()
    press("End")
    assert_shows(page, RECORDS - 1, film)
    press("ArrowRight")
    assert_shows(page, RECORDS - 1, film)
    press("Home")
    assert_shows(page, 0, film)

    play = page.locator("#play")
    press("Space")
    expect(play).to_have_text("Pause")
    expect(page.locator("#scrubber")).not_to_have_value("0")
    press("Space")
    expect(play).to_have_text("Play")
    stopped = page.evaluate("record")
    page.wait_for_timeout(150)
    assert page.evaluate("record") == stopped
    press("Space")
    expect(play).to_have_text("Play", timeout=10_000)  # it stops at the end
    assert_shows(page, RECORDS - 1, film)
    for _ in range(3):  # every control is reached
        press("Tab")
    assert page.evaluate("document.activeElement.tagName") != "BODY"


def test_the_updates_are_highlighted_in_turn(open_page, film):
    page = open_page()
    pressed = page.locator("#views button[aria-pressed=true]")
    expect(pressed).to_have_text("After the step")
    expect(page.locator("figure.moves")).to_have_count(0)
    moves = ("discriminator", "discriminator", "generator")
    for number, (title, player) in enumerate(zip(UPDATES, moves)):
        page.keyboard.press("u")
        expect(pressed).to_have_text(title)
        expect(page.locator("figure.moves")).to_have_id(player)
        expect(page.locator("#step")).to_contain_text("step 20: ")
        assert_draws(page, "discriminator", film.updates[number].state.discriminator, 1)
        assert_draws(page, "generator", film.updates[number].state.generator, 1)
    seen = page.locator("#discriminator svg text").all_text_contents()[:4]
    fake = gan.generate(jax.tree.map(lambda leaf: leaf[1], film.updates[2].state))
    assert seen == [f"{value:.2f}" for value in np.asarray(fake)]
    page.keyboard.press("u")
    expect(pressed).to_have_text("After the step")
    assert_shows(page, 1, film)
    page.locator("#views button").first.click()
    seen = page.locator("#discriminator svg text").all_text_contents()[:4]
    assert seen == [f"{value:.2f}" for value in np.asarray(film.updates[0].batch.real[1])]
    page.locator("#speed").select_option("update by update")
    page.locator("#play").click()
    expect(pressed).to_have_text(UPDATES[1])
    expect(pressed).to_have_text(UPDATES[2])


def assert_draws(page, player, kept, record):
    """A network's lines have their weights' signs and sizes."""
    lines = page.locator(f"#{player} svg line").all()
    layers = kept.params.values()
    weights = [w for layer in layers for w in np.ravel(layer["Dense_0"]["kernel"][record])]
    assert len(lines) == len(weights)
    for line, weight in list(zip(lines, weights))[::5]:
        assert line.get_attribute("class") == ("negative" if weight < 0 else "positive")
        np.testing.assert_allclose(float(line.get_attribute("stroke-width")), 2 * abs(weight), 1e-6)


def test_it_is_readable_on_a_telephone_in_the_light_and_in_the_dark(open_page):
    papers = []
    for scheme in ("light", "dark"):
        page = open_page(viewport=TELEPHONE, color_scheme=scheme, has_touch=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE["width"]
        for figure in page.locator("figure svg[role=img]").all():
            assert figure.bounding_box()["width"] > 280
        assert page.locator("#play").bounding_box()["height"] >= 32
        # The controls stay in sight, and the networks above them too.
        assert page.locator("footer").bounding_box()["height"] < TELEPHONE["height"] / 3
        style = "(tag) => getComputedStyle(document.querySelector(tag))"
        paper, ink = page.evaluate(f"[({style})('body').backgroundColor, ({style})('body').color]")
        papers.append((paper, ink))
        assert sum(map(int, re.findall(r"\d+", paper))) != sum(map(int, re.findall(r"\d+", ink)))
    (light, dark) = (sum(map(int, re.findall(r"\d+", paper))) for paper, _ in papers)
    assert light > 600 and dark < 150


def test_a_page_is_small_and_the_same_for_the_same_run(path, tmp_path, monkeypatch):
    assert path.stat().st_size < 5e6 * RECORDS / 1000
    again = tmp_path / "again.html"
    assert watch(f"--seed 17 --steps {STEPS} --out {again}", monkeypatch) == 0
    assert again.read_bytes() == path.read_bytes()


def test_methods_and_patterns_are_shown_as_they_are(open_page, monkeypatch, tmp_path):
    options = "--seed 1 --steps 40 --pattern 011 --objective wasserstein --penalty wgan_gp"
    options += " --schedule simultaneous --noise-std 0.1 --d-lr 0.05 --out"
    other = tmp_path / "other.html"
    assert watch(f"{options} {other}", monkeypatch) == 0
    page = open_page(other)
    assert page.title() == "Seed 1 learns 011"
    assert (
        "objective wasserstein, schedule simultaneous, penalty wgan gp, d lr 0.05, noise std"
        in (page.inner_text("main"))
    )
    titles = page.locator("#views button").all_text_contents()
    assert titles == ["1 D on both samples", "2 G, through D", "After the step"]
    assert page.locator("#sample svg circle").count() == 3


def test_a_run_that_diverges_is_shown(open_page, monkeypatch, tmp_path):
    other = tmp_path / "other.html"
    options = f"--steps 200 --objective lsgan --d-lr 100 --out {other}"
    assert watch(options, monkeypatch) == 0
    page = open_page(other)
    page.locator("#scrubber").fill("19")
    expect(page.locator("#step")).to_have_text("step 200: diverged")
    assert readouts(page)["output"] == ["not finite"] * 4


REFUSED = {
    "--seed -1": "--seed must be a whole number from 0 to 4294967295; got -1",
    "--seed one": "--seed must be a whole number; got 'one'",
    "--steps 20000": "--record-every must be 20 or more for 20000 steps",
    "--out page.txt": "--out must be the name of a file that ends in .html; got 'page.txt'",
    "--pattern 12": "--pattern must be a string of 1 to 16 characters",
    "--penalty r1 --penalty-weight -1": "--penalty-weight must be a finite number, zero or more",
}


@pytest.mark.parametrize("options", REFUSED)
def test_bad_options_are_refused_in_one_sentence(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert watch(options, monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {REFUSED[options]}") and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
