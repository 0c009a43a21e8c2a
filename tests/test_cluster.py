"""A Ray cluster of two machines gives the bits that one process gives, and loses nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from footage import film, shelf

pytest.importorskip("ray", reason="Ray is not installed: pip install 'vigil-vad[ray]'")
# Ray's own habits: sockets and files left to the garbage collector, announcements
pytestmark = pytest.mark.filterwarnings("ignore")

from vigil import actors, bundle, cluster, pipeline  # noqa: E402
from vigil.errors import ConfigError, InputError, ModelError  # noqa: E402
from vigil.features.extract import extract  # noqa: E402
from vigil.features.extracted import Extracted  # noqa: E402
from vigil.features.store import Rows, file_of  # noqa: E402
from vigil.records import Video  # noqa: E402
from vigil.video.read import open_video  # noqa: E402

MOTION = {"backbone": "motion", "engine": "torch", "dtype": "float32", "threads": 1}
# A dead machine refuses the check and is noticed in seconds; a busy one only answers late, and must
# not be taken for dead: its Ray would end, and this process with it.
# Workers as nice as they are by default would hardly run beside another test.
PATIENT = {"health_check_period_ms": 500, "health_check_timeout_ms": 10_000,
           "agent_register_timeout_ms": 300_000, "worker_niceness": 0}  # fmt: skip
SMALL = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


class Machines:
    """A cluster of two one-core machines, all on this one; the second may be killed."""

    def __init__(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "_system_config": PATIENT, **SMALL}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self.cluster.address
        self.add()

    def add(self) -> None:
        self.second = self.cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        self.cluster.wait_for_nodes()

    def kill(self) -> None:
        """As when the power fails: every process of the second machine, at once."""
        raylet = self.second.all_processes["raylet"][0].process.pid
        lists = Path(f"/proc/{raylet}/task").glob("*/children")
        workers = [int(pid) for children in lists for pid in children.read_text().split()]
        self.cluster.remove_node(self.second, allow_graceful=False)
        for pid in workers:  # of their own accord they may stay, stuck in Ray's farewell
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    made = Machines()
    yield made
    made.cluster.shutdown()


@pytest.fixture(scope="module")
def joined(machines: Machines) -> Iterator[str]:
    """The address of a cluster that this process stays in, which saves time."""
    with actors.joined(machines.address):
        yield machines.address


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    folder = tmp_path_factory.mktemp("clips")
    return [open_video(film(folder / f"v{n}.mp4", 90 + 7 * n, seed=n)) for n in range(5)]


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, scratch files too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# -- without a cluster ---------------------------------------------------------------------------
@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """The address of a server that takes calls and says `answer`, or nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def serve() -> None:
            with server.accept()[0] as line:
                if answer is not None:
                    line.sendall(answer)
                stop.wait(20)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        stop.set()
        thread.join()


def refused(address: str, words: str) -> float:
    start = time.perf_counter()
    with pytest.raises(ConfigError, match=words):
        cluster.extract_on_ray(address, [], "never", MOTION)
    return time.perf_counter() - start


def test_an_address_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"127.0.0.1:{server.getsockname()[1]}"
    refused(nobody, "no answer.*ray start --head")  # imports Ray, which takes its time once
    assert refused(nobody, "no answer") < 5
    with listening(None) as mute:
        assert refused(mute, "no answer") < 5
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as other:
        assert refused(other, "something else than Ray") < 5
    for wrong in ("auto", "ray://1.2.3.4:10001", "1.2.3.4"):
        refused(wrong, "expected the HOST:PORT")


def test_two_videos_of_one_name_are_refused(clips: list[Video]) -> None:
    with pytest.raises(InputError, match="2 videos are called 'v0': .*v0.mp4, s3://b/v0.avi"):
        cluster.extract_on_ray("1.2.3.4:1", [clips[0], "s3://b/v0.avi"], "never", MOTION)


def test_a_folder_that_is_not_shared_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    done = cluster.Extraction(made=["a", "b"])
    cluster.check_there(done, tmp_path)
    assert done.made == ["a"] and "does not share that folder" in done.failed["b"]


