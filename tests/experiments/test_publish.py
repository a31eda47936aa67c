"""README and the results that it shows agree, and its links lead somewhere."""

import re
from pathlib import Path

import publish
import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [*publish.PAGES, ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / "reference").glob("*.md")]


@pytest.mark.parametrize("page", publish.PAGES, ids=str)
def test_a_page_has_the_numbers_of_the_kept_results(page):
    text = page.read_text(encoding="utf-8")
    assert publish.insert(text) == text, "python experiments/publish.py inserts them"


@pytest.mark.parametrize("value", ["million.table", "million.p50", "dirac.seconds", "waves.error"])
def test_a_changed_number_is_noticed(value):
    texts = [page.read_text(encoding="utf-8") for page in publish.PAGES]
    page, *_ = (text for text in texts if f"<!-- {value} -->" in text)
    begin = page.index(f"<!-- {value} -->")
    number = re.search(r"\d[\d.,]*", page[begin:].partition("-->")[2])[0]
    changed = page[:begin] + page[begin:].replace(number, "12.345", 1)
    assert changed != page and publish.insert(changed) == page


def test_a_value_within_a_line_does_not_begin_it():
    """A line that begins with a comment is HTML, in which Markdown is not read."""
    for page in publish.PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"^ {0,3}<!-- [\w.]+ -->.", text, flags=re.MULTILINE)


def test_every_result_that_is_shown_was_made_by_the_command_beside_it():
    runs = publish.read_json("runs")
    shown = publish.find_commands()
    assert {name for name, _ in shown} == set(runs) == set(publish.KEPT)
    for name, command in shown:
        assert runs[name]["command"] == command


def test_every_kept_file_is_of_a_run():
    kept = {kept for name in publish.KEPT for kept, _ in publish.list_kept(name)}
    there = (publish.HERE / folder for folder in ("figures", "results"))
    names = {str(file.relative_to(publish.HERE)) for folder in there for file in folder.iterdir()}
    assert names == kept | {"results/runs.json"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_pages_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)|\b(?:src|srcset)=\"([^\"]+)\"", text):
        path, _, anchor = "".join(link).partition("#")
        if not path.startswith("https://"):
            target = page.parent / path if path else page
            assert target.exists(), path
            assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def anchors(page):
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
