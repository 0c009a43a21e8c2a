"""Detectors: literal decoding, a tiny ONNX network, hostile files, NanoDet on real people, and the
numbers of torchvision itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vigil.data.ucsd import open_ped2
from vigil.errors import ConfigError, InputError, ModelError, VigilError
from vigil.features.boxes import overlap
from vigil.features.decode import Found, decode, suppress
from vigil.features.detector_spec import SPECS, Spec, read_spec, spec_of
from vigil.features.detectors import (
    FCOS,
    FasterRCNN,
    OnnxDetector,
    RetinaNet,
    SSDLite,
    TorchvisionDetector,
    prepare,
)
from vigil.features.local_net import EachFrame
from vigil.records import Frame, Video

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
import fill

SPEC = """
model = "tiny.onnx"
classes = ["bright"]
score = 0.6
[input]
size = [32, 32]
std = [255, 255, 255]
[output]
kind = "gfl"
scores = ["s8"]
boxes = ["b8"]
strides = [8]
"""


def nothing(short_side: int | None) -> Iterator[Frame]:
    return iter(())


def spec(**keys: object) -> Spec:
    """A spec with one change or more."""
    base = {
        "classes": ["a", "b"],
        "input": {"size": [32, 32]},
        "output": {"kind": "boxes", "boxes": ["b"], "scores": ["s"]},
        "score": 0.5,
    }
    return spec_of({**base, **keys}, "spec.toml")


def tiny(folder: Path, elements: int = 1) -> Path:
    """tiny.onnx and tiny.toml: a cell of 8 pixels scores its brightness; every box reaches one
    stride (8 pixels) from the middle of its cell to each side."""
    onnx = pytest.importorskip("onnx", reason="the package onnx makes the network of this test")
    make, numbers = onnx.helper, onnx.numpy_helper
    logits = np.zeros((16, 4, 4), np.float32)
    logits[:, :, 1] = 60
    graph = make.make_graph(
        [
            make.make_node("Cast", ["image"], ["float"], to=1),
            make.make_node("ReduceMean", ["float", "one"], ["grey"], keepdims=1),
            make.make_node("AveragePool", ["grey"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
            make.make_node("Reshape", ["cells", "column"], ["s8"]),
            make.make_node("Identity", ["logits"], ["b8"]),
        ],
        "tiny",
        [make.make_tensor_value_info("image", elements, [1, 3, 32, 32])],
        [make.make_tensor_value_info(n, 1, s) for n, s in (("s8", [16, 1]), ("b8", [16, 16]))],
        [
            numbers.from_array(np.array([1]), "one"),
            numbers.from_array(np.array([16, 1]), "column"),
            numbers.from_array(logits.reshape(16, 16), "logits"),
        ],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    (folder / "tiny.onnx").write_bytes(model.SerializeToString())
    (folder / "tiny.toml").write_text(SPEC)
    return folder / "tiny.onnx"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime", reason="runs ONNX networks")
    return tiny(tmp_path)


def block() -> np.ndarray:
    """Black, (64, 64, 3), with a white cell: row 2, column 1 of the network's 4 x 4."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[32:48, 16:32] = 255
    return image


def boxes_of(detector: OnnxDetector, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return detector.start(Video("v", "test", 10.0, size, nothing), 10.0).see(Frame(image, 0.0), 0)


# -- the tiny network ------------------------------------------------------------------------
def test_onnx_boxes_in_pixels_of_the_video(model: Path) -> None:
    # cell (2, 1): middle (12, 20), 8 pixels to each side, in the 32 x 32 that the network sees
    for detector in (OnnxDetector(model), OnnxDetector(model.with_suffix(".toml"))):
        found = boxes_of(detector, block(), (64, 64))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, [[8, 24, 40, 56]], atol=1e-4)
        np.testing.assert_allclose(
            boxes_of(detector, block(), (128, 192)), [[24, 48, 120, 112]], atol=1e-3
        )
    assert boxes_of(detector, np.zeros((64, 64, 3), np.uint8), (64, 64)).shape == (0, 4)


def test_a_frame_that_stands_for_several_ticks_is_looked_at_once() -> None:
    looked: list[int] = []
    tracker = EachFrame(lambda image: np.array([looked.append(1), len(looked)][1:]))
    one, two = (Frame(np.zeros((4, 4, 3), np.uint8), t) for t in (0.0, 0.1))
    assert [int(tracker.see(f, n)[0]) for n, f in enumerate((one, one, two, one))] == [1, 1, 2, 3]


