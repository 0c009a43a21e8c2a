"""mama further ahead, folded, as a change, with a doubt; and its pictures in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moving_square
from mama_parts import SMALL, batch

from vigil import pipeline
from vigil.data.base import Split
from vigil.errors import ConfigError
from vigil.methods import _mama_losses as losses
from vigil.methods import _mama_nets as nets
from vigil.methods.mama import Mama

DOUBTFUL = {**SMALL, "adversarial": 0.0, "fold": 2, "ahead": 3, "change": True, "doubt": True}


def test_it_predicts_the_last_frame_of_the_window() -> None:
    method = Mama(**{**DOUBTFUL, "area": 0.25})
    window = method.windows["clip"]
    assert (window.length, window.answered, window.lookahead) == (7, (6, 7), 0)
    x = {"clip": torch.randint(0, 256, (2, 7, 3, 32, 32)).to(torch.uint8)}
    past, target = method.clip(x)
    assert torch.equal(target, x["clip"][:, 6] / 127.5 - 1)
    assert torch.equal(past[:, 9:], x["clip"][:, 3] / 127.5 - 1)
    assert method.channels["clip"] == ("error", "place", "excess", "excess_place")
    with torch.no_grad():
        found, frame, _ = method.eval().measured(x)
    assert torch.equal(frame, past[:, 9:])  # untrained, nothing changes
    assert tuple(found) == method.channels["clip"]
    assert all(value.shape == (2,) and value.isfinite().all() for value in found.values())


def test_fold_must_divide_the_size() -> None:
    with pytest.raises(ConfigError, match="size 32 is no multiple of fold 3"):
        Mama(**{**SMALL, "fold": 3})


@pytest.mark.parametrize("kind", [nets.UNet, nets.F2LM])
def test_folded_networks_give_pictures_of_full_size(kind) -> None:  # type: ignore[no-untyped-def]
    with torch.no_grad():
        found = kind(12, 4, 2, True, True).eval()(torch.rand(2, 12, 48, 32) * 2 - 1)
    assert found["frame"].shape == (2, 3, 48, 32) and found["doubt"].shape == (2, 1, 48, 32)
    assert float(found["frame"].abs().max()) <= 1
    assert float(found["doubt"].min()) >= np.log(nets.QUIET)


def test_doubt_is_least_at_the_error_itself_and_teaches_nothing_else() -> None:
    error = torch.full((1, 1, 4, 4), 0.02)
    costs = [float(losses.doubt(error, torch.full_like(error, s))) for s in (-5, np.log(0.02), -3)]
    assert costs[1] == pytest.approx(1 + np.log(0.02)) and costs[1] < min(costs[0], costs[2])
    assert float(losses.excess(error, error.log()).mean()) == pytest.approx(1)
    method = Mama(**DOUBTFUL).train()
    x = {"clip": torch.randint(0, 256, (2, 7, 3, 32, 32)).to(torch.uint8)}
    method.loss(type(batch())(x=x))["doubt"].backward()  # type: ignore[no-untyped-call]
    moved = {name for name, w in method.generator.named_parameters() if w.grad is not None}
    assert moved and all(name.startswith("doubt.") for name in moved)
    assert "doubt" not in method.eval().loss(type(batch())(x=x))  # validation looks past it


def test_an_unexpected_error_is_an_excess() -> None:
    """Where errors are usual, one is less of a surprise than where there are none."""
    method = Mama(**{**DOUBTFUL, "area": 0.25})
    frame, true = torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 32, 32)
    true[0, :, :8, :8] = true[1, :, 24:, 24:] = 0.5
    usual = torch.full((2, 1, 32, 32), float(np.log(1e-4)))
    usual[:, :, :12, :12] = np.log(0.0625)
    found = method.error(frame, true, usual)
    assert torch.equal(found["error"][:1], found["error"][1:])
    assert float(found["excess_place"][1]) > float(found["excess_place"][0]) + 20  # decibels


def test_pictures_for_a_tracker() -> None:
    method = Mama(**DOUBTFUL).eval()
    x = {"clip": torch.randint(0, 256, (2, 7, 3, 32, 32)).to(torch.uint8)}
    with torch.no_grad():
        found = method.pictures(type(batch())(x=x))["samples"]
    assert found.shape == (1, 64, 96, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found[0, 32:, :32], x["clip"][1, 6].permute(1, 2, 0).numpy())


def test_tensorboard_holds_samples_and_psnr(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    videos = [moving_square(f"v{n}", 16, seed=n) for n in range(4)]
    method = pipeline.method("mama", seed=1, **SMALL)
    pipeline.fit(method, Split(tuple(videos[:3])), videos[3:], tmp_path / "run", steps=2, batch=2,
                 val_every=1, device="cpu", engine="torch", track="tensorboard")  # fmt: skip
    held = events.EventAccumulator(str(tmp_path / "run" / "vigil"), {"images": 0, "scalars": 0})
    held.Reload()
    assert "psnr" in held.Tags()["scalars"]
    tags = [tag for tag in held.Tags()["images"] if tag.startswith("samples")]
    assert tags and [image.step for image in held.Images(tags[0])] == [0, 1]
    assert (held.Images(tags[0])[0].width, held.Images(tags[0])[0].height) == (96, 64)
