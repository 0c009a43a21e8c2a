"""Work spread over a Ray cluster: joining it, sending files to it, one actor a share of cores."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol

import numpy as np

from vigil import __version__
from vigil.errors import ConfigError, VigilError, need_extra
from vigil.features.weights import file_hash

TRIES = 3  # workers that an item may be lost with before it is given up
WAIT = 3.0  # seconds that an address has for its answer
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
AGAIN = "what was finished is kept, run it again"
# waits for a line; where the other end closes without one, the process there is no more
HEIR = "import sys; sys.stdin.readline() or sys.stderr.write(sys.argv[1])"
log = logging.getLogger("vigil")


class Job(Protocol):
    """Work on numbered items; a copy of it is sent to every actor."""

    def begin(self) -> None:
        """Once in each actor. A VigilError ends the whole run."""

    def do(self, n: int, again: bool) -> Any:
        """Item n; `again` if a worker was lost with it before. A VigilError is its answer."""


# -- the cluster ---------------------------------------------------------------------------------
@contextmanager
def joined(address: str) -> Iterator[None]:
    """This process as a driver of the cluster at "HOST:PORT", quietly; left again at the end.

    Raises ExtraError without Ray, ConfigError where no cluster answers within seconds.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its errors come as exceptions
    try:
        import ray
        import ray.data
    except ImportError:
        raise need_extra("ray", "ray", "--ray") from None
    if ray.is_initialized():
        inside = ray.get_runtime_context().gcs_address
        if inside != address:
            raise ConfigError(f"--ray {address}: this process is already in the cluster {inside}")
        yield
        return
    check_address(address)
    silence()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"--ray {address}: cannot be joined ({reason})") from error
    try:
        with last_words(f"ended, most likely since the Ray of this machine was lost; {AGAIN}"):
            yield
    except ray.exceptions.RayError as error:
        raise VigilError(
            f"the Ray cluster at {address} gave up: {bottom(error)}; {AGAIN}"
        ) from error
    finally:
        ray.shutdown()


@contextmanager
def last_words(words: str) -> Iterator[None]:
    """Standard error gets `words` if this process ends within the block: Ray ends a process whose
    machine it lost at once, without an exception or a message."""
    heir = [sys.executable, "-I", "-S", "-c", HEIR, f"error: {words}\n"]
    with subprocess.Popen(
        heir,
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is not for it
    ) as waiting:
        try:
            yield
        finally:
            waiting.communicate("all is well\n")


def check_address(address: str) -> None:
    """Ray itself would wait for minutes where nobody, or somebody else, is listening."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ConfigError(f"--ray {address}: expected the HOST:PORT of a cluster's head")
    secret = os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), WAIT) as line:
            line.settimeout(WAIT)
            if not secret:
                line.sendall(GREETING)  # of HTTP/2, which Ray speaks
                found = line.recv(9)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--ray {address}: no answer ({error}); start a cluster with `ray start --head`"
        ) from error
    if not secret and found[3:4] != b"\x04":  # every such server begins with its settings
        raise ConfigError(f"--ray {address}: something else than Ray is listening there")


def silence() -> None:
    """No progress bars and no reports of Ray's own on this process's output."""
    import ray.data
    from ray._private import worker

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    worker._worker_logs_enabled = False  # else a lost machine's last words go to standard output


def bottom(error: BaseException) -> str:
    """The last line of what Ray says, which is the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300]


# -- what is sent --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Shipment:
    """A file or a folder, for workers that do not find the same one at its path."""

    path: Path | None
    files: Mapping[str, tuple[str, Any]]  # name in the folder, "" the file: its hash, Ray's ref

    @classmethod
    def of(cls, path: Path | str | None) -> Shipment:
        """Put it into the cluster's store; None makes a shipment of nothing."""
        if path is None:
            return cls(None, {})
        import ray

        path = Path(path).absolute()
        found = [p for p in sorted(path.rglob("*")) if p.is_file()] if path.is_dir() else [path]
        files = {
            "" if file == path else str(file.relative_to(path)): (
                file_hash(file), ray.put(np.fromfile(file, np.uint8)),
            )
            for file in found
        }  # fmt: skip
        return cls(path, files)

    def is_here(self) -> bool:
        """Whether this machine has the same bytes at the same path."""
        assert self.path is not None
        return all(
            (self.path / name).is_file() and file_hash(self.path / name) == told
            for name, (told, _) in self.files.items()
        )

    @contextmanager
    def at_hand(self) -> Iterator[Path | None]:
        """The file or folder on this machine, for as long as the block lasts."""
        if self.path is None or self.is_here():
            yield self.path
            return
        import ray

        with TemporaryDirectory(prefix="vigil-") as place:
            copy = Path(place) / self.path.name
            for name, (_, ref) in self.files.items():
                file = copy / name
                file.parent.mkdir(parents=True, exist_ok=True)
                ray.get(ref).tofile(file)
            assert all(file_hash(copy / name) == told for name, (told, _) in self.files.items())
            yield copy


