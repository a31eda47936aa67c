"""The laboratory in a real browser: it trains as Python does, and does what its controls say."""

import csv
import io
import json
import re
import shutil
import subprocess
import zlib
from base64 import b64decode
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl

import jax
import numpy as np
import optax
import pytest
from filelock import FileLock
from playwright.sync_api import expect, sync_playwright
from publish import BROWSERS, find_browser
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.gan import seed_key
from gan1010_jax.laboratory import make_laboratory, make_watch_page
from gan1010_jax.laboratory.bundle import bundle
from gan1010_jax.laboratory.programs import named_setup, program_names
from gan1010_jax.methods import flags_of
from gan1010_jax.names import OBJECTIVE_NAMES

ROOT = Path(__file__).parents[2]
PAGE_FILES = ROOT / "gan1010_jax" / "laboratory" / "page_files"
DESKTOP, TELEPHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
REFERENCE = "mse none sgd reference"
FEW = {
    "objectives": ("mse", "wasserstein"),
    "optimizers": ("sgd",),
    "update_orders": ("reference",),
}
# Of every part of a method one program, and of every objective.
SAMPLED = [
    REFERENCE,
    "mse r1 sgd simultaneous",
    *(f"{objective} r1 adam alternating" for objective in OBJECTIVE_NAMES),
]


@pytest.fixture(scope="module")
def path(shared_path):
    """A page of four programs, which the workers of a test run make once."""
    path = shared_path / "laboratory.html"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            path.write_text(make_laboratory(**FEW), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    found = find_browser()
    if found is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, path):
    """Open the page at a hash; fails if anything goes wrong, or is asked for from elsewhere."""
    contexts, trouble, requests, own = [], [], [], set()

    def open_at(hash="", path=path, viewport=DESKTOP, **options):
        context = browser.new_context(viewport=viewport, accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        own.add(path.as_uri())
        page.goto(f"{path.as_uri()}#{hash}")
        expect(page.locator("#updates button").last).to_be_attached()
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert {url.split("#")[0] for url in requests if not url.startswith("blob:")} == own
    assert trouble == []


def at_step(page, step):
    """Wait until the GANs, and the one that is shown in full, are at a step."""
    expect(page.locator("#step")).to_have_text(f"{step:,}", timeout=120_000)
    expect(page.locator("#one-step")).to_contain_text(f"step {step:,}:", timeout=60_000)


def table(page, button):
    """The columns of the CSV file that a button gives."""
    with page.expect_download() as download:
        page.locator(button).click()
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text())))
    return {name: column for name, *column in zip(*rows)}


def outputs(page):
    """G's outputs and the verdicts of the 64 GANs."""
    columns = table(page, "#csv-outputs")
    made = np.array([columns[f"output_{unit}"] for unit in range(4)], float).T
    return made, {
        name: np.array(columns[name]) == "true" for name in ("matched", "in_support", "diverged")
    }


def setup_of(name, **numbers):
    """The setup of a program at other numbers, and its hash."""
    setup = named_setup(name, 4)
    if "r1" in name:
        numbers |= {"penalty_weight": 1.0}
    hyperparams = gan.Hyperparams(**numbers)
    parts = dict(zip(("objective", "penalty", "optimizer", "update_order"), name.split()))
    hash = "&".join(f"{key}={value}" for key, value in (parts | numbers).items())
    return gan.Setup(setup.game, setup.method, hyperparams), hash


def assert_agrees(page, setup, steps, seeds=64):
    """The outputs are those of `train_population`, within 1e-5, and so are the verdicts."""
    population = gan.train_population(range(seeds), setup, steps=steps, record_every=50)
    expected = np.stack([population.columns[f"output_{unit}"] for unit in range(4)], axis=1)
    made, verdicts = outputs(page)
    np.testing.assert_allclose(made[:seeds], expected, rtol=0, atol=1e-5)
    bounds = np.array([0.0, 0.2, 0.5, 0.8, 1.0])
    clear = (np.abs(expected[..., None] - bounds) > 1e-5).all(axis=(1, 2))
    for name, verdict in verdicts.items():
        np.testing.assert_array_equal(
            verdict[:seeds][clear], population.columns[name][clear], err_msg=name
        )