def test_another_version_is_refused() -> None:
    home = actors.Home("0.0.0", "nowhere")
    error = actors.attempted(home, int)
    assert isinstance(error, ConfigError) and "the command runs 0.0.0" in str(error)
    assert actors.attempted(actors.Home.here(), int, "3") == 3


def test_videos_and_features_behind_urls(clips: list[Video], tmp_path: Path) -> None:
    """What a worker does, in this process, whose memory stands for the far store."""
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: 'vigil-vad[ray]'")
    far = fsspec.filesystem("memory")
    for video in clips[:2]:
        far.put_file(video.source, f"/cameras/{video.name}.mp4")
    urls = [f"memory://cameras/{name}.mp4" for name in ("v0", "v1", "gone")]
    job = cluster.Extract(urls, "memory://rows/", MOTION, actors.Shipment(None, {}))
    job.begin()
    assert [job.do(n, False).made for n in (0, 1)] == [["v0"], ["v1"]]
    assert job.do(2, False).failed == {"gone": f"{urls[2]}: cannot be read (no such file)"}
    extract(clips[:2], tmp_path, Extracted(**MOTION))
    for name in ("v0", "v1"):
        assert far.cat(f"/rows/{name}.safetensors") == file_of(tmp_path, name).read_bytes()
    assert len(far.find("/rows")) == 2
    assert job.do(0, False).skipped == ["v0"]
    assert job.do(0, True).made == ["v0"]  # a lost worker had just finished it
    job = replace(job, options={**MOTION, "stride": 8})
    job.begin()
    with pytest.raises(InputError, match="features made with stride 16, but 8 is needed"):
        job.do(0, False)


# -- the cluster ---------------------------------------------------------------------------------
def test_a_killed_machine_costs_nothing(
    machines: Machines, clips: list[Video], tmp_path: Path
) -> None:
    extract(clips, tmp_path / "local", Extracted(**MOTION))
    slow = [slowly(video) for video in clips]
    killed = []

    def tell(words: str, done: int, of: int) -> None:
        if done == 2 and not killed:
            killed.append(done)
            machines.kill()

    done = cluster.extract_on_ray(machines.address, slow, tmp_path / "ray", MOTION, tell)
    machines.add()
    assert killed == [2]  # at work on a video, if it had been quick enough to get one
    assert done.made == [video.name for video in clips]
    assert not done.failed and not done.skipped
    found, wanted = files(tmp_path / "ray"), files(tmp_path / "local")
    assert len(wanted) == 5 and found == wanted


DRIVER = """
import os, signal, sys
from vigil import actors
with actors.joined(sys.argv[1]):
    import ray
    os.kill(int(sys.argv[2]), signal.SIGKILL)
    while True:
        ray.get(ray.put(1))
"""


def test_a_machine_that_loses_its_own_ray_says_so() -> None:
    """Ray ends the process without an exception: nothing in it can say why."""
    from ray.cluster_utils import Cluster

    alone = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **SMALL})
    try:
        raylet = alone.head_node.all_processes["raylet"][0].process.pid
        call = [sys.executable, "-c", DRIVER, alone.address, str(raylet)]
        driver = subprocess.run(call, capture_output=True, text=True, timeout=120)
    finally:
        alone.shutdown()
    assert driver.returncode != 0
    assert "error: ended, most likely since the Ray of this machine was lost" in driver.stderr


ENDING = """
import os, signal, time
from vigil import actors
try:
    with actors.last_words("lost"):
        {end}
except KeyboardInterrupt:
    pass
"""