# -- what is done --------------------------------------------------------------------------------
class Ledger:
    """How often each item was begun; an actor that outlives the workers."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()

    def begin(self, n: int) -> int:
        self.begun[n] += 1
        return self.begun[n]


class Home(NamedTuple):
    """What a worker must share with the process that sends it work."""

    version: str
    folder: str

    @classmethod
    def here(cls) -> Home:
        return cls(__version__, os.getcwd())

    def enter(self) -> None:
        """Relative paths mean the same then; ConfigError in another version of Vigil."""
        if self.version != __version__:
            raise ConfigError(
                f"{socket.gethostname()} has Vigil {__version__}, the command runs {self.version}; "
                "install the same on all machines"
            )
        if os.path.isdir(self.folder):
            os.chdir(self.folder)


class Worker:
    """What an actor is: a job that was begun, done for one item at a time."""

    def __init__(self, job: Job, ledger: Any, home: Home) -> None:
        self.job, self.ledger = job, ledger
        begun = attempted(home, job.begin)
        self.broken = begun if isinstance(begun, VigilError) else None

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
        n = int(batch["n"][0])
        return {"n": [n], "broken": [self.broken is not None], "answer": [pickle.dumps(self.do(n))]}

    def do(self, n: int) -> Any:
        import ray

        if self.broken is not None:
            return self.broken
        times = ray.get(self.ledger.begin.remote(n))
        if times > TRIES:
            return Lost(f"given up: {TRIES} workers were lost with it; out of memory?")
        try:
            return self.job.do(n, again=times > 1)
        except VigilError as error:
            return error


class Lost(VigilError):
    """An item that takes its workers down with it."""


def answers(job: Job, count: int, cores: int) -> Iterator[tuple[int, Any]]:
    """(n, what `job.do(n)` returned) for all n < count, in the order in which they are done.

    One actor for each `cores` cores of the cluster. Raises the VigilError of a `begin` that failed.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if not count:
        return
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    ledger = ray.remote(Ledger).options(num_cpus=0, scheduling_strategy=here).remote()
    places = min(sum(shares(cores)), count)
    machines = len(shares(cores))
    # one item a block and one block an actor: a lost actor loses no more than it is working on
    items = ray.data.from_items([{"n": n} for n in range(count)], override_num_blocks=count)
    done = items.map_batches(
        Worker,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=places, max_tasks_in_flight_per_actor=1),
        num_cpus=cores,
        fn_constructor_args=(job, ledger, Home.here()),
    )
    for row in done.iter_rows():
        answer = pickle.loads(row["answer"])
        if row["broken"]:
            raise answer
        yield row["n"], answer
    if len(shares(cores)) < machines:
        log.warning("a machine of the cluster was lost; its videos went to others")


def shares(cores: int) -> list[int]:
    """How many times `cores` each living machine has; ConfigError if none has as many."""
    import ray

    found = [int(node["Resources"].get("CPU", 0) // cores) for node in ray.nodes() if node["Alive"]]
    found = [share for share in found if share]
    if not found:
        raise ConfigError(f"no machine of the Ray cluster has {cores} cores; give fewer threads")
    return found


def remotely(work: Callable[..., Any], cores: int, *given: Any) -> Any:
    """work(*given) on `cores` cores of some machine; its VigilError is raised here."""
    import ray

    shares(cores)
    found = ray.get(ray.remote(attempted).options(num_cpus=cores).remote(Home.here(), work, *given))
    if isinstance(found, VigilError):
        raise found
    return found


def attempted(home: Home, work: Callable[..., Any], *given: Any) -> Any:
    """What `work` returns, or the VigilError that it raises."""
    try:
        home.enter()
        return work(*given)
    except VigilError as error:
        return error