# What it trains


@pytest.fixture(scope="module")
def sampled(shared_path):
    """A page with the programs of `SAMPLED` among others."""
    path = shared_path / "sampled.html"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            path.write_text(make_laboratory(), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLED)
def test_10_000_steps_end_as_in_python(name, browser, sampled):
    page = browser.new_page()
    rates = {"d_lr": 0.01, "g_lr": 0.01} if "sgd" in name else {"d_lr": 0.0003, "g_lr": 0.0003}
    setup, hash = setup_of(name, **rates)
    page.goto(f"{sampled.as_uri()}#{hash}&step=10000")
    at_step(page, 10_000)
    assert_agrees(page, setup, 10_000, seeds=16)


FIRST = """([text, seeds, steps]) => {
  const program = PROGRAM;
  const made = (name) => program.layouts[name].results.map(({ length }) => program.block(length));
  const [settings] = made("settings");
  program.settings(settings);
  return seeds.map((seed) => {
    const [state, key] = made("init");
    program.init(seed, state, key);
    const draws = steps.map((t) => {
      const [, , trace] = made("step");
      program.step(state, key, settings, t, null, null, trace);
      return [...trace.u.slice(0, 4)];
    });
    return { state: [...state.u], draws };
  });
}"""


@pytest.mark.slow
def test_weights_and_draws_are_those_of_jax_to_the_bit(open_page, path):
    """Of every program in the page."""
    text = re.search('<script id="data"[^>]*>(.*?)</script>', path.read_text(), re.DOTALL)[1]
    steps, page = (0, 1, 9_999), open_page()
    for name, code in json.loads(text)["programs"].items():
        program = zlib.decompress(b64decode(code)).decode()
        found = page.evaluate(FIRST.replace("PROGRAM", program), [name, [*range(16)], steps])
        setup = named_setup(name, 4)
        for seed, of_seed in enumerate(found):
            init_key, data_key = jax.random.split(jax.random.key(seed))
            state = jax.tree.leaves(gan.init(init_key, setup))
            words = np.concatenate([np.asarray(leaf, np.float32).ravel() for leaf in state])
            np.testing.assert_array_equal(np.uint32(of_seed["state"]), words.view(np.uint32))
            for step, draw in zip(steps, of_seed["draws"]):
                real = np.asarray(gan.draw_batch(data_key, setup, step).real)
                np.testing.assert_array_equal(np.uint32(draw), real.view(np.uint32))


@pytest.mark.slow
def test_another_pattern_and_other_rates_need_no_other_program(open_page):
    page = open_page("pattern=0111&d_lr=0.05&g_lr=0.02&step=1000")
    at_step(page, 1_000)
    hyperparams = gan.Hyperparams(0.05, 0.02)
    setup = gan.Setup(gan.pattern_game("0111"), hyperparams=hyperparams)
    assert_agrees(page, setup, 1_000)


def train_on(state, data_key, setup, first, last):
    """A run that goes on under a setup from one step to another."""

    def advance(step, state):
        return gan.train_step(state, gan.draw_batch(data_key, setup, step), setup)[0]

    return jax.lax.fori_loop(first, last, advance, state)


@pytest.mark.slow
def test_a_change_while_they_train_holds_from_that_step_on(open_page):
    """To another program, other rates and another pattern; and scrubbing back is not after it."""
    page = open_page("d_lr=0.1&g_lr=0.1&step=300")
    at_step(page, 300)
    page.locator("#penalty").check()
    page.locator("#bits button").nth(1).click()
    page.locator("#step-once").click()
    at_step(page, 301)
    before = gan.Setup(hyperparams=gan.Hyperparams(0.1, 0.1))
    after = gan.Setup(
        gan.pattern_game("1110"),
        gan.Method(penalty="r1"),
        gan.Hyperparams(0.1, 0.1, penalty_weight=0.1),
    )

    @jax.vmap
    def train(seed):
        init_key, data_key = jax.random.split(seed_key(seed))
        state = train_on(gan.init(init_key, before), data_key, before, 0, 300)
        return gan.generate(train_on(state, data_key, after, 300, 301), after)

    made, _ = outputs(page)
    np.testing.assert_allclose(made, train(np.arange(64)), rtol=0, atol=1e-5)
    assert "at300=pattern:1110,penalty:r1" in page.url
    scope = run_python(page)
    np.testing.assert_allclose(made, scope["outputs"], rtol=0, atol=1e-5)
    expect(page.locator("#matched")).to_have_text(str(scope["matched"]))
    again = open_page(page.url.split("#")[1])
    at_step(again, 301)
    np.testing.assert_array_equal(outputs(again)[0], made)
    page.locator("#scrubber").fill("299")
    expect(page.locator("#one-step")).to_contain_text("step 299 of 301")
    page.locator("#numbers summary").click()
    state = gan.train(seed_key(0), before, steps=299, record_every=299)[0]
    assert_has_weights(page, state)