def test_onnx_detector_is_saved_whole(model: Path) -> None:
    one, two = OnnxDetector(model), OnnxDetector("gone/elsewhere.onnx")
    state = one.tensors()
    told = one.describe()
    model.unlink()
    model.with_suffix(".toml").unlink()
    two.set_tensors({key: value.clone() for key, value in state.items()})
    np.testing.assert_array_equal(
        boxes_of(one, block(), (64, 64)), boxes_of(two, block(), (64, 64))
    )
    assert two.describe() == told
    assert told["name"] == "onnx" and told["score"] == 0.6 and len(told["model"]) == 64


def test_openvino_gives_the_same(model: Path) -> None:
    pytest.importorskip("openvino", reason="the other engine that runs ONNX networks")
    from vigil.features.onnx_net import open_onnx, with_openvino

    x = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    one, two = (f(model.read_bytes(), "x", 1) for f in (open_onnx, with_openvino))
    assert one.inputs == two.inputs
    wanted, found = one.run("image", x), two.run("image", x)
    assert list(wanted) == ["s8", "b8"]
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)
    with pytest.raises(ModelError, match=r"bad\.onnx: not an ONNX network"):
        with_openvino(b"\x08\x09 damaged", "bad.onnx", 1)


@pytest.mark.parametrize("cut", [0, 1, 100, -40], ids=str)
def test_damaged_onnx_is_told_by_name(model: Path, cut: int) -> None:
    model.write_bytes(model.read_bytes()[:cut])
    with pytest.raises(VigilError, match=r"tiny\.onnx"):
        OnnxDetector(model).fit([])


def test_text_missing_and_foreign_models(model: Path, tmp_path: Path) -> None:
    model.write_text("<html>404</html>")
    with pytest.raises(ModelError, match=r"tiny\.onnx.*not an ONNX network"):
        OnnxDetector(model).fit([])
    with pytest.raises(InputError, match=r"gone\.onnx: No such file"):
        OnnxDetector(tmp_path / "gone.onnx", model.with_suffix(".toml")).fit([])
    with pytest.raises(ConfigError, match=r"gone\.onnx: no spec.*shipped: nanodet"):
        OnnxDetector(tmp_path / "gone.onnx").fit([])
    with pytest.raises(ConfigError, match="onnx:FILE"):
        OnnxDetector().fit([])
    with pytest.raises(ModelError, match="'image' is tensor.int64"):
        OnnxDetector(tiny(tmp_path, 7)).fit([])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("score = 0.6", "scor = 0.6", r"tiny\.toml: unknown key 'scor'; did you mean 'score'"),
        ("score = 0.6", "score = 6", r"tiny\.toml: key 'score': .*found 6"),
        ("score = 0.6", "score = ", r"tiny\.toml: not valid TOML"),
        ("[32, 32]", "[1000000, 32]", r"key 'input\.size\.0'"),
        ("[32, 32]", "[64, 32]", r"tiny\.toml.*input\.size.*\(1, 3, 64, 32\).*\(1, 3, 32, 32\)"),
        ("size =", "name = 'x'\nsize =", r"input\.name: 'x'; the model's inputs are image"),
        ("std = [255, 255, 255]", "std = [0, 1, 1]", r"key 'input\.std\.0'"),
        ("std = [255, 255, 255]", "std = [1, 1, nan]", r"key 'input\.std\.2'"),
        ("std", "layout = 'nhwc'\nstd", r"input\.layout.*\(1, 32, 32, 3\)"),
        ("std", "colours = 'bgr'\nstd", r"key 'input\.colours'"),
        ('"gfl"', '"gpl"', r"key 'output\.kind'"),
        ('["s8"]', '["s9"]', r"output\.scores: no output 's9'; the model has s8, b8"),
        ('["s8"]', '["b8"]', r"output\.scores: 'b8' is float32 \(16, 16\); expected.*\(16, 1\)"),
        ('["b8"]', '["s8"]', r"output\.boxes: 's8' has 1 columns; expected 4 x bins"),
        ("[8]", "[8, 16]", r"as many of each"),
        ("[8]", "[16]", r"output\.scores: 's8' is float32 \(16, 1\).*\(4, 1\)"),
        ('["bright"]', '["bright", "dark"]', r"output\.scores.*\(16, 2\)"),
        ('["bright"]', '["bright"]\nkeep = ["brigth"]', r"keep: 'brigth' is none of the 1"),
        ('model = "tiny.onnx"', "", r"tiny\.toml: key 'model' is missing"),
    ],
)  # fmt: skip
def test_wrong_specs_name_file_and_key(model: Path, old: str, new: str, told: str) -> None:
    assert old in SPEC
    path = model.with_suffix(".toml")
    path.write_text(SPEC.replace(old, new))
    with pytest.raises(VigilError, match=told) as caught:
        OnnxDetector(path).fit([])
    assert "tiny.toml" in str(caught.value)


