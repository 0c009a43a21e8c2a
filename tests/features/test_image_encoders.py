"""CLIP's towers and timm's models: the library's own numbers, through published layouts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vigil import plugins
from vigil.errors import ConfigError, InputError, ModelError
from vigil.features.backbone import Backbone
from vigil.features.weights import read_weights

open_clip = pytest.importorskip("open_clip", reason="needs the extra clip")
timm = pytest.importorskip("timm", reason="needs the extra clip")

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
import clips  # noqa: E402

CLIP = {
    "clip-vit-b-32": ("ViT-B-32-quickgelu", 512),
    "clip-vit-b-16": ("ViT-B-16-quickgelu", 512),
    "clip-vit-l-14": ("ViT-L-14-quickgelu", 768),
    "clip-vit-l-14-squash-bgr": ("ViT-L-14-quickgelu", 768),
}


def backbone(name: str) -> Backbone:
    return plugins.find("backbones", name)()


def frames(own: Backbone) -> Tensor:
    """One frame of each golden clip, prepared: (3, 3, 1, h, w)."""
    made = [own.frame(clips.clip(1, index, 1)[0])[0] for index in range(3)]
    return torch.from_numpy(np.stack(made))[:, :, None]


def through_file(own: Backbone, state: dict[str, Tensor], file: Path) -> nn.Module:
    torch.save(state, file)
    net = own.network(read_weights(file))
    file.unlink()  # some have hundreds of MB
    return net


def check_bfloat16(net: nn.Module, x: Tensor, row: Tensor, limit: float) -> None:
    half = net.to(torch.bfloat16)(x.bfloat16()).float()
    assert (half - row).norm() / row.norm() < limit


# -- CLIP ----------------------------------------------------------------------------------------
def library_clip(name: str) -> nn.Module:
    """The library's whole CLIP, seeded; weights rounded to half as OpenAI's are."""
    torch.manual_seed(1)
    net = open_clip.create_model(CLIP[name][0], pretrained=None).eval()
    return net.half().float()


@pytest.fixture(scope="module")
def clip_b32() -> nn.Module:
    return library_clip("clip-vit-b-32")


LARGE = pytest.mark.skipif("VIGIL_LARGE" not in os.environ, reason="5 GB: set VIGIL_LARGE=1")


@pytest.mark.parametrize(
    "name", ["clip-vit-b-32", "clip-vit-b-16", pytest.param("clip-vit-l-14", marks=LARGE)]
)
def test_clip_rows_are_the_library_projected_tokens(name: str, tmp_path: Path) -> None:
    own, whole = backbone(name), library_clip(name)
    state = {key: value.half() for key, value in whole.state_dict().items()}
    net = through_file(own, {**state, "input_resolution": torch.tensor(224)}, tmp_path / "w.pt")
    x = frames(own)
    with torch.no_grad():
        expected = whole.encode_image(x[:, :, 0], normalize=False)
    row = net(x)
    assert row.shape == (3, own.dim)
    torch.testing.assert_close(row, expected, rtol=0, atol=1e-6)  # measured: 0
    if name == "clip-vit-b-32":
        check_bfloat16(net, x, row, 0.02)  # measured: 0.009


def test_clip_reads_the_bare_tower_too(clip_b32: nn.Module) -> None:
    own, whole = backbone("clip-vit-b-32"), clip_b32.state_dict()
    bare = {k.removeprefix("visual."): v for k, v in whole.items() if k.startswith("visual.")}
    assert (
        own.own_keys(bare).keys() == own.own_keys(whole).keys() == own.build().state_dict().keys()
    )


@pytest.mark.parametrize("name", CLIP)
def test_clip_towers_are_built_as_the_library_builds_them(name: str) -> None:
    own, (architecture, dim) = backbone(name), CLIP[name]
    with torch.device("meta"):
        whole, net = open_clip.CLIP(**open_clip.get_model_config(architecture)), own.build().eval()
        row = net(torch.empty(2, 3, 1, 224, 224))
    assert row.shape == (2, dim) == (2, own.dim) and own.frames == 1
    expected = {key: value.shape for key, value in net.state_dict().items()}
    assert {k: v.shape for k, v in own.own_keys(whole.state_dict()).items()} == expected
    assert repr(net.image) == repr(whole.visual) and "QuickGELU" in repr(net.image)
    heads = [block.attn.num_heads for block in whole.visual.transformer.resblocks]
    assert [block.attn.num_heads for block in net.image.transformer.resblocks] == heads


def test_clip_frames_are_those_of_the_library_squashed() -> None:
    from open_clip.transform import image_transform
    from PIL import Image

    prepare = image_transform(224, is_train=False, resize_mode="squash", interpolation="bicubic")
    for index in range(3):
        image = clips.clip(1, index, 1)[0]
        expected = prepare(Image.fromarray(image))[None].numpy()
        np.testing.assert_array_equal(backbone("clip-vit-l-14").frame(image), expected)


def test_legacy_frames_are_blue_first_and_from_minus_one_to_one() -> None:
    own = backbone("clip-vit-l-14-squash-bgr")
    image = np.zeros((2, 4, 3), np.uint8)
    image[:] = 255, 51, 0
    seen = own.frame(image)
    assert seen.shape == (1, 3, 224, 224) and seen.dtype == np.float32
    np.testing.assert_allclose(seen[0].min((1, 2)), [-1, -0.6, 1], atol=1e-6)
    np.testing.assert_allclose(seen[0].max((1, 2)), [-1, -0.6, 1], atol=1e-6)
    # without antialiasing: of four rows only the middle two count, of two columns both
    image = np.random.default_rng(0).integers(0, 256, (896, 448, 3), np.uint8)
    middle = image.reshape(224, 4, 224, 2, 3)[:, 1:3].mean((1, 3)).transpose(2, 0, 1)[::-1]
    np.testing.assert_allclose(own.frame(image)[0], middle / 127.5 - 1, atol=0.51 / 127.5)
    assert own.preprocessing != backbone("clip-vit-l-14").preprocessing


def test_wrong_clip_weights_are_refused(clip_b32: nn.Module, tmp_path: Path) -> None:
    own = backbone("clip-vit-b-16")
    with pytest.raises(
        ModelError, match=r"clip-vit-b-16: 2 of another shape .*conv1.*\(768, 3, 32"
    ):
        own.network(clip_b32.state_dict())
    with pytest.raises(ModelError, match="no weights given; it reads a state dict of OpenAI's"):
        own.network(None)
    program = tmp_path / "ViT-B-32.pt"
    save_program(program)  # as OpenAI's own files are
    with pytest.raises(InputError, match="TorchScript"):
        read_weights(program)


def save_program(file: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer torch would rather have torch.export
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(file))


# -- timm ----------------------------------------------------------------------------------------
def seeded(model: str) -> nn.Module:
    torch.manual_seed(1)
    return timm.create_model(model, pretrained=False).eval()


@pytest.mark.parametrize(
    "model, dim, classifier",
    [
        ("resnet18.a1_in1k", 512, "fc."),
        ("vit_tiny_patch16_224", 192, "head."),
        ("mobilenetv3_small_100", 1024, "classifier."),  # num_features is 576
        ("levit_128s", 384, "head"),  # two classifiers, each with a norm of its own
    ],
)
def test_timm_rows_are_the_library_rows_before_the_classifier(
    model: str, dim: int, classifier: str, tmp_path: Path
) -> None:
    own, library = backbone(f"timm:{model}"), seeded(model)
    net, x = through_file(own, library.state_dict(), tmp_path / "w.pt"), frames(own)
    with torch.no_grad():
        image = x[:, :, 0]
        expected = library.forward_head(library.forward_features(image), pre_logits=True)
    row = net(x)
    assert row.shape == (3, dim) == (3, own.dim)
    torch.testing.assert_close(row, expected, rtol=0, atol=1e-6)  # measured: 0
    bare = {k: v for k, v in library.state_dict().items() if not k.startswith(classifier)}
    torch.testing.assert_close(own.network(bare)(x), row, rtol=0, atol=1e-6)
    check_bfloat16(net, x, row, 0.03)  # measured: 0.003 to 0.011


@pytest.mark.parametrize(
    "model",
    [
        "resnet18.a1_in1k",
        "inception_v4.tf_in1k",  # 299
        "hrnet_w18_small.ms_in1k",  # bilinear
        "convnext_small.fb_in22k_ft_in1k_384",  # squashed, 384
    ],
)
def test_timm_frames_are_those_of_its_own_evaluation(model: str) -> None:
    from PIL import Image

    own, image = backbone(f"timm:{model}"), clips.clip(1, 0, 1)[0]
    with torch.device("meta"):
        config = timm.data.resolve_model_data_config(seeded(model))
    prepare = timm.data.create_transform(**config)
    np.testing.assert_array_equal(own.frame(image)[0], prepare(Image.fromarray(image)).numpy())
    assert own.size == config["input_size"][1:] == own.frame(image).shape[2:]


def test_timm_tag_decides_the_preprocessing() -> None:
    one = backbone("timm:vit_base_patch16_clip_224.openai")
    other = backbone("timm:vit_base_patch16_224.augreg_in21k")
    assert one.name == "timm:vit_base_patch16_clip_224.openai"
    assert "mean 0.481455" in one.preprocessing and "mean 0.5 0.5 0.5" in other.preprocessing
    assert "vit_base_patch16_clip_224.openai" in one.weights


@pytest.mark.parametrize(
    "name, hint",
    [
        ("timm:resnet81", r"no model 'resnet81' .*did you mean .*timm:resnet18"),
        ("timm:resnet18.a1_in1l", "did you mean timm:resnet18.a1_in1k"),
        ("timm:hf-hub:somebody/something", "no model 'hf-hub:somebody/something'"),
        ("timm:local-dir:/", "no model 'local-dir:/'"),
        ("timm:", "no model ''"),
    ],
)
def test_unknown_timm_models_are_refused_with_a_near_name(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        plugins.find("backbones", name)


def test_wrong_timm_weights_are_refused() -> None:
    own = backbone("timm:resnet18.a1_in1k")
    state = seeded("resnet18").state_dict()
    with pytest.raises(ModelError, match=r"do not fit timm:resnet18.a1_in1k: 1 missing .*conv1"):
        own.network({k: v for k, v in state.items() if k != "conv1.weight"})
    with pytest.raises(ModelError, match=r"1 unknown \(image.extra\)"):
        own.network({**state, "extra": torch.zeros(1)})
    with pytest.raises(ModelError, match="no weights given"):
        own.network(None)
