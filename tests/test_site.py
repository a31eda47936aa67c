"""The site of the documentation, in a real browser: strict, complete, and without a server."""

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import expect, sync_playwright
from publish import BROWSERS, find_browser

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(shared_path):
    """The site, somewhere else than in the checkout, which the workers of a test run make once."""
    pytest.importorskip("mkdocs", reason="the group `docs` is not installed")
    out = shared_path / "site"
    with FileLock(f"{out}.lock"):
        if not (out / "sitemap.xml").exists():
            command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def tab(site):
    """A tab of a browser on the first page; fails if a page asks for anything from elsewhere."""
    found = find_browser()
    if found is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)} is installed")
    trouble = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(color_scheme="dark")
        page.on("request", lambda request: trouble.append(request.url))
        page.on("requestfailed", lambda request: trouble.append(f"failed: {request.url}"))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.goto((site / "index.html").as_uri())
        yield page
        browser.close()
    local = (site.as_uri(), "blob:", "data:", "about:")
    assert [what for what in trouble if not what.startswith(local)] == []


def test_every_page_of_the_menu_opens_without_a_server_and_shows_its_pictures(tab):
    links = tab.locator(".md-nav--primary a[href]").evaluate_all("xs => xs.map(x => x.href)")
    pages = sorted({link.partition("#")[0] for link in links})
    assert len(pages) > 20
    for page in pages:
        tab.goto(page)
        assert tab.locator("h1").count() == 1, page
        broken = "xs => xs.filter(x => !x.complete || !x.naturalWidth).map(x => x.src)"
        assert tab.locator("article img").evaluate_all(broken) == []


def test_the_first_figure_is_dark_for_those_who_prefer_it(tab):
    shown = tab.locator("article img").first.evaluate("x => x.currentSrc")
    assert shown.endswith("finding-dark.png")


def test_it_is_searched_without_a_server(tab):
    box = tab.get_by_role("textbox", name="Search")
    box.click()
    # It answers keys that come after its index has been read.
    expect(tab.locator(".md-search-result__meta")).to_have_text("Type to start searching")
    box.press_sequentially("train_population")
    first = tab.locator(".md-search-result__item").first
    expect(first).to_contain_text("train_population")


def test_the_laboratory_is_a_page_of_it(tab):
    tab.get_by_role("link", name="The laboratory").first.click()
    tab.get_by_role("link", name="Open the laboratory").click()
    expect(tab.locator("h1")).to_have_text("The 1010 laboratory")
    expect(tab.locator("#updates button").last).to_be_attached()
