"""Segmentation: DeepLabv3's own logits before they are enlarged, and the proxy without weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional
from torchvision.models import get_model

from vigil.errors import ConfigError, ModelError
from vigil.features.segmentation import (
    BACKGROUND,
    THING,
    DeepLab,
    DeepLabMobile,
    DeepLabResNet50,
    DeepLabResNet101,
    ForegroundSegmentation,
    halved,
)
from vigil.records import Frame, Video

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
import fill

IMAGE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (120, 180, 3)).astype(np.uint8), (0, 0), 3
)


def weights(kind: type[DeepLab], folder: Path) -> tuple[torch.nn.Module, Path]:
    """The library's network, with its auxiliary head as published, and its file. Weights are by
    formula, large enough for the logits to depend on the picture."""
    net = get_model(
        kind.name.replace("-", "_"), weights=None, weights_backbone=None, num_classes=21,
        aux_loss=True,
    )  # fmt: skip
    made = fill.state_like(net.state_dict(), 1, 1.5 if kind is DeepLabMobile else 1.0)
    net.load_state_dict({key: torch.from_numpy(value) for key, value in made.items()})
    save_file(net.state_dict(), folder / "deeplab.safetensors")
    return net.eval(), folder / "deeplab.safetensors"


@pytest.mark.parametrize("kind", [DeepLabMobile, DeepLabResNet50])
def test_equals_the_library(kind: type[DeepLab], tmp_path: Path) -> None:
    """The library's own preset and network; its enlarged logits are ours enlarged."""
    net, file = weights(kind, tmp_path)
    x = torch.from_numpy(IMAGE).permute(2, 0, 1)[None].float()
    x = functional.interpolate(x, (kind.side, kind.side), mode="bilinear") / 255
    mean, std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    x = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        want = net(x)["out"]  # (1, 21, side, side)
    video = Video("v", "test", 10.0, (240, 360), lambda _: iter(()))
    found = kind(file).start(video, 10.0).see(Frame(IMAGE, 0.0), 0)
    assert found.shape == (21, 32, 32) and found.dtype == np.float16
    grid = torch.from_numpy(found).float()[None]
    large = functional.interpolate(grid, (kind.side, kind.side), mode="bilinear")
    most = float(want.abs().max())
    assert float(want.std((2, 3)).mean()) > 0.05 * most  # the picture is seen in it
    # float16 rounds by 2^-11 of a value
    assert float((large - want).abs().max()) < 2**-11 * most + 1e-4 * most


def test_resnet101_has_the_published_layout() -> None:
    with torch.device("meta"):
        built = DeepLabResNet101().build()
        own = get_model("deeplabv3_resnet101", weights=None, weights_backbone=None, aux_loss=True)
    assert sum(p.numel() for p in own.parameters()) == 60_996_202
    assert set(DeepLabResNet101().own_keys(own.state_dict())) == set(built.state_dict())


def test_colours_of_the_original(tmp_path: Path) -> None:
    """BGR in -1..1, as the released weights of Making Anomalies More Anomalous saw."""
    net, file = weights(DeepLabMobile, tmp_path)
    x = torch.from_numpy(IMAGE[:, :, ::-1].copy()).permute(2, 0, 1)[None].float()
    x = functional.interpolate(x, (512, 512), mode="bilinear") / 127.5 - 1
    with torch.no_grad():
        want = net.classifier(net.backbone(x)["out"])[0].numpy()
    found = DeepLabMobile(file, colours="signed-bgr").look(IMAGE).astype(np.float32)
    np.testing.assert_allclose(found, want, atol=1e-3 * np.abs(want).max())
    assert np.abs(found - DeepLabMobile(file).look(IMAGE)).max() > 0.01 * np.abs(want).max()


def test_saved_with_the_model_and_refused_when_wrong(tmp_path: Path) -> None:
    _, file = weights(DeepLabMobile, tmp_path)
    one, two = DeepLabMobile(file, colours="signed-bgr"), DeepLabMobile()
    two.set_tensors({key: value.clone() for key, value in one.tensors().items()})
    np.testing.assert_array_equal(one.look(IMAGE), two.look(IMAGE))
    assert one.describe() == two.describe() and two.describe()["colours"] == "signed-bgr"
    with pytest.raises(ModelError, match=r"deeplab\.safetensors: weights do not fit deeplabv3-res"):
        DeepLabResNet50(file).fit([])
    with pytest.raises(ConfigError, match="key 'colours'"):
        DeepLabMobile(file, colours="rgb")


def test_halved_stays_finite() -> None:
    found = halved(np.array([1e6, -1e6, 1 / 3], np.float32))
    assert found.tolist() == [65504.0, -65504.0, float(np.float16(1 / 3))]


def test_proxy_shows_where_something_moves(square: Callable[..., Video]) -> None:
    provider = ForegroundSegmentation()
    provider.fit([square("normal", 60)])
    again = ForegroundSegmentation()
    again.set_tensors(provider.tensors())
    video = square("new", 20)
    boxes = list(video.given["objects"]())
    trackers = [p.start(video, video.fps) for p in (provider, again)]
    for index, frame in enumerate(video.frames()):
        maps, same = (tracker.see(frame, index) for tracker in trackers)
        np.testing.assert_array_equal(maps, same)
        assert maps.shape == (21, 32, 32) and maps.dtype == np.float16
        np.testing.assert_allclose(maps[BACKGROUND] + maps[THING], 8, atol=0.01)
        assert not np.delete(maps, [BACKGROUND, THING], 0).any()
        x1, y1, x2, y2 = (boxes[index][0] / [2, 1.5, 2, 1.5]).round().astype(int)  # 64 x 48 video
        assert maps[THING, y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].min() > 7
        away = maps[THING].copy()
        away[y1 - 2 : y2 + 2, max(x1 - 2, 0) : x2 + 2] = 0
        assert away.max() == 0
    assert provider.describe()["name"] == "foreground-segmentation"


def test_a_share_of_a_cell_is_a_share_of_the_logit() -> None:
    def still(short_side: int | None) -> Iterator[Frame]:
        yield Frame(np.full((64, 64, 3), 100, np.uint8), 0.0)

    provider = ForegroundSegmentation()
    tracker = provider.start(Video("v", "t", 10.0, (64, 64), still), 10.0)
    mask = np.zeros((64, 64), np.uint8)
    mask[10:12, 20] = 1  # half of cell (5, 10), 2 x 2 pixels each
    maps = tracker.boxes(mask)
    assert maps[THING, 5, 10] == 4 and maps[BACKGROUND, 5, 10] == 4 and maps[THING].sum() == 4