@pytest.mark.slow
def test_another_optimiser_begins_anew_in_python_too(open_page, sampled):
    page = open_page("step=100&at40=optimizer:adam,d_lr:0.001&at70=penalty:r1", path=sampled)
    at_step(page, 100)
    made, _ = outputs(page)
    np.testing.assert_allclose(made, run_python(page)["outputs"], rtol=0, atol=1e-5)


def run_python(page):
    """The names that the page's Python makes."""
    page.locator("#code summary").click()
    expect(page.locator("#python")).to_contain_text("are in support")
    scope = {}
    exec(page.locator("#python").inner_text(), scope)
    return scope


def assert_has_weights(page, state):
    """The table of weights has a state's."""
    values = page.locator("#numbers-body td:nth-child(2)").all_text_contents()
    shown = [float(value.replace("−", "-")) for value in values]
    expected = []
    for player in (state.generator, state.discriminator):
        for layer in player.params.values():
            dense = layer["Dense_0"]
            expected += [*np.ravel(dense["kernel"]), *dense["bias"]]
    np.testing.assert_allclose(shown, expected, atol=2e-5)


@pytest.mark.slow
def test_one_gan_in_full_has_the_updates_of_python(open_page):
    """Of a step: the weights before each update, its gradient, and what it changes."""
    page = open_page("seed=5&step=120")
    at_step(page, 120)
    page.locator(".tile:not(.sample)").nth(3).click()
    expect(page.locator("#one-title")).to_have_text("GAN of seed 8")
    at_step(page, 120)
    page.locator("#numbers summary").click()
    key, setup = seed_key(8), gan.Setup()
    assert_has_weights(page, gan.train(key, setup, steps=120, record_every=120)[0])

    _, data_key = jax.random.split(key)
    state = gan.train(key, setup, steps=119, record_every=119)[0]
    batch = gan.draw_batch(data_key, setup, 119)
    end, info = gan.train_step(state, batch, setup)
    starts = [*info.updates, end]
    for update, (player, samples, _) in enumerate(setup.method.updates):
        page.locator("#updates button").nth(update).click()
        assert_has_weights(page, starts[update])
        before, after = (getattr(starts[k], player).params for k in (update, update + 1))
        change = [
            float(x)
            for x in jax.tree.leaves(jax.tree.map(np.subtract, after, before))
            for x in np.ravel(x)
        ]
        shown = page.locator("#numbers-body td:nth-child(4)").all_text_contents()
        shown = [float(value.replace("−", "-")) for value in shown if value != "–"]
        np.testing.assert_allclose(sorted(shown), sorted(change), rtol=0.06, atol=2e-7)
        expect(page.locator("#caption")).to_contain_text(
            "G changes" if player == "generator" else f"told “{samples}”"
        )