# -- decoding, by hand -----------------------------------------------------------------------
def test_boxes_with_scores_a_class() -> None:
    outputs = {
        "b": np.array([[[0, 0, 10, 10], [20, 20, 30, 30], [1, 1, 9, 9.0]]], np.float32),
        "s": np.array([[[0.9, 0.1], [0.2, 0.4], [0.1, 0.7]]], np.float32),
    }
    found = decode(spec(), outputs, "m")
    assert found.boxes.tolist() == [[0, 0, 10, 10], [1, 1, 9, 9]]
    assert found.labels.tolist() == [0, 1]
    assert decode(spec(keep=["b"]), outputs, "m").labels.tolist() == [1]
    assert decode(spec(most=1), outputs, "m").labels.tolist() == [0]


def test_boxes_with_labels_and_fractions() -> None:
    output = {
        "kind": "boxes", "boxes": ["b"], "scores": ["s"], "labels": "l", "form": "xywh",
        "unit": "fraction", "sigmoid": True,
    }  # fmt: skip
    outputs = {
        "b": np.array([[0.25, 0.5, 0.5, 0.25], [0, 0, 1, 1]], np.float32),
        "s": np.array([2.0, -2.0], np.float32),
        "l": np.array([1, 0]),
    }
    found = decode(spec(output=output), outputs, "m")
    assert found.boxes.tolist() == [[8, 16, 24, 24]] and found.labels.tolist() == [1]
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-2))], rtol=1e-6)
    outputs["l"] = np.array([2, 0])
    with pytest.raises(ModelError, match=r"m: output\.labels: 'l' has labels 0\.\.2; expected 0"):
        decode(spec(output=output), outputs, "m")


def test_yolo_rows_transposed_and_with_objectness() -> None:
    rows = np.array([[16, 16, 8, 4, 0.9, 0.2], [5, 5, 2, 2, 0.4, 0.45]], np.float32)
    output = {"kind": "yolo", "boxes": ["y"], "transposed": True}
    found = decode(spec(output=output), {"y": rows.T[None]}, "m")
    assert found.boxes.tolist() == [[12, 14, 20, 18]] and found.labels.tolist() == [0]
    rows = np.array([[16, 16, 8, 4, 0.8, 0.2, 0.9], [5, 5, 2, 2, 0.5, 0.9, 0.1]], np.float32)
    found = decode(
        spec(output={"kind": "yolo", "boxes": ["y"], "objectness": True}), {"y": rows}, "m"
    )
    np.testing.assert_allclose(found.scores, [0.72], rtol=1e-6)
    assert found.labels.tolist() == [1]


def test_yolo_cells() -> None:
    # strides 16 and 32 over 32 x 32: cells (0,0) (0,1) (1,0) (1,1), then the whole picture
    rows = np.zeros((1, 5, 7), np.float32)
    rows[0, 2] = [0.25, 0.5, np.log(0.5), 0, 1, 0.9, 0]  # x = (0.25 + 0) 16, y = (0.5 + 1) 16
    rows[0, 4] = [0.5, 0.5, 0, np.log(0.25), 1, 0, 0.8]
    rows[0, 0] = [0, 0, 900, 0, 1, 1, 0]  # e^900 is no size: dropped
    output = {"kind": "yolo", "boxes": ["y"], "objectness": True, "strides": [16, 32]}
    found = decode(spec(output=output), {"y": rows}, "m")
    np.testing.assert_allclose(found.boxes, [[0, 16, 8, 32], [0, 12, 32, 20]], atol=1e-5)
    with pytest.raises(ModelError, match=r"output\.boxes: 'y' is float32 \(1, 4, 7\).*\(5, 7\)"):
        decode(spec(output=output), {"y": rows[:, :4]}, "m")


