"""The report as one HTML file that opens from disk, asks nothing of any network and keeps well.

Everything is inside: the numbers, the curves (drawn by Plotly, embedded once), the pictures as
JPEG. The page's own policy forbids every request and every script but the two it was made with,
so a video called "<script>" is a name and nothing more.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from vigil.files import writing
from vigil.show import _page_tables as tables
from vigil.show import _page_videos as videos
from vigil.show._page_records import KeyFrame, Page, VideoSection
from vigil.show._page_script import JS
from vigil.show._page_style import CSS
from vigil.show.curve import thin_roc

__all__ = ["KeyFrame", "Page", "VideoSection", "render", "write_page"]


def write_page(path: Path | str, page: Page) -> None:
    """Write the report. `StorageError` if the disk is full; an old report then stays as it was."""
    text = render(page)
    with writing(path) as new:
        new.write_text(text, encoding="utf-8", newline="\n")


def render(page: Page) -> str:
    """The whole page as text."""
    from plotly.offline import get_plotlyjs

    plotly = get_plotlyjs().replace("\r\n", "\n")
    assert "</script" not in plotly.lower() and "</script" not in JS
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(plotly, JS)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}</title>\n<style>{CSS}</style></head>\n<body>\n{body(page)}\n"
        f'<script type="application/json" id="data">{safe_json(drawn(page))}</script>\n'
        f"<script>{plotly}</script>\n<script>{JS}</script>\n</body></html>\n"
    )


def policy(*scripts: str) -> str:
    """What the page may do: run these scripts, show embedded pictures, nothing else."""
    sums = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in sums)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def body(page: Page) -> str:
    """All that is seen."""
    parts = [
        ("summary", "Summary", tables.tiles(page.report)),
        ("results", "All results", _results(page)),
        ("roc", "Every possible threshold", _roc(page)),
        ("videos", "Videos", _videos(page)),
        ("made", "How it was made", _made(page)),
        ("notes", "Notes", _notes(page)),
    ]
    parts = [part for part in parts if part[2]]
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in parts)
    sections = "\n".join(
        f'<section id="{key}"><h2>{title}</h2>{inner}</section>' for key, title, inner in parts
    )
    return (
        f'<header class="wrap"><div class="brand">Vigil report</div><h1>{escape(page.title)}</h1>'
        f'<p class="sub">{escape(page.subtitle)}</p></header>\n<nav><div class="wrap">{links}'
        f'</div></nav>\n<main class="wrap"><noscript><p class="card">The curves need JavaScript; '
        f"numbers, events and pictures do not.</p></noscript>\n{sections}</main>\n"
        '<footer class="wrap">Made by Vigil. This file is complete in itself and asks nothing of '
        "any network.</footer>"
    )


def drawn(page: Page) -> dict[str, Any]:
    """What the script draws."""
    roc = None
    if page.roc is not None:
        keep = thin_roc(page.roc)
        at = [f"{value:.3g}" for value in page.roc.thresholds[keep]]
        roc = {"fpr": videos.numbers(page.roc.fpr[keep]), "at": at}
        roc |= {"tpr": videos.numbers(page.roc.tpr[keep])}
        roc |= {"eer": [page.eer.rate, page.eer.threshold] if page.eer else None}
    return {"roc": roc, "videos": [videos.curves(video) for video in page.videos]}


def safe_json(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _results(page: Page) -> str:
    if not page.report.rows:
        return ""
    text = (
        '<p class="soft">Higher is better, except for <code>eer</code>. The marked row counts: its '
        "smoothing was declared before the run, no video was rescaled by its own extremes, and no "
        "test label was used in any choice.</p>"
    )
    cards = [f"{text}{tables.all_rows(page.report)}"]
    for kind, title, words in (
        ("class", "By kind of anomaly", "Frames of this kind against all normal frames."),
        ("scene", "By scene", "The videos of this scene alone."),
        ("view", "By view", "Each view alone, and joined: the mean of their scores at a moment."),
    ):
        if inner := tables.groups(page.report, kind):
            cards.append(f'<h3>{title}</h3><p class="soft small">{words}</p>{inner}')
    return "".join(f'<div class="card">{card}</div>' for card in cards)


def _roc(page: Page) -> str:
    if page.roc is None:
        return ""
    words = (
        "<p>A lower threshold finds more and rings more often for nothing. The curve shows what "
        "each threshold would have given on this footage; the closer it comes to the top left "
        "corner, the better.</p>"
    )
    if page.eer is not None:
        words += (
            f"<p>The marked point is where both errors are equal: "
            f"<b>{100 * page.eer.rate:.1f} %</b>, at a score of {page.eer.threshold:.2f}. It is "
            "found with the test labels, so it describes; it is not the alarm threshold.</p>"
        )
    if page.threshold:
        words += f"<p>The alarm threshold in use: {escape(page.threshold)}.</p>"
    return (
        '<div class="card two"><div class="chart square" id="plot-roc" role="img" '
        f'aria-label="ROC curve"></div><div>{words}</div></div>'
    )


def _videos(page: Page) -> str:
    if not page.videos:
        return ""
    alarm = (
        f'<p class="soft">Alarm threshold: {escape(page.threshold)}. Before smoothing, '
        "one normal frame in ten scores 1 or more, one in a hundred 2, one in a thousand 3.</p>"
        if page.threshold else ""
    )  # fmt: skip
    cards = "".join(videos.section(i, video) for i, video in enumerate(page.videos))
    return f'{alarm}<div class="card">{videos.index(page.videos)}</div>{cards}'


def _made(page: Page) -> str:
    rows = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in flat(page.made)
    )
    return f'<div class="card"><dl>{rows}</dl></div>' if rows else ""


def _notes(page: Page) -> str:
    notes = (*page.report.notes, *page.notes)
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<div class="card"><ul>{items}</ul></div>' if items else ""


def flat(made: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested facts as lines.

    >>> list(flat({"seed": 0, "config": {"k": [1, 2], "name": "a"}}))
    [('seed', '0'), ('config · k', '1, 2'), ('config · name', 'a')]
    """
    for key, value in made.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name} · ")
        elif isinstance(value, (list, tuple)):
            yield name, ", ".join(map(str, value))
        else:
            yield name, str(value)