WATCHED = {
    "noise": gan.Setup(hyperparams=gan.Hyperparams(0.05, 0.05, noise_std=0.1)),
    "d_steps": gan.Setup(
        gan.pattern_game("01"),
        gan.Method("wasserstein", "alternating", "wgan_gp", d_steps=2, first="generator"),
        gan.Hyperparams(0.05, 0.05, clip=0.5),
    ),
    "average": gan.Setup(
        gan.pattern_game("1" * 16),
        gan.Method(optimizer=(optax.sgd, optax.adam), sync_period=5),
        gan.Hyperparams(0.01, 0.001, average_decay=0.9),
    ),
    "extragradient": gan.Setup(method=gan.Method(update_order="extragradient")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WATCHED)
def test_any_method_is_watched_and_its_python_is_the_same(name, open_page, tmp_path):
    """What the page cannot change is named in it, and is in the Python that it gives."""
    setup = WATCHED[name]
    path = tmp_path / "watch.html"
    path.write_text(make_watch_page(setup, seed=5, steps=300), encoding="utf-8")
    page = open_page(path=path)
    expect(page.locator("#goal")).to_have_value("300")
    page.locator("#pace").select_option("0")
    page.locator("#play").click()
    at_step(page, 300)
    expect(page.locator("#one-title")).to_have_text("GAN of seed 5")
    titles = page.locator("#updates button").all_text_contents()
    players = ["D" if player == "discriminator" else "G" for player, *_ in setup.method.updates]
    assert [title.split()[1] for title in titles[:-1]] == players
    for update in range(len(titles)):
        page.locator("#updates button").nth(update).click()
    others = flags_of(setup.method.options | vars(setup.hyperparams))
    for flag in others:
        if flag.split()[0] in ("--d-steps", "--first", "--noise-std", "--clip", "--sync-period"):
            expect(page.locator("#others")).to_contain_text(flag)
    scope = run_python(page)
    assert scope["setup"] == setup or name == "d_steps"  # whose weight is the default, as a number
    population, columns = scope["population"], table(page, "#csv-outputs")
    for unit in range(len(setup.game.matched.bits)):
        expected = population.columns[f"output_{unit}"]
        made = np.array(columns[f"output_{unit}"], float)
        np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_run_that_diverges_is_shown(open_page, tmp_path):
    path = tmp_path / "watch.html"
    setup = gan.Setup(method=gan.Method("lsgan"), hyperparams=gan.Hyperparams(100.0, 0.01))
    path.write_text(make_watch_page(setup, steps=200), encoding="utf-8")
    page = open_page("step=200", path=path)
    at_step(page, 200)
    expect(page.locator("#one-step")).to_contain_text("diverged")
    expect(page.locator("#tiles button").first).to_have_attribute("data-verdict", "diverged")
    page.locator("#networks svg").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#reading")).to_contain_text("not finite")


# What its controls do


@pytest.mark.slow
def test_the_address_has_the_setting(open_page):
    page = open_page()
    page.locator("#bits button").nth(3).click()
    page.locator("#d_lr").fill("-1.5")
    page.locator("#penalty").check()
    page.locator("#penalty_weight").fill("-2")
    page.locator("#objective").select_option("wasserstein")
    page.locator("#seed").fill("100")
    page.locator("#seed").press("Enter")
    expect(page).to_have_url(re.compile("seed=100"))
    page.locator("#goal").select_option("10000")
    page.locator("#pace").select_option("0")
    for _ in range(2):
        page.locator("#step-once").click()
    at_step(page, 2)
    expect(page).to_have_url(re.compile("step=2"))
    expected = {
        **{"pattern": "1011", "d_lr": "0.0316", "penalty": "r1", "penalty_weight": "0.01"},
        **{"objective": "wasserstein", "seed": "100", "step": "2"},
    }
    assert dict(parse_qsl(page.url.split("#")[1])) == expected
    other = open_page(page.url.split("#")[1])
    at_step(other, 2)
    assert other.url == page.url
    np.testing.assert_array_equal(outputs(other)[0], outputs(page)[0])


@pytest.mark.slow
def test_what_an_address_may_not_have_is_left_out(open_page):
    page = open_page("pattern=12&objective=paint&d_lr=-1&g_lr=fast&seed=1.5&step=x&colour=red")
    assert page.url.split("#")[1] == ""


@pytest.mark.slow
def test_its_files_and_its_python_are_of_the_run(open_page):
    page = open_page(
        permissions=["clipboard-read", "clipboard-write"],
        hash="d_lr=0.1&g_lr=0.1&penalty=r1&penalty_weight=0.3&seed=7&step=600",
    )
    at_step(page, 600)
    scope = run_python(page)
    population = scope["population"]
    curve = table(page, "#csv-curve")
    for name in ("matched", "in_support", "step"):
        np.testing.assert_array_equal(np.array(curve[name], int), population.curves[name])
    assert curve["seeds"] == ["64"] * 12
    columns = table(page, "#csv-outputs")
    np.testing.assert_array_equal(np.array(columns["seed"], int), population.columns["seed"])
    for unit in range(4):
        expected = population.columns[f"output_{unit}"]
        made = np.array(columns[f"output_{unit}"], float)
        np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5)
    page.locator("#copy").click()
    expect(page.locator("#copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#python").inner_text()
    expect(page.locator("#matched")).to_have_text(str(population.counts.matched))
    expect(page.locator("#in-support")).to_have_text(str(population.counts.in_support))


@pytest.mark.slow
def test_the_keyboard_is_enough(open_page):
    page = open_page()
    press = page.keyboard.press
    play = page.locator("#play")
    press("s")
    at_step(page, 1)
    press("u")  # the first update of the next step
    at_step(page, 2)
    pressed = page.locator("#updates button[aria-pressed=true]")
    for title in ("2 D on fake", "3 G", "After"):
        press("u")
        expect(pressed).to_have_text(title)
    press("Space")
    expect(play).to_have_text("Pause")
    press("Space")
    expect(play).to_have_text("Play")
    press("n")
    expect(page.locator("#step")).to_have_text("0")
    # Every control is reached, and none is under the player.
    reached = []
    for _ in range(60):
        press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.textContent")
        )
        hidden = page.evaluate(
            """document.activeElement.getBoundingClientRect().top >=
            document.querySelector("footer").getBoundingClientRect().bottom"""
        )
        assert not hidden, reached[-1]
    controls = page.locator(":is(button, select, input):enabled, summary").evaluate_all(
        """(nodes) => nodes.filter((node) => node.checkVisibility() && node.tabIndex >= 0)
        .map((node) => node.id || node.textContent)"""
    )
    assert set(controls) <= set(reached), set(controls) - set(reached)
    tiles = page.locator("#tiles button")
    tiles.first.focus()
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        press(key)
    expect(page.locator("#one-title")).to_have_text("GAN of seed 9")
    expect(tiles.nth(9)).to_have_attribute("aria-pressed", "true")
    page.locator("#networks svg").focus()
    press("ArrowRight")
    expect(page.locator("#reading")).to_contain_text("weight from the latent to G's hidden unit 1:")
    page.locator("#d_lr").focus()
    press("ArrowRight")
    expect(page.locator("#d_lr-value")).to_have_text("0.0112")


