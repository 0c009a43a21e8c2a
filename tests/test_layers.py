"""Imports point down: a room knows only rooms below it, so there is no cycle."""

from __future__ import annotations

import ast
from pathlib import Path

import vigil

PACKAGE = Path(vigil.__file__).parent
# a room may import rooms of a lower number, and itself
ROOMS = {
    "errors": 0.0, "__init__": 0.0, "records": 0.1, "files": 0.1, "config": 0.1, "plugins": 0.1,
    "video": 1.0, "remote": 1.1, "data": 2.0, "features": 2.0, "actors": 2.1,
    "units": 3.0, "methods": 3.0,
    "train": 4.0, "scores": 4.0, "engaged": 4.5, "bundle": 5.0, "ensembles": 5.1, "authors": 5.2,
    "scoring": 5.5, "run": 6.0, "metrics": 7.0,
    "show": 8.0, "sources": 9.0, "cluster": 9.04, "extraction": 9.05, "dictionaries": 9.06,
    "manifolds": 9.06,
    "fitting": 9.1, "pipeline": 9.2,
    "views": 9.25,
    "pages": 9.3, "reporting": 9.4,
    "doctor": 9.4, "commands": 10.0, "cli": 10.1, "__main__": 10.2,
}  # fmt: skip
# what a method may know beside torch and numpy
METHOD_ROOMS = {"records", "errors", "methods"}


def imports(path: Path) -> set[str]:
    """The rooms of Vigil that a module imports, anywhere in it."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "vigil":
                names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
                rooms |= {name if name in ROOMS else "__init__" for name in names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "vigil":
                    rooms.add(parts[1] if len(parts) > 1 else "__init__")
    return rooms


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def test_every_room_has_a_number() -> None:
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")}
    assert rooms == set(ROOMS), rooms ^ set(ROOMS)


def test_imports_point_down() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = room_of(path)
        if path == PACKAGE / "__init__.py":
            continue  # the front door opens lazily onto the pipeline
        for other in imports(path) - {room}:
            if ROOMS[other] >= ROOMS[room] and other != "__init__":
                wrong.append(f"{path.relative_to(PACKAGE)} ({ROOMS[room]}) imports {other}")
    assert not wrong, wrong


def test_methods_know_records_and_torch_only() -> None:
    for path in (PACKAGE / "methods").glob("*.py"):
        assert imports(path) <= METHOD_ROOMS, path.name


def test_metrics_alone_asks_for_the_truth() -> None:
    """`.truth(` is called by metrics; the data room gives it, a picture may show it."""
    allowed = {"metrics", "data", "reporting"}
    for path in PACKAGE.rglob("*.py"):
        if ".truth(" in path.read_text():
            assert room_of(path) in allowed, path
