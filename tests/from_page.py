"""Running the commands of a page of docs/from/ as they stand there, in order."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable

from conftest import ROOT
from footage import Done, vigil
from test_docs import blocks

PAGES = ROOT / "docs" / "from"


def commands(page: str) -> list[list[str]]:
    """The words of the `vigil` lines in the page's blocks."""
    text = "".join(block.text for block in blocks(PAGES / page) if not block.why)
    return [shlex.split(line) for line in text.splitlines() if line.startswith("vigil ")]


def run_page(page: str, small: Callable[[list[str]], list[str]]) -> dict[str, Done]:
    """{the command as on the page: how it ended}, each run in this folder as `small` makes it."""
    done = {}
    for words in commands(page):
        found = vigil(*small(words))
        assert found.code == 0, f"{page}: {shlex.join(words)}\n{found.err}"
        done[shlex.join(words)] = found
    return done


def table(*words: str) -> dict[tuple[str, str, str], float]:
    """{(channel, protocol, group): micro AUC} of an evaluation."""
    done = vigil("evaluate", *words, "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    return {(row["channel"], row["protocol"], row["group"]): row["micro_auc"] for row in rows}