def test_gfl_takes_the_mean_of_each_distribution() -> None:
    scores = np.zeros((4, 2), np.float32)
    scores[3, 1] = 0.8  # cell (1, 1) of stride 16: middle (24, 24)
    sides = np.zeros((4, 4, 3), np.float32)
    sides[3] = [[99, 0, 0], [0, 99, 0], [0, 99, 99], [0, 0, 0]]  # means 0, 1, 1.5, 1
    output = {"kind": "gfl", "scores": ["s"], "boxes": ["b"], "strides": [16]}
    found = decode(spec(output=output), {"s": scores, "b": sides.reshape(4, 12)}, "m")
    np.testing.assert_allclose(found.boxes, [[24, 8, 48, 40]], atol=1e-5)
    assert found.labels.tolist() == [1]
    scores[0, 0] = np.nan
    with pytest.raises(ModelError, match=r"m: output\.scores: 's' has values that are not finite"):
        decode(spec(output=output), {"s": scores, "b": sides.reshape(4, 12)}, "m")


def test_suppression_is_the_greedy_rule() -> None:
    """Literal: the surest box stays, those of its class that overlap it by more go, and so on."""
    random = np.random.default_rng(0)
    corner = random.uniform(0, 50, (200, 2))
    boxes = np.concatenate([corner, corner + random.uniform(5, 30, (200, 2))], 1).astype(np.float32)
    scores = random.permutation(200).astype(np.float32) / 200
    labels = random.integers(0, 3, 200)
    shared, left = overlap(boxes, boxes), list(np.argsort(-scores))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [n for n in left if labels[n] != labels[best] or shared[n, best] <= 0.4]
    found = suppress(Found(boxes, scores, labels), 0.4, 1000)
    np.testing.assert_array_equal(found.scores, scores[kept])
    np.testing.assert_array_equal(found.boxes, boxes[kept])
    assert 10 < len(kept) < 150
    assert len(suppress(Found(boxes, scores, labels), 1.0, 1000).boxes) == 200


def test_letterbox_and_colour() -> None:
    image = np.zeros((20, 40, 3), np.uint8)
    image[..., 0] = 200  # red
    keys = {"size": [32, 32], "colour": "bgr", "pad": 7, "mean": [0, 0, 100], "std": [1, 1, 2]}
    for fit, top in (("letterbox", 8), ("corner", 0)):
        x, scale, shift = prepare(image, spec(input={**keys, "fit": fit}).input)
        assert x.shape == (1, 3, 32, 32) and x.dtype == np.float32
        assert (scale.tolist(), shift.tolist()) == ([0.8, 0.8], [0, top])
        assert (x[0, 2, top : top + 16] == 50).all() and (x[0, :2, top : top + 16] == 0).all()
        assert x[0, 0].sum() == 7 * 16 * 32 and x[0, 2, -1, 0] == (7 - 100) / 2
    x, scale, _ = prepare(image, spec(input={**keys, "layout": "nhwc"}).input)
    assert x.shape == (1, 32, 32, 3) and scale.tolist() == [0.8, 1.6]


# -- NanoDet on real people ------------------------------------------------------------------
def test_nanodet_finds_the_people_of_ped2(real_data: Path) -> None:
    """18 frames of three clips: of the boxes of YOLOv3, 0.77 are found (IoU > 0.5)."""
    pytest.importorskip("onnxruntime", reason="runs ONNX networks")
    weights = real_data / "weights" / "nanodet.onnx"
    if not weights.is_file() or not (real_data / "ped2").is_dir():
        pytest.skip(f"real data not at hand: {weights} or ped2/ is missing")
    detector, hits, given_count, found_count = OnnxDetector(weights), 0, 0, 0
    for video in list(open_ped2(real_data / "ped2").test)[:3]:
        given = video.given["objects"]()
        tracker = detector.start(video, video.fps)
        for index, frame in enumerate(video.frames()):
            if index % 30 == 0:
                found = tracker.see(frame, index).astype(np.float64)
                hits += int((overlap(given[index][:, :4], found).max(1, initial=0) > 0.5).sum())
                given_count, found_count = given_count + len(given[index]), found_count + len(found)
    assert given_count == 300 and found_count < 1.2 * given_count
    assert hits / given_count > 0.75


def test_shipped_specs_are_sound() -> None:
    assert len(read_spec(SPECS / "nanodet.toml").classes) == 80
    for path in SPECS.glob("*.toml"):
        read_spec(path)


# -- torchvision -----------------------------------------------------------------------------
def formula(detector: TorchvisionDetector) -> dict[str, torch.Tensor]:
    """A state dict as published, made by formula."""
    made = fill.state_like(detector.build().state_dict())
    return {key: torch.from_numpy(value) for key, value in made.items()}


def of_library(kind: type[TorchvisionDetector], home: Path) -> tuple[torch.nn.Module, Path]:
    """The network as the library builds it for its published weights, and their file, which it
    finds where it would have put a download."""
    from torchvision.models import get_model, get_model_weights

    published = next(iter(get_model_weights(kind().builder)))
    file = home / "hub" / "checkpoints" / published.url.rsplit("/", 1)[1]
    file.parent.mkdir(parents=True)
    torch.save(formula(kind()), file)
    return get_model(kind().builder, weights=published, progress=False).eval(), file


