"""The training loop: nothing of an older run enters a new one; validation needs every kind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toys  # noqa: F401  registers the toy methods
from conftest import moving_square
from safetensors.torch import save_file

from vigil import fitting, pipeline
from vigil.records import Video

FIT = {"steps": 3, "batch": 4, "val_every": 100, "device": "cpu"}


def videos(start: int, labels: str) -> list[Video]:
    kinds = {"n": "normal", "a": "anomalous"}
    return [
        moving_square(f"v{start + n}", 30, seed=start + n, label=kinds[letter])
        for n, letter in enumerate(labels)
    ]


def test_best_weights_of_a_killed_run_are_not_taken_for_the_new_ones(tmp_path: Path) -> None:
    clean = pipeline.fit(
        pipeline.method("toy-crops"), videos(0, "nnn"), videos(9, "n"), tmp_path / "a", **FIT
    )
    stale = tmp_path / "b"
    stale.mkdir()
    save_file(
        {k: torch.zeros_like(v) for k, v in clean.method.tensors().items()},
        stale / "best.safetensors",
    )
    (stale / "metrics.jsonl").write_text('{"step": 99}\n')
    found = pipeline.fit(
        pipeline.method("toy-crops"), videos(0, "nnn"), videos(9, "n"), stale, **FIT
    )
    for key, value in clean.method.tensors().items():
        assert torch.equal(value, found.method.tensors()[key]), key
    assert len((stale / "metrics.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("toy-pair", "na", True),
        ("toy-pair", "nn", False),
        ("toy-crops", "na", True),
        ("toy-crops", "aa", False),
    ],
)
def test_validation_needs_a_video_of_every_kind(name: str, labels: str, expected: bool) -> None:
    assert fitting.drawable(pipeline.method(name), videos(0, labels)) is expected
