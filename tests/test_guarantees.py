"""Every promise of docs/guarantees.md names tests that are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "guarantees.md").read_text(encoding="utf-8")


def test_every_test_that_holds_a_promise_is_there():
    there = {
        name
        for path in TESTS.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 40 and named <= there, named - there


def test_every_promise_names_what_holds_it():
    rows = [row for row in PAGE.splitlines() if row.startswith("|")]
    promises = [row for row in rows if not row.startswith(("| promise", "|--"))]
    assert all(len(row.strip("|").split("|")) == 3 for row in promises)
    others = [row for row in promises if "`test_" not in row.rsplit("|", 2)[1]]
    assert [row.split("|")[1].strip() for row in others] == ["no code in it is run"]