def test_torchvision_equals_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    library, file = of_library(SSDLite, tmp_path)
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    image[20:50, 10:40] = 220
    with torch.inference_mode():
        (want,) = library([torch.from_numpy(image).permute(2, 0, 1) / 255])
    found = SSDLite(file, score=0.0, most=1000).look(image)
    assert len(found.boxes) > 20
    for got, key in zip(found, ("boxes", "scores", "labels"), strict=True):
        np.testing.assert_array_equal(got, want[key].numpy())


def test_frozen_norms_are_those_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same parts with the same eps and sizes, in words, and the same weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    library, file = of_library(FasterRCNN, tmp_path)
    own = FasterRCNN(file).ready()
    assert repr(own) == repr(library) and "FrozenBatchNorm2d(64, eps=0.0)" in repr(own)
    for key, value in library.state_dict().items():
        assert torch.equal(value, own.state_dict()[key]), key


def test_torchvision_settings_and_saving(tmp_path: Path) -> None:
    save_file(formula(SSDLite()), tmp_path / "w.safetensors")
    (tmp_path / "d.toml").write_text('weights = "w.safetensors"\nscore = 0.0\nmost = 7\n')
    one, two = SSDLite(tmp_path / "d.toml"), SSDLite("gone.pth")
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    found = one.look(image)
    assert len(found.boxes) == 7 and (np.diff(found.scores) <= 0).all()
    two.set_tensors({key: value.clone() for key, value in one.tensors().items()})
    for a, b in zip(found, two.look(image), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.describe() == two.describe() and one.describe()["most"] == 7
    label = one.categories()[found.labels[0]]
    kept = SSDLite(tmp_path / "d.toml", keep=[label]).look(image)
    assert set(kept.labels) == {found.labels[0]}
    assert boxes_of(one, image, (120, 160)).dtype == np.float32


def test_torchvision_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no weights given.*ssdlite320-.*:FILE"):
        SSDLite().fit([])
    with pytest.raises(ConfigError, match="unknown key 'scores'; did you mean 'score'"):
        SSDLite("w.pth", scores=0.5)
    with pytest.raises(InputError, match=r"w\.pth"):
        SSDLite("w.pth").fit([])
    save_file({"a": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"w\.safetensors: .*missing.*1 unknown \(a\)"):
        SSDLite(tmp_path / "w.safetensors").fit([])
    with pytest.raises(ConfigError, match="unknown class 'peson'; did you mean 'person'"):
        SSDLite(tmp_path / "w.safetensors", keep=["peson"]).fit([])
    with pytest.raises(ConfigError, match="key 'device': 'tpu9'"):
        SSDLite(device="tpu9").adopt(SSDLite().build().state_dict(), "x")
    (tmp_path / "d.toml").write_text("weights = 3")
    with pytest.raises(ConfigError, match=r"d\.toml: key 'weights': found 3"):
        SSDLite(tmp_path / "d.toml").fit([])
    (tmp_path / "d.toml").write_text('weights = "w.safetensors"\nmots = 3')
    with pytest.raises(ConfigError, match=r"d\.toml: unknown key 'mots'; did you mean 'most'"):
        SSDLite(tmp_path / "d.toml").fit([])
    with pytest.raises(ModelError, match="holds no weights"):
        SSDLite().set_tensors({})


@pytest.mark.parametrize("kind", [FasterRCNN, RetinaNet, FCOS])
def test_keys_of_old_files_are_mapped(kind: type[TorchvisionDetector]) -> None:
    """Files of 2019-2021 name some layers otherwise; the library maps them in the same way."""
    with torch.device("meta"):
        keys = list(kind().build().state_dict())
    old = {}
    for key in keys:
        named = key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for block in ("inner_blocks", "layer_blocks"):
            for n in range(3):
                named = named.replace(f"{block}.{n}.0.", f"{block}.{n}.")
        if kind is RetinaNet:
            for n in range(4):
                named = named.replace(f"_head.conv.{n}.0.", f"_head.conv.{2 * n}.")
        old[named] = torch.zeros(1)
    assert set(old) != set(keys) and len(old) == len(keys)
    assert set(kind().own_keys(old)) == set(keys)
    assert set(kind().own_keys(dict.fromkeys(keys, torch.zeros(1)))) == set(keys)
