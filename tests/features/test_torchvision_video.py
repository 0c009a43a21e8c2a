"""torchvision's video networks: prepared, built and loaded as the library itself does."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import video
from torchvision.transforms.functional import resize, ten_crop

from vigil import plugins
from vigil.errors import ConfigError, ModelError
from vigil.features.torchvision_video import TorchvisionVideo
from vigil.features.weights import read_weights

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
import clips

NAMES = ["r3d-18", "mc3-18", "r2plus1d-18", "s3d", "swin3d-t", "swin3d-s", "swin3d-b", "mvit-v2-s"]
PRESETS = {
    "r3d-18": video.R3D_18_Weights, "mc3-18": video.MC3_18_Weights,
    "r2plus1d-18": video.R2Plus1D_18_Weights, "s3d": video.S3D_Weights,
    "swin3d-t": video.Swin3D_T_Weights, "swin3d-s": video.Swin3D_S_Weights,
    "swin3d-b": video.Swin3D_B_Weights, "mvit-v2-s": video.MViT_V2_S_Weights,
}  # fmt: skip
DIMS = dict(zip(NAMES, (512, 512, 512, 1024, 768, 768, 1024, 768), strict=True))
# (T, H, W) to run a net on: its own, but Swin's, which takes any and is slow
SHAPES = {f"swin3d-{size}": (8, 64, 96) for size in "tsb"}


def backbone(name: str, crops: int = 1) -> TorchvisionVideo:
    return plugins.find("backbones", name)(crops=crops)


def library_net(name: str) -> nn.Module:
    """The whole network of the library with seeded weights, and statistics that are not 0 and 1."""
    torch.manual_seed(1)
    net = getattr(video, backbone(name).builder)(weights=None).eval()
    for key, buffer in net.named_buffers():
        if key.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif key.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return net


def before_head(net: nn.Module, head: str, x: Tensor) -> Tensor:
    """What the head of the library's own network is given for `x`: (N, D)."""
    seen: list[Tensor] = []
    part = getattr(net, head)
    part.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].flatten(1)))
    with torch.no_grad():
        net(x)
    return seen[0]


def small_clip(name: str) -> Tensor:
    """Golden clip 0 prepared by the backbone, cut to what the test can afford: (1, 3, T, H, W)."""
    own = backbone(name)
    count, height, width = SHAPES.get(name, (own.frames, *own.size))
    made = [own.frame(image)[0] for image in clips.clip(1, 0, count)]
    return torch.from_numpy(np.stack(made, 1))[None, :, :, :height, :width]


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_those_of_the_library_preset_to_the_bit(name: str) -> None:
    preset, own = PRESETS[name].DEFAULT.transforms(), backbone(name)
    for index in range(3):
        clip = clips.clip(1, index, 2)  # (2, H, W, 3)
        expected = preset(torch.from_numpy(clip).permute(0, 3, 1, 2).contiguous())
        made = np.stack([own.frame(image) for image in clip], 2)  # (1, 3, 2, h, w)
        assert made.dtype == np.float32 and made.flags.c_contiguous
        np.testing.assert_array_equal(made[0], expected.numpy())  # difference 0


@pytest.mark.parametrize("name", ["r3d-18", "swin3d-t"])
def test_crops_are_those_of_the_library(name: str) -> None:
    preset, image = PRESETS[name].DEFAULT.transforms(), clips.clip(1, 2, 1)[0]
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    cut = torch.stack(
        ten_crop(resize(pixels, preset.resize_size, antialias=False), [*preset.crop_size])
    )
    mean, std = (torch.tensor(c)[:, None, None] for c in (preset.mean, preset.std))
    expected = ((cut / 255 - mean) / std).numpy()  # (10, 3, h, w)
    np.testing.assert_array_equal(backbone(name, crops=10).frame(image), expected)
    np.testing.assert_array_equal(backbone(name, crops=5).frame(image), expected[:5])
    np.testing.assert_array_equal(backbone(name, crops=1).frame(image), expected[4:5])


def test_other_crops_are_refused() -> None:
    with pytest.raises(ConfigError, match="r3d-18: 3 crops; it can make 1, 5, 10"):
        backbone("r3d-18", crops=3)


@pytest.mark.parametrize("name", NAMES)
def test_facts_agree_with_the_weights_card(name: str) -> None:
    own, card = backbone(name), PRESETS[name].DEFAULT
    assert own.name == name and own.dim == DIMS[name] and own.checked == "library"
    for weight in PRESETS[name]:
        assert weight.url.rpartition("/")[2] in own.weights
    assert own.frames >= card.meta.get("min_temporal_size", 1)
    length = {"s3d": 128}.get(name, own.frames)  # S3D: our choice, see its docstring
    assert f"clip_len={length}" in card.meta["_docs"].replace("`", "")


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_dimension_fit_without_weights(name: str) -> None:
    own = backbone(name)
    with torch.device("meta"):
        whole, net = getattr(video, own.builder)(weights=None), own.build().eval()
        row = net(torch.empty(2, 3, own.frames, *own.size))
    assert row.shape == (2, own.dim)
    expected = {key: value.shape for key, value in net.state_dict().items()}
    given = {key: value.shape for key, value in own.own_keys(whole.state_dict()).items()}
    assert given == expected and len(given) == len(whole.state_dict()) - 2


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_before_the_library_head(name: str, tmp_path: Path) -> None:
    own, library, x = backbone(name), library_net(name), small_clip(name)
    file = tmp_path / "published.pth"
    torch.save(library.state_dict(), file)
    net = own.network(read_weights(file))
    file.unlink()  # some have more than 100 MB
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    expected, row = before_head(library, own.head, x), net(x)
    assert row.shape == (1, own.dim) and expected.abs().max() > 1e-3
    # measured: 0 for all but S3D, whose mean comes without its pool (2.4e-7 of the largest)
    tolerance = 1e-6 * float(expected.abs().max())
    torch.testing.assert_close(row, expected, rtol=0, atol=tolerance)
    half = net.to(torch.bfloat16)(x.bfloat16()).float()
    assert (half - row).norm() / row.norm() < 0.02  # measured: 0.003 (s3d) to 0.011 (mvit)


def test_weights_of_another_net_are_refused() -> None:
    state = library_net("mc3-18").state_dict()
    with pytest.raises(ModelError, match=r"do not fit r3d-18.*of another shape.*\(128, 64, 1, 3"):
        backbone("r3d-18").network(state)
    with pytest.raises(ModelError, match=r"missing \(.*conv_proj.weight.*mvit_v2_s-ae3be167"):
        backbone("mvit-v2-s").network(state)
    del state["layer1.0.conv1.0.weight"]
    with pytest.raises(ModelError, match=r"1 missing \(layer1.0.conv1.0.weight\)"):
        backbone("mc3-18").network(state)
    with pytest.raises(ModelError, match="no weights given; it reads torchvision's s3d-d76dad2f"):
        backbone("s3d").network(None)
