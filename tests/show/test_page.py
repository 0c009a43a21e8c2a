"""The HTML report: complete in itself, safe, small enough, written whole, alive in a browser."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from vigil.data.base import TestSplit
from vigil.errors import StorageError
from vigil.metrics.report import evaluate, roc_of
from vigil.records import Event, Report, Scores, Truth, Video
from vigil.scores.smooth import smooth
from vigil.show.page import KeyFrame, Page, VideoSection, drawn, render, write_page

EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
FPS = 10.0


def clip(name, n, seed, anomalous=True):
    r = np.random.default_rng(seed)
    label = np.zeros(n, bool)
    label[n // 3 : n // 2] = anomalous
    score = r.random(n) + 2 * label
    soft = smooth(score, "causal:0.5s", FPS)
    channels = {"motion": score, f"b{EVIL}": r.random(n)}
    scores = Scores(
        name, score, soft, channels, np.arange(n) / FPS, np.arange(n), np.arange(n) < 3,
        made={"smoothing": "causal:0.5s"},
    )  # fmt: skip
    return scores, Truth(label, np.where(label, EVIL, ""))


def picture(seed, height=360, width=640):
    r = np.random.default_rng(seed)
    small = r.integers(0, 255, (height // 40, width // 40, 3), np.uint8)
    return small.repeat(40, 0).repeat(40, 1)


def page(videos=3, n=200, keys=2):
    names = [f"{i:02d} {EVIL}" for i in range(videos)]
    made = {name: clip(name, n, i, i != 2) for i, name in enumerate(names)}
    test = TestSplit(
        tuple(
            Video(m, m, FPS, (4, 4), lambda s: iter(()), scene=f"{EVIL}{i % 2}")
            for i, m in enumerate(names)
        ),
        truth=lambda name: made[name][1],
    )
    scores = {name: pair[0] for name, pair in made.items()}
    events = {
        name: [Event(name, n // 3, n // 2, n / 30, n / 20, 2.5, n // 3 + 5, {EVIL: 1.0})]
        for i, name in enumerate(names) if i != 2
    }  # fmt: skip
    report = evaluate(scores, test, data="toy", method=EVIL, events=events)
    roc, eer = roc_of(scores, test)
    sections = tuple(
        VideoSection(
            name, scores[name], f"{EVIL}{i}", made[name][1] if i != 1 else None,
            events.get(name, ()), 1.2,
            tuple(
                KeyFrame(
                    n // 3 + k, (n // 3 + k) / FPS, picture(k), EVIL, {"motion": 1.0, EVIL: -0.4},
                    picture(9, 80, 80) if k else None,
                )
                for k in range(keys)
            ),
        )
        for i, name in enumerate(names)
    )  # fmt: skip
    facts = {"config": {"evil": EVIL}, "seed": 0}
    return Page(EVIL, EVIL, report, sections, roc, eer, facts, (EVIL,), f"1.2 {EVIL}")


class Elements(HTMLParser):
    """All start tags and their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_names_never_become_elements():
    found = Elements(render(page())).found
    assert [a for tag, a in found if tag == "script"] == [
        {"type": "application/json", "id": "data"}, {}, {},
    ]  # fmt: skip
    assert all(not key.startswith("on") for _, attrs in found for key in attrs)
    sources = [a["src"] for _, a in found if "src" in a]
    assert len(sources) == 3 * 3 and all(s.startswith("data:image/jpeg;base64,") for s in sources)
    links = [a["href"] for _, a in found if "href" in a]
    assert links and all(link.startswith("#") for link in links)
    ids = [a["id"] for _, a in found if "id" in a]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links} <= set(ids)


def test_numbers_are_there():
    one = page()
    text = render(one)
    for row in one.report.rows:
        for metric in row.metrics.values():
            if row.channel != "events" and metric.value is not None:
                assert f">{metric.value:.4f}</td>" in text
    for metric in ("micro_auc", "macro_auc_padded", "macro_auc_defined", "ap", "eer"):
        assert f"<code>{metric}</code>" in text
    assert "0:06.7" in text and "6.67 to 10.00" in text  # the events, in both ways of counting
    assert f"{100 * one.eer.rate:.1f} %" in text


def test_data_block_is_json_with_every_extreme():
    one = page(videos=1, n=100_000, keys=0)
    match = re.search(r'id="data">(.*?)</script>', render(one), re.S)
    data = json.loads(match[1])
    curve, s = data["videos"][0], one.videos[0].scores
    assert len(curve["t"]) <= 4002
    assert max(curve["smoothed"]) == pytest.approx(s.smoothed.max(), rel=1e-3)
    assert min(curve["score"]) == pytest.approx(s.score.min(), rel=1e-3)
    assert curve["truth"] == [[3333.3, 5000.0]]
    where = curve["f"].index(int(s.smoothed.argmax()))
    assert curve["t"][where] == pytest.approx(s.time[s.smoothed.argmax()], abs=1e-3)


def test_size_of_twenty_long_videos(tmp_path):
    write_page(tmp_path / "r.html", page(videos=20, n=20_000, keys=4))
    assert 4e6 < (tmp_path / "r.html").stat().st_size < 15e6


