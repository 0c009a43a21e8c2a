"""One section a video: its curve, the events found, the pictures that tell why."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from vigil.metrics.events import intervals
from vigil.records import Event, Truth
from vigil.show._page_records import KeyFrame, VideoSection
from vigil.show.curve import thin

SIDE, QUALITY = 480, 78  # longest side in pixels and JPEG quality of the pictures
POINTS = 4000  # of all curves of one video together, a little more than a wide screen shows


def index(videos: Sequence[VideoSection]) -> str:
    """All videos at a glance."""
    body = "".join(
        f'<tr><td><a href="#video-{i}">{escape(v.name)}</a></td><td>{escape(v.scene)}</td>'
        f'<td class="n">{clock(seconds(v))}</td><td class="n">{share(v.truth)}</td>'
        f'<td class="n">{len(v.events)}</td><td class="n">{peak(v)}</td></tr>'
        for i, v in enumerate(videos)
    )
    heads = ("length", "truly abnormal", "events found", "highest score")
    head = "".join(f'<th scope="col" class="n">{h}</th>' for h in heads)
    return (
        '<div class="scroll"><table id="videos-table"><thead><tr><th scope="col">video</th>'
        f'<th scope="col">scene</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def section(number: int, video: VideoSection) -> str:
    """A video's card."""
    facts = [video.scene, f"{len(video.scores):,} frames", clock(seconds(video))]
    facts += [f"{share(video.truth)} truly abnormal"] if video.truth is not None else ["no truth"]
    if video.scores.warm_up.any():
        facts.append(f"{int(video.scores.warm_up.sum())} frames of warm-up")
    legend = (
        '<div class="keyline"><span><i></i>score</span><span><i class="t"></i>truly abnormal</span>'
        '<span><i class="e"></i>found event</span><span><i class="a"></i>alarm</span></div>'
    )
    keys = "".join(key_card(f"key-{number}-{k}", key) for k, key in enumerate(video.keys))
    return (
        f'<div class="card video" id="video-{number}"><div class="head"><h3>{escape(video.name)}'
        f'</h3><span class="soft small">{escape(" · ".join(filter(None, facts)))}</span></div>'
        f"{legend}"
        f'<div class="chart" id="plot-{number}" data-video="{number}" role="img" '
        f'aria-label="anomaly score over time"></div>'
        f'<div class="readout" id="readout-{number}" aria-live="polite">Hover for values, click '
        "to pin one and find the nearest picture, drag to zoom, double-click to see all.</div>"
        f"<h4>Events found</h4>{event_table(number, video)}"
        + (f'<h4>What fired</h4><div class="keys">{keys}</div>' if keys else "")
        + "</div>"
    )


