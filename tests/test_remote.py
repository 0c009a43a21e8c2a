"""Files behind URLs, with the file system that fsspec keeps in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from vigil import remote
from vigil.errors import ExtraError, InputError, StorageError

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: 'vigil-vad[ray]'")


@pytest.fixture
def memory() -> object:
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pipe({"/v/a10.mp4": b"ten", "/v/a2.mp4": b"two", "/v/s/b.AVI": b"b", "/v/n.txt": b"n"})
    return system


def test_what_is_remote() -> None:
    assert remote.is_remote("s3://bucket/a.mp4") and remote.is_remote("local:///a.mp4")
    for place in ("a.mp4", Path("/a"), "file:///a.mp4", "https://example.org/a.mp4"):
        assert not remote.is_remote(place)
    assert remote.local_path("file:///a%20b/c") == Path("/a b/c")
    assert remote.local_path("a b") == Path("a b")


def test_videos_below_a_url(memory: object) -> None:
    found = remote.find("memory://v")
    assert found == ["memory:///v/a2.mp4", "memory:///v/a10.mp4", "memory:///v/s/b.AVI"]
    assert remote.find("memory://v/a2.mp4") == ["memory:///v/a2.mp4"]
    with pytest.raises(InputError, match="memory://w: no video there"):
        remote.find("memory://w")


def test_fetched_and_gone_again(memory: object) -> None:
    with remote.fetched("memory://v/a2.mp4") as path:
        assert path.name == "a2.mp4" and path.read_bytes() == b"two"
    assert not path.exists()
    with pytest.raises(InputError, match="no such file"), remote.fetched("memory://v/a3.mp4"):
        pass


def test_put_whole_or_not_at_all(memory: object, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 3_000_000)
    remote.put(tmp_path / "a", "memory://new/folder/a")
    assert remote.fetch("memory://new/folder/a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"a" * 3_000_000
    with pytest.raises(StorageError, match="cannot write memory://new/gone"):
        remote.put(tmp_path / "missing", "memory://new/gone")
    assert not remote.fetch("memory://new/gone", tmp_path / "c")
    with pytest.raises(StorageError, match="cannot write local:///proc/nowhere/a"):
        remote.put(tmp_path / "a", "local:///proc/nowhere/a")


def test_urls_nobody_knows() -> None:
    with pytest.raises(InputError, match="foo://x: not a URL that can be opened"):
        remote.find("foo://x")
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(ExtraError, match="s3fs"):
            remote.find("s3://x")