def test_nothing_measured():
    n = 5
    bare = Scores(
        "v", np.ones(n), np.ones(n), {}, np.arange(n) / 5, np.arange(n), np.zeros(n, bool)
    )
    no_truth = Truth(np.zeros(0, bool))
    empty = Scores("e", *[np.zeros(0)] * 2, {}, *[np.zeros(0)] * 3)
    one = Page(
        "t", "s", Report(()), (VideoSection("v", bare), VideoSection("e", empty, truth=no_truth))
    )
    text = render(one)
    assert "without labels nothing can be measured" in text
    assert all(f'id="{part}"' not in text for part in ("results", "roc"))
    assert drawn(one)["videos"][1]["t"] == []
    all_normal = {"v": Scores(
        "v", bare.score, bare.smoothed, {"bad": np.full(n, 2.0)}, bare.time, bare.known_at,
        bare.warm_up, made={"smoothing": "none"},
    )}  # fmt: skip
    test = TestSplit(
        (Video("v", "v", 5, (4, 4), lambda s: iter(())),), truth=lambda v: Truth(np.zeros(n, bool))
    )
    report = evaluate(all_normal, test, data="d", method="m")
    assert "not measured" in render(Page("t", "s", report))


def test_disk_full_leaves_the_old_report(tmp_path):
    """The kernel refuses to let any file grow past 1 MB, half way through the page."""
    path = tmp_path / "report.html"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(StorageError, match="disk full while writing .*report.html"):
            write_page(path, page())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a small tmpfs here (needs root)")
    try:
        path = disk / "report.html"
        path.write_text("old")
        with pytest.raises(StorageError, match="disk full"):
            write_page(path, page())
        assert path.read_text() == "old" and [p.name for p in disk.iterdir()] == ["report.html"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# -- in a real browser -------------------------------------------------------------------------
@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = [shutil.which(n) for n in ("chromium", "chromium-browser", "google-chrome")]
    path = next(filter(None, found), None)
    if path is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report #1.html"
    write_page(path, page())
    return path


@pytest.fixture(params=["light", "dark"])
def opened(browser, report, request):
    """The report, opened; at the end nothing may have been complained of or asked for."""
    context = browser.new_context(
        color_scheme=request.param, viewport={"width": 1200, "height": 900}
    )
    tab = context.new_page()
    said, asked = [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda r: asked.append(r.url))
    tab.goto(report.as_uri())
    yield tab
    assert said == []
    own = [url for url in asked if not url.startswith(("data:", "blob:"))]
    assert own == [report.as_uri()]
    context.close()


def show(tab, selector):
    tab.locator(selector).evaluate("node => node.scrollIntoView({behavior: 'instant'})")
    tab.wait_for_selector(f"{selector} .main-svg")


def test_alive(opened):
    """Curves draw, tell values on hovering, lead to pictures on clicking, zoom to an event."""
    assert opened.title() == EVIL
    for number in range(3):
        show(opened, f"#plot-{number}")
    assert opened.locator("tr.counts").count() == 1
    assert opened.locator("#videos-table tbody tr").count() == 3
    assert opened.locator("table.events").count() == 2
    show(opened, "#plot-0")
    node = "document.getElementById('plot-0')"
    x, y = opened.evaluate(
        f"""() => {{ const n = {node}, box = n.getBoundingClientRect(), l = n._fullLayout;
        const t = n.data.find(t => t.name === 'score'), i = 120;
        return [box.x + l.xaxis._offset + l.xaxis.d2p(t.x[i]),
                box.y + l.yaxis2._offset + l.yaxis2.d2p(t.y[i])]; }}"""
    )
    opened.mouse.move(x - 30, y - 25)  # beside the line: anywhere above or below it will do
    opened.mouse.move(x, y - 25, steps=5)
    opened.wait_for_selector("#plot-0 .hovertext:has-text('0:12.0 · frame 120')")
    opened.mouse.click(x, y - 25)
    opened.wait_for_selector(".key.lit")
    assert "0:12.0 · frame 120 · score" in opened.locator("#readout-0").text_content()
    assert opened.locator(".key.lit").get_attribute("id") == "key-0-1"
    opened.locator("button.go").first.click()
    opened.wait_for_function(f"{node}.layout.xaxis.range[0].includes('00:00:04.6')")


def test_roc_marks_its_point_and_theme_follows(opened):
    show(opened, "#plot-roc")
    rate, names = opened.evaluate(
        """() => { const d = document.getElementById('plot-roc').data;
        return [d[2].x[0], d.map(t => t.name)]; }"""
    )
    assert names[2].startswith("equal error") and rate == page().eer.rate
    ground = "getComputedStyle(document.body).backgroundColor"
    before = opened.evaluate(ground)
    other = "light" if before == "rgb(15, 19, 24)" else "dark"
    opened.emulate_media(color_scheme=other)
    assert opened.evaluate(ground) != before


def test_narrow_screen_does_not_scroll_sideways(opened):
    opened.set_viewport_size({"width": 380, "height": 800})
    show(opened, "#plot-1")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 380