def event_table(number: int, video: VideoSection) -> str:
    """Start and end of every event; a button zooms the curve to it."""
    if not video.events:
        return '<p class="soft small">None: the score never passed the alarm threshold.</p>'
    judged = video.truth is not None
    body = "".join(
        f'<tr><td><button class="go" type="button" data-go="{number} {e.start_s:.3f} '
        f'{e.stop_s:.3f}">event {i + 1}</button></td><td class="n">{clock(e.start_s)}</td>'
        f'<td class="n">{clock(e.stop_s)}</td><td class="n">{e.start_s:.2f} to {e.stop_s:.2f}</td>'
        f'<td class="n">{e.stop_s - e.start_s:.1f}</td><td class="n">{e.peak:.2f}</td>'
        f"<td>{escape(blame(e.parts))}</td>{verdict(e, video.truth) if judged else ''}</tr>"
        for i, e in enumerate(video.events)
    )
    heads = ("start", "end", "seconds", "lasts (s)", "peak")
    head = "".join(f'<th scope="col" class="n">{h}</th>' for h in heads)
    head += '<th scope="col">mostly because of</th>' + (
        '<th scope="col">truly abnormal</th>' if judged else ""
    )
    return (
        f'<div class="scroll"><table class="events"><thead><tr><th scope="col"></th>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def verdict(event: Event, truth: Truth | None) -> str:
    """Whether the event meets a true interval."""
    hit = truth is not None and bool(truth.frames[event.start : event.stop].any())
    return f'<td class="{"ok" if hit else "bad"}">{"yes" if hit else "no: false alarm"}</td>'


def key_card(name: str, key: KeyFrame) -> str:
    """The painted frame, the nearest normal example beside it, and what the score is made of."""
    pictures = f'<img src="{jpeg(key.picture)}" alt="frame {key.frame}, painted" loading="lazy">'
    if key.like_picture is not None:
        pictures += (
            f'<div><img src="{jpeg(key.like_picture)}" alt="nearest normal example" '
            'loading="lazy"><figcaption>nearest normal example</figcaption></div>'
        )
    single = "" if key.like_picture is not None else " one"
    return (
        f'<figure class="key" id="{name}"><div class="pics{single}">{pictures}</div><figcaption>'
        f"<b>{clock(key.time_s)}</b> · frame {key.frame}"
        f"{' · ' + escape(key.text) if key.text else ''}</figcaption>{parts(key.parts)}</figure>"
    )


def parts(shares: Mapping[str, float]) -> str:
    """Signed shares as bars, the largest first; blue ones speak for normal."""
    if not shares:
        return ""
    top = max(abs(v) for v in shares.values()) or 1.0
    rows = "".join(
        f'<span>{escape(name)}</span><span class="track"><i class="{"minus" if v < 0 else "plus"}"'
        f' style="width:{100 * abs(v) / top:.1f}%"></i></span><span>{v:+.2f}</span>'
        for name, v in sorted(shares.items(), key=lambda item: -abs(item[1]))
    )
    return f'<div class="parts">{rows}</div>'


def curves(video: VideoSection) -> dict[str, Any]:
    """What the script draws; a long video is thinned so that every extreme stays."""
    s = video.scores
    named = {k: v for k, v in s.channels.items() if len(s.channels) > 1}
    chosen = thin([s.smoothed, s.score, *named.values()], POINTS) if len(s) else np.zeros(0, int)
    fps = (len(s) - 1) / (s.time[-1] - s.time[0]) if seconds(video) > 0 else 25.0
    true = [] if video.truth is None else intervals(video.truth.frames[: len(s)]).tolist()
    return {
        "f": chosen.tolist(),
        "t": [round(float(t), 3) for t in s.time[chosen]],
        "smoothed": numbers(s.smoothed[chosen]),
        "score": numbers(s.score[chosen]),
        "channels": {name: numbers(curve[chosen]) for name, curve in named.items()},
        "truth": None if video.truth is None
        else [[float(s.time[a]), float(s.time[b - 1]) + 1 / fps] for a, b in true],
        "events": [[e.start_s, e.stop_s] for e in video.events],
        "threshold": video.threshold,
        "keys": [
            [k.frame, k.time_s, round(float(s.smoothed[min(k.frame, len(s) - 1)]), 4)]
            for k in video.keys if len(s)
        ],
    }  # fmt: skip


def numbers(values: np.ndarray) -> list[float | None]:
    """Short decimals for JSON; None where there is no number."""
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in values]


def jpeg(picture: np.ndarray) -> str:
    """A picture (H, W, 3) uint8 RGB, no larger than `SIDE`, as a data URL."""
    import cv2

    height, width = picture.shape[:2]
    shrink = SIDE / max(height, width)
    if shrink < 1:
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(picture[..., ::-1])
    done, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode()


def clock(seconds: float) -> str:
    """Seconds as m:ss.t, or h:mm:ss.t.

    >>> clock(6.62), clock(59.96), clock(3723.4)
    ('0:06.6', '1:00.0', '1:02:03.4')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    text = f"{rest // 10:02d}.{rest % 10}"
    return f"{minutes // 60}:{minutes % 60:02d}:{text}" if minutes >= 60 else f"{minutes}:{text}"


def seconds(video: VideoSection) -> float:
    """Time of the last frame."""
    return float(video.scores.time[-1]) if len(video.scores) else 0.0


def share(truth: Truth | None) -> str:
    """Truly abnormal share of the frames."""
    if truth is None or not len(truth.frames):
        return "not known"
    return f"{100 * truth.frames.mean():.0f} %"


def peak(video: VideoSection) -> str:
    """Highest smoothed score."""
    return f"{video.scores.smoothed.max():.2f}" if len(video.scores) else "none"


def blame(shares: Mapping[str, float]) -> str:
    """The two largest parts by name."""
    top = sorted(shares.items(), key=lambda item: -item[1])[:2]
    return ", ".join(name for name, value in top if value > 0)
