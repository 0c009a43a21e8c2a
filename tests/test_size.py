"""Code that fits in a head: short functions, files under 350 lines, folders two deep."""

from __future__ import annotations

import ast
from pathlib import Path

import vigil

PACKAGE = Path(vigil.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def lengths() -> list[tuple[int, str]]:
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append((size, f"{path.relative_to(PACKAGE)}:{node.name}"))
    return sorted(found)


def test_files_are_short() -> None:
    for path in FILES:
        lines = len(path.read_text().splitlines())
        assert lines <= 350, f"{path.relative_to(PACKAGE)}: {lines} lines"


def test_functions_are_short() -> None:
    sizes = lengths()
    assert sizes[-1][0] <= 50, sizes[-3:]
    p90 = sizes[int(len(sizes) * 0.9)][0]
    assert p90 <= 30, f"nine in ten functions should be under 30 lines; p90 is {p90}"


def test_folders_are_two_deep() -> None:
    assert all(len(path.relative_to(PACKAGE).parts) <= 2 for path in FILES)


def test_nothing_is_left_to_do() -> None:
    for path in FILES:
        for word in ("TODO", "FIXME", "XXX"):
            assert word not in path.read_text(), f"{path}: {word}"