@pytest.mark.parametrize("end", ["pass", "os.killpg(0, signal.SIGINT); time.sleep(9)"])
def test_who_ends_as_meant_leaves_no_last_words(end: str) -> None:
    call = [sys.executable, "-c", ENDING.format(end=end)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, start_new_session=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def slowly(video: Video) -> Video:
    """The same frames, each taking its time, so that a machine dies in the middle of a video."""
    inner = video.open

    def frames(short_side: int | None = None) -> Iterator[Any]:  # sent to the workers as it is
        for frame in inner(short_side):
            time.sleep(0.02)
            yield frame

    return replace(video, open=frames)


def test_a_video_that_kills_its_workers_is_given_up(
    joined: str, clips: list[Video], tmp_path: Path
) -> None:
    videos = [clips[0], deadly(clips[1])]
    undecided = {**MOTION, "dtype": "auto"}
    done = cluster.extract_on_ray(joined, videos, tmp_path / "ray", undecided)
    assert done.made == ["v0"]
    assert done.failed == {"v1": "given up: 3 workers were lost with it; out of memory?"}
    chosen = Rows(file_of(tmp_path / "ray", "v0")).header.dtype
    extract(clips[:1], tmp_path / "local", Extracted(**{**MOTION, "dtype": chosen}))
    assert files(tmp_path / "ray") == files(tmp_path / "local")


def deadly(video: Video) -> Video:
    """Frames that kill the process that reads them."""
    inner, number, parent = video.open, int(signal.SIGKILL), os.getpid()

    def frames(short_side: int | None = None) -> Iterator[Any]:
        for n, frame in enumerate(inner(short_side)):
            if n == 40 and os.getpid() != parent:
                os.kill(os.getpid(), number)
            yield frame

    return replace(video, open=frames)


def test_scores_are_those_of_one_process(joined: str, clips: list[Video]) -> None:
    def failing(short_side: int | None = None) -> Iterator[Any]:
        raise InputError("broken: nothing to see")

    broken = replace(clips[0], name="broken", open=failing)
    failures: dict[str, str] = {}
    peaks: dict[str, Any] = {}
    videos = [*clips[:2], broken]
    found = cluster.score_on_ray(joined, shelf() / "run", videos, failures=failures, peaks=peaks)
    mine: dict[str, Any] = {}
    wanted = pipeline.score_all(bundle.load(shelf() / "run"), clips[:2], peaks=mine)
    assert list(found) == list(wanted) == ["v0", "v1"]
    assert failures == {"broken": "broken: nothing to see"}
    for name, scores in wanted.items():
        for key in ("score", "smoothed", "time", "known_at", "warm_up"):
            np.testing.assert_array_equal(getattr(found[name], key), getattr(scores, key))
        for key, values in scores.channels.items():
            np.testing.assert_array_equal(found[name].channels[key], values)
        assert found[name].units is not None and scores.units is not None
        np.testing.assert_array_equal(found[name].units.score, scores.units.score)
        assert found[name].made == scores.made
        assert [p.frame for p in peaks[name]] == [p.frame for p in mine[name]]


def test_weights_are_sent_where_they_are_missing(joined: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "base").mkdir(parents=True)
    (folder / "a.bin").write_bytes(bytes(range(256)) * 99)
    (folder / "base" / "b.bin").write_bytes(b"")
    before = files(folder)
    one, all_of_it = actors.Shipment.of(folder / "a.bin"), actors.Shipment.of(folder)
    with one.at_hand() as path:
        assert path == folder / "a.bin"  # the same is here: nothing is copied
    (folder / "a.bin").write_bytes(b"another")
    with one.at_hand() as path, all_of_it.at_hand() as copy:
        assert path and copy and path != folder / "a.bin" and path.name == "a.bin"
        assert path.read_bytes() == before["a.bin"]
        assert files(copy) == before
    assert not copy.exists()
    with actors.Shipment.of(None).at_hand() as path:
        assert path is None


def test_what_a_worker_finds_wrong_is_said(joined: str, clips: list[Video]) -> None:
    with pytest.raises(ConfigError, match="no machine of the Ray cluster has 64 cores"):
        cluster.extract_on_ray(joined, clips, "never", {**MOTION, "threads": 64})
    with pytest.raises(ModelError, match="no weights given"):
        cluster.extract_on_ray(joined, clips[:1], "never", {**MOTION, "backbone": "r3d-18"})
    with pytest.raises(ConfigError, match="this process is already in the cluster"):
        cluster.extract_on_ray("1.2.3.4:5", clips, "never", MOTION)