@pytest.mark.slow
def test_slow_motion_shows_each_update_of_a_step(open_page):
    page = open_page("step=10")
    at_step(page, 10)
    page.locator("#pace").select_option("slow")
    page.locator("#play").click()
    pressed = page.locator("#updates button[aria-pressed=true]")
    for title in ("1 D on real", "2 D on fake", "3 G", "After", "1 D on real"):
        expect(pressed).to_have_text(title)
    expect(page.locator("#step")).to_have_text("12")


@pytest.mark.slow
def test_an_objective_that_needs_another_order_takes_it(open_page, sampled):
    page = open_page(path=sampled)
    page.locator("#objective").select_option("relativistic")
    expect(page.locator("#update_order")).to_have_value("alternating")
    expect(page.locator("#update_order option").first).to_be_disabled()
    expect(page).to_have_url(re.compile("update_order=alternating"))
    page.locator("#reset").click()
    expect(page.locator("#update_order")).to_have_value("reference")


@pytest.mark.slow
def test_a_new_run_keeps_the_curve_of_the_last(open_page):
    page = open_page("step=200")
    at_step(page, 200)
    assert "64" in page.locator("#curve .plot").get_attribute("aria-label")
    page.locator("#renew").click()
    expect(page.locator("#step")).to_have_text("0")
    page.locator("#goal").select_option("10000")
    made, _ = outputs(page)
    keys = jax.vmap(seed_key)(np.arange(64))
    states = jax.vmap(lambda key: gan.init(jax.random.split(key)[0]))(keys)
    np.testing.assert_allclose(made, jax.vmap(partial(gan.generate))(states), atol=1e-6)


