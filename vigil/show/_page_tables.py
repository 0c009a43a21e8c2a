"""The numbers of a report as HTML: headline tiles in plain words, and the tables of all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from os.path import commonprefix

from vigil.metrics.report import counted
from vigil.records import Metric, Report, Row

# what a number means to somebody who has never heard its name
WORDS: dict[str, tuple[str, Callable[[float], str], Callable[[float], str]]] = {
    "micro_auc": (
        "Tells abnormal from normal",
        lambda v: f"{100 * v:.1f} %",
        lambda v: (
            f"Take one abnormal and one normal moment of any two videos: in {100 * v:.0f} of "
            "100 such pairs the abnormal one scores higher. Guessing gives 50."
        ),
    ),
    "macro_auc_defined": (
        "The same inside one video",
        lambda v: f"{100 * v:.1f} %",
        lambda v: "Both moments from the same video, averaged over the videos that have both.",
    ),
    "ap": (
        "Worth looking at",
        lambda v: f"{100 * v:.1f} %",
        lambda v: (
            "Going down from the highest score, this share of what one looks at is truly "
            "abnormal, averaged over how far one goes. Guessing gives the share of abnormal frames."
        ),
    ),
    "eer": (
        "Errors, both kinds equal",
        lambda v: f"{100 * v:.1f} %",
        lambda v: (
            f"With the alarm set where both errors are as common, {100 * v:.0f} of 100 normal "
            f"moments ring and {100 * v:.0f} of 100 abnormal ones are missed. Lower is better."
        ),
    ),
    "event_recall": (
        "Real events found",
        lambda v: f"{100 * v:.0f} %",
        lambda v: "Share of the real events that at least one alarm met, at the threshold drawn.",
    ),
    "event_precision": (
        "Alarms that were right",
        lambda v: f"{100 * v:.0f} %",
        lambda v: "Share of the alarms that met a real event.",
    ),
    "false_alarms_per_hour": (
        "False alarms an hour",
        lambda v: f"{v:.1f}",
        lambda v: "Alarms that met nothing, for each hour of normal footage.",
    ),
}


def tiles(report: Report) -> str:
    """The column that counts, one card a number."""
    row = counted(report)
    if not report.rows:
        return '<p class="soft">Scores alone: without labels nothing can be measured.</p>'
    if row is None:
        return '<p class="soft">The column that counts was not measured in this run.</p>'
    shown = [m for name, m in row.metrics.items() if name in WORDS]
    for other in report.rows:
        if other.channel == "events":
            shown += list(other.metrics.values())
    same = shared_end([metric.how for metric in shown])
    cards = "".join(tile(metric, metric.how.removesuffix(same)) for metric in shown)
    where = f"{row.data}, {row.split} part, {row.method}, channel {row.channel}, {row.protocol}"
    return (
        f'<div class="tiles">{cards}</div><p class="soft small" style="margin-top:14px">'
        f"{escape(where + same)}.</p>"
    )


def shared_end(texts: Sequence[str]) -> str:
    """What all end with, from its first "; " on: said once instead of on every card.

    >>> shared_end(["5 frames; raw; no labels", "7 frames; raw; no labels"])
    '; raw; no labels'
    """
    end = commonprefix([text[::-1] for text in texts])[::-1]
    return end[end.index("; ") :] if "; " in end else ""


def tile(metric: Metric, how: str) -> str:
    """One number, its meaning, and how it was obtained."""
    title, number, words = WORDS[metric.name]
    if metric.value is None:
        value, meaning = '<div class="value none">not measured</div>', ""
    else:
        value = f'<div class="value">{number(metric.value)}</div>'
        meaning = words(metric.value)
    return (
        f'<div class="card tile"><div class="name">{title}</div>{value}<div>{meaning}</div>'
        f'<div class="how"><code>{metric.name}</code>: {escape(how)}</div></div>'
    )


def all_rows(report: Report) -> str:
    """Channels by protocols, the row that counts marked, and how each was obtained."""
    rows = [r for r in report.rows if r.group == "all" and r.channel != "events"]
    names = metric_names(rows)
    main = counted(report)
    body = "".join(
        f"<tr{line_class(row, main)}><td>{escape(row.channel)}</td><td>{escape(row.protocol)}"
        f"{badge(row, main)}</td>{values(row, names)}</tr>"
        for row in rows
    )
    how = "".join(
        f"<dt>{escape(row.channel)}, {escape(row.protocol)}</dt>"
        f"<dd>{escape(chr(10).join(f'{m.name}: {m.how}' for m in row.metrics.values()))}</dd>"
        for row in rows
    )
    return (
        f"{grid(('channel', 'protocol'), names, body)}<details><summary>How each number was "
        f"obtained</summary><dl class='small' style='margin-top:10px'>{how}</dl></details>"
    )


def groups(report: Report, kind: str) -> str:
    """The rows of one kind of group, "class", "scene" or "view", under the protocol that counts;
    best told apart first, views in their own order; "" if none."""
    main = counted(report)
    rows = [r for r in report.rows if r.group.startswith(f"{kind}: ")]
    rows = [row for row in rows if main is None or row.protocol == main.protocol]
    if not rows:
        return ""
    if kind != "view":
        rows.sort(key=lambda row: -(row.metrics["micro_auc"].value or 0.0))
    names = metric_names(rows)
    body = "".join(
        f"<tr><td>{escape(row.group.removeprefix(f'{kind}: '))}</td>"
        f"<td>{meter(row.metrics['micro_auc'])}</td>{values(row, names)}</tr>"
        for row in rows
    )
    return grid((kind, ""), names, body)


def grid(heads: Sequence[str], names: Iterable[str], body: str) -> str:
    """A table that scrolls sideways where the screen is narrow."""
    head = "".join(f"<th scope='col'>{escape(h)}</th>" for h in heads)
    head += "".join(f"<th scope='col' class='n'><code>{escape(n)}</code></th>" for n in names)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def metric_names(rows: Sequence[Row]) -> list[str]:
    """Names of all metrics of the rows, in order."""
    return list(dict.fromkeys(name for row in rows for name in row.metrics))


def values(row: Row, names: Sequence[str]) -> str:
    """One cell a metric; the way it was obtained on hovering."""
    cells = []
    for name in names:
        metric = row.metrics.get(name)
        text = "n/a" if metric is None or metric.value is None else f"{metric.value:.4f}"
        how = escape(metric.how if metric else "not part of this row")
        cells.append(f'<td class="n" title="{how}">{text}</td>')
    return "".join(cells)


def line_class(row: Row, main: Row | None) -> str:
    """The row that counts stands out; rows that know too much step back."""
    if row is main:
        return ' class="counts"'
    late = ("per-video", "oracle", "jigsaw")  # these use the whole video, or its labels
    return ' class="aside"' if row.protocol.startswith(late) else ""


def badge(row: Row, main: Row | None) -> str:
    """A word of warning or of weight behind a protocol's name."""
    if row is main:
        return '<span class="badge">counts</span>'
    if row.protocol.startswith("oracle"):
        return '<span class="badge plain">chosen on test labels</span>'
    if row.protocol.startswith(("per-video", "jigsaw")):
        return '<span class="badge plain">uses the whole video</span>'
    return '<span class="badge plain">looks ahead</span>' if "centred" in row.protocol else ""


def meter(metric: Metric) -> str:
    """A small bar, 0 to 1."""
    share = 100 * (metric.value or 0.0)
    return f'<span class="meter"><i style="width:{share:.1f}%"></i></span>'
