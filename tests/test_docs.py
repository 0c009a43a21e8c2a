"""What a newcomer reads is true: examples run, commands and options exist, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import typer
from conftest import ROOT

from vigil import plugins
from vigil.cli import app
from vigil.data.street import render
from vigil.video.write import write_mp4

OWN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks/README.md"])
ALL = sorted({*OWN, *(ROOT / "docs").rglob("*.md")})  # pages of data sets and methods too
COMMAND = typer.main.get_command(app)
FENCE = re.compile(
    r"(?:<!-- not run: (?P<why>[^\n]+?) -->\s*)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block: its language, text, first line in the file, and why it is not run, if so."""

    language: str
    text: str
    line: int
    why: str


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    return [
        Block(m["language"], m["text"], text.count("\n", 0, m.start("text")), m["why"] or "")
        for m in FENCE.finditer(text)
    ]


def without_blocks(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def shell_lines(path: Path) -> list[list[str]]:
    """The words of every command line in a page, in blocks and in `code`, comments left out."""
    text = [b.text for b in blocks(path) if b.language in ("", "sh", "bash")]
    lines = [line for part in text for line in part.replace("\\\n", " ").splitlines()]
    starts = ("vigil ", "make ", "python benchmarks/", ".venv/bin/")
    found = [shlex.split(line, comments=True) for line in lines if line.startswith(starts)]
    spoken = re.findall(r"`((?:vigil|python benchmarks/)[^`\n]*)`", without_blocks(path))
    return found + [shlex.split(line) for line in spoken if "..." not in line and "|" not in line]


# -- examples ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for generated data that all pages share."""
    return tmp_path_factory.mktemp("generated")


@pytest.fixture
def place(
    tmp_path: Path, street: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """A folder with the videos that pages speak of; names added by an example are taken back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIGIL_DATA", str(street))
    for group in plugins.added:
        monkeypatch.setitem(plugins.added, group, dict(plugins.added[group]))
    for name, index in (("my_camera", 0), ("tuesday", 1)):
        frames, _ = render("walkway", "val", index, limit=150)
        write_mp4(tmp_path / f"{name}.mp4", frames, 12)
    page = ModuleType("page")  # a real module: dataclasses look their own up by name
    monkeypatch.setitem(sys.modules, "page", page)
    yield page.__dict__


PAGES = [path for path in OWN if any(b.language == "python" for b in blocks(path))]


def test_pages_have_examples() -> None:
    wanted = {"README.md", "docs/python.md", "docs/own_method.md", "docs/files.md"}
    assert wanted <= {name_of(path) for path in PAGES}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_python_examples_run(path: Path, place: dict[str, Any]) -> None:
    for block in blocks(path):
        if block.language == "python" and not block.why:
            # empty lines first, so that a traceback names the line of the page
            code = compile("\n" * block.line + block.text, str(path), "exec", dont_inherit=True)
            exec(code, place)


# -- commands ------------------------------------------------------------------------------------
def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and the words left for it."""
    found, left = COMMAND, words[1:]
    while left and left[0] in getattr(found, "commands", {}):
        found, left = found.commands[left[0]], left[1:]
    return found, left


def all_commands(command: Any = COMMAND, name: str = "vigil") -> Iterator[tuple[str, Any]]:
    """(full name, command) of everything that can be typed, groups included."""
    yield name, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from all_commands(inner, f"{name} {word}")


def check_line(words: list[str]) -> None:
    """Fails where a command, an option or an argument of a `vigil ...` line does not exist."""
    command, left = find_command(words[: words.index(">")] if ">" in words else words)
    helped = {"--help", "-h"}
    named = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | helped
    for word in left:
        option = word.partition("=")[0]
        if word.startswith("-") and option not in named:
            pytest.fail(f"{shlex.join(words)}: no option {option}")
    if hasattr(command, "commands"):
        if left and not left[0].startswith("-"):
            pytest.fail(f"{shlex.join(words)}: no command {left[0]}")
    elif left and not helped & set(left):
        try:
            command.make_context(" ".join(words), list(left))  # parses, runs nothing
        except Exception as error:
            pytest.fail(f"{shlex.join(words)}: {error}")


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_commands_exist(path: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in shell_lines(path):
        if words[0] == "vigil":
            check_line(words)
        elif words[0] == "make":
            assert words[1] in targets, words
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file(), words


@pytest.mark.parametrize(
    "line",
    ["vigil fly", "vigil data fly", "vigil fit nearest a.mp4 --fast", "vigil score only_a_model",
     "vigil demo --scale much"],
)  # fmt: skip
def test_a_wrong_line_is_noticed(line: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=line):
        check_line(line.split())


def test_every_option_is_described() -> None:
    """Each command has a section in docs/commands.md that names each of its options."""
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    top, *rest = re.split(r"^## ", page, flags=re.MULTILINE)
    sections = {part.partition("\n")[0].strip(): part for part in rest}
    sections["vigil"] = top
    for name, command in all_commands():
        if hasattr(command, "commands") and name != "vigil":
            continue
        assert name in sections, f"docs/commands.md has no section {name!r}"
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--"):
                    assert option in sections[name], f"{name}: {option} is not described"
    assert "`--help`" in top and "`-h`" in top
    gone = set(sections) - {name for name, _ in all_commands()}
    assert not gone, f"described, but gone: {gone}"


def test_every_described_option_exists() -> None:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    known = {o for _, command in all_commands() for p in command.params for o in p.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page)) <= known | {"--help"}


def test_every_key_of_a_fit_is_described() -> None:
    from vigil.config import FitConfig

    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    missing = [key for key in FitConfig.__dataclass_fields__ if f"`{key}`" not in page]
    assert not missing, missing


# -- links, versions, leftovers ------------------------------------------------------------------
def anchors(path: Path) -> set[str]:
    """The names of a page's headings, as links write them."""
    titles = re.findall(r"^#+ (.+)$", without_blocks(path), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {title.strip().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(path)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = (path.parent / name).resolve() if name else path
        assert other.exists(), f"{name_of(path)}: {target} is not there"
        if anchor:
            assert anchor in anchors(other), f"{name_of(path)}: {target} has no such heading"


def test_versions_agree() -> None:
    import vigil

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    fixed = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    for package, version in re.findall(r"\b(torch|torchvision)==(\S+)", readme):
        assert fixed[package] == version, f"README fixes {package}=={version}"
    cite = (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^version: {re.escape(vigil.__version__)}$", cite, re.MULTILINE)
    assert f"## {vigil.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"license: {project['license']}" in cite and cite.startswith("cff-version: 1.2.0\n")
    for key in ("message", "title", "authors"):  # what the format demands
        assert re.search(rf"^{key}:", cite, re.MULTILINE), key


def own_files() -> Iterator[Path]:
    """Text files that belong to the project: nothing hidden but CI, nothing built or generated."""
    passed = {".git", ".venv", "runs", "data", "dist", "build", "__pycache__"}
    for top in sorted(ROOT.iterdir()):
        hidden = top.name.startswith(".") and top.name not in (".ci", ".pre-commit-config.yaml")
        if hidden or top.name in passed or top.name.endswith(".egg-info"):
            continue
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def test_no_file_names_a_place_of_one_machine() -> None:
    machine = re.compile(rb"/(?:" + b"|".join([b"work/", b"tmp/" + b"venv", b"root/"]) + b")")
    count = 0
    for path in own_files():
        data = path.read_bytes()
        found = machine.search(data) if b"\0" not in data[:4096] else None
        assert not found, f"{path.relative_to(ROOT)}: {found and found[0]!r}"
        count += 1
    assert count > 100