@pytest.mark.slow
def test_the_tour_asks_before_it_answers(open_page):
    page = open_page()
    page.locator("#stops button").nth(4).click()
    expect(page.locator("#d_lr-value")).to_have_text("0.01")
    assert page.locator(".reply").count() == 0
    page.locator(".answers button").first.click()
    expect(page.locator(".reply")).to_contain_text("Not “D ten times", timeout=120_000)
    expect(page.locator("#d_lr-value")).to_have_text("0.1")
    hyperparams = gan.Hyperparams(0.1, 0.1)
    population = gan.train_population(range(64), gan.Setup(hyperparams=hyperparams))
    expect(page.locator(".reply")).to_contain_text(f"{population.counts.in_support} of 64")


@pytest.mark.slow
def test_on_a_telephone_networks_outputs_and_charts_are_in_sight_while_it_plays(open_page):
    page = open_page(viewport=TELEPHONE)
    page.locator("#tabs button", has_text="One GAN").click()
    page.locator("#play").click()
    at_least = re.compile(r"[1-9]")
    expect(page.locator("#step")).to_have_text(at_least)
    bottom = page.locator("footer").bounding_box()["y"]
    for part in ("#networks svg", "#outputs .plot", "#beliefs .plot", "#losses .plot"):
        box = page.locator(part).bounding_box()
        assert 0 <= box["y"] and box["y"] + box["height"] <= bottom, part
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_it_cannot_ask_anything_of_anyone(browser, path):
    page = browser.new_page()
    page.goto(path.as_uri())
    for ask in ("fetch('http://127.0.0.1:9/')", "import('data:text/javascript,1')"):
        assert page.evaluate(f"{ask}.then(() => 'answered', () => 'refused')") == "refused"
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser, path, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = browser.new_page(viewport=DESKTOP, color_scheme=scheme)
    page.goto(f"{path.as_uri()}#step=500")
    at_step(page, 500)
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["target"]) for one in found] == []


# How it is made


def test_methods_that_there_are_not_have_no_program():
    choices = {
        "objective": ["mse", "relativistic"],
        "penalty": ["none"],
        "optimizer": ["sgd"],
        "update_order": ["reference", "alternating"],
    }
    assert program_names(choices) == [
        "mse none sgd reference",
        "mse none sgd alternating",
        "relativistic none sgd alternating",
    ]
    with rejects("update_order", "reference"):
        make_laboratory(("relativistic",), ("sgd",), ("reference",))


def test_unknown_names_are_rejected():
    with rejects("objectives", "paint"):
        make_laboratory(objectives=("paint",))
    with rejects("optimizers", "paint"):
        make_laboratory(optimizers=("sgd", "paint"))
    with rejects("update_orders", "extragradient"):
        make_laboratory(update_orders=("extragradient",))
    with rejects("bits", 17):
        make_laboratory(bits=17)
    with rejects("seed", -1):
        make_watch_page(seed=-1)
    with rejects("steps", 0):
        make_watch_page(steps=0)


def test_a_bundle_has_each_module_once_and_after_its_imports():
    modules = {
        "top": 'import { one } from "./left.js";\nimport { two } from "./right.js";\nlog(one);\n',
        "left": 'import { base } from "./base.js";\nexport const one = base + 1;\n',
        "right": 'import { base } from "./base.js";\nexport function two() {}\nlog(base);\n',
        "base": "export const base = 0;\n",
    }
    text = bundle("top", modules.__getitem__)
    assert re.findall(r"^const (\w+)_js", text, re.MULTILINE) == ["base", "left", "right", "top"]
    assert "import" not in text and "export" not in text
    assert "return { one };" in text and "const { base } = base_js;" in text


def find_tsc():
    local = ROOT / ".typescript" / "node_modules" / ".bin" / "tsc"
    return str(local) if local.exists() else shutil.which("tsc")


@pytest.mark.slow
@pytest.mark.skipif(find_tsc() is None, reason="TypeScript's tsc is not installed")
def test_the_types_of_the_modules_are_right(tmp_path):
    options = "--noEmit --allowJs --checkJs --strict --target es2022 --module es2022"
    options += " --moduleResolution bundler --lib es2022,dom,dom.iterable"
    files = [
        PAGE_FILES / "laboratory.js",
        PAGE_FILES / "worker.js",
        Path(__file__).parent / "globals.d.ts",
    ]
    ran = subprocess.run([find_tsc(), *options.split(), *files], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
