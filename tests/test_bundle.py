"""A model's folder: the same model comes back, and a broken one says which file is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from footage import a_run, shelf, vigil

from vigil import bundle, run
from vigil.errors import ModelError
from vigil.video.read import open_video


def test_saved_and_loaded_it_scores_the_same(tmp_path: Path) -> None:
    model = bundle.load(shelf() / "run")
    again = bundle.load(bundle.save(model, tmp_path / "copy"))
    video = open_video(shelf() / "new.mp4")
    first, second = run.score_video(model, video), run.score_video(again, video)
    np.testing.assert_allclose(first.score, second.score, atol=1e-4)
    assert first.score.std() > 0
    assert again.method.config == model.method.config and again.name == "nearest"


def test_the_folder_holds_what_is_documented() -> None:
    folder = shelf() / "run" / "model"
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.toml", "model.safetensors", "calibration.json", "card.json"}
    card = json.loads((folder / "card.json").read_text())
    assert card["fps"] == 10 and card["size"] == [96, 128] and card["train"] == ["normal"]
    for key in ("seed", "data_hash", "licence", "cite", "vigil", "torch", "format"):
        assert key in card
    assert 'method = "nearest"' in (folder / "config.toml").read_text()


def test_regions_to_ignore_come_back_bit_for_bit(tmp_path: Path) -> None:
    model = bundle.load(shelf() / "run")
    model.ignore = np.random.default_rng(0).random((96, 128)) > 0.7
    again = bundle.load(bundle.save(model, tmp_path / "copy"))
    assert again.ignore is not None and (again.ignore == model.ignore).all()


def test_threshold_grows_as_fewer_alarms_are_borne() -> None:
    calibration = bundle.load(shelf() / "run").calibration
    assert calibration is not None
    values = [calibration.threshold(rate).value for rate in (60.0, 6.0, 0.6)]
    assert values == sorted(values) and values[0] < values[-1]
    assert calibration.threshold().value == calibration.threshold(1.0).value


def replace_text(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


def change_card(**facts: object):
    def change(folder: Path) -> None:
        card = json.loads((folder / "card.json").read_text()) | facts
        (folder / "card.json").write_text(json.dumps(card))

    return change


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def other_tensors(folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"method.none": np.zeros(3, np.float32)}, folder / "model.safetensors")


BROKEN = {
    "truncated tensors": (truncate, "not a usable model.*fit it again"),
    "no tensors": (lambda f: (f / "model.safetensors").unlink(), "not a usable model"),
    "tensors of another": (other_tensors, "not a usable model"),
    "empty tensors": (replace_text("model.safetensors", ""), "not a usable model"),
    "card no JSON": (replace_text("card.json", "{"), r"card\.json: cannot be read"),
    "card a list": (replace_text("card.json", "[]"), "found list; expected an object"),
    "no card": (lambda f: (f / "card.json").unlink(), "no model here"),
    "newer format": (change_card(format=99, vigil="9.9"), "made by Vigil 9.9.*update Vigil"),
    "format in words": (change_card(format="two"), "format 'two'; expected a number"),
    "card without fps": (change_card(fps=None), "not a usable model"),
    "facts of another kind": (change_card(scenes=3), "not a usable model"),
    "foreign method": (replace_text("config.toml", 'method = "alien"'), "unknown method 'alien'"),
    "config no TOML": (replace_text("config.toml", "method ="), "not valid TOML"),
    "config without method": (replace_text("config.toml", ""), "not a usable model"),
    "unknown key": (
        replace_text("config.toml", 'method = "nearest"\n[config]\nwings = 2'), "key 'wings'",
    ),
    "calibration no JSON": (replace_text("calibration.json", "{}"), "not a usable model"),
    "calibration a list": (replace_text("calibration.json", '{"units": []}'), "not a usable"),
    "mask no picture": (replace_text("ignore.png", "hello"), r"ignore\.png: not a readable"),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_folder_is_a_model_error_that_names_it(tmp_path: Path, how: str) -> None:
    folder = a_run(tmp_path / "run") / "model"
    breaking, message = BROKEN[how]
    breaking(folder)
    with pytest.raises(ModelError, match=message) as caught:
        bundle.load(tmp_path / "run" if how != "no card" else folder)
    assert str(folder) in str(caught.value)


def test_the_command_line_says_so_in_one_line_with_code_4(tmp_path: Path) -> None:
    truncate(a_run(tmp_path / "run") / "model")
    done = vigil("score", tmp_path / "run", shelf() / "new.mp4")
    assert done.code == 4 and not (tmp_path / "run" / "scores").exists()
    assert len(done.err.strip().splitlines()) == 1 and str(tmp_path) in done.err
    assert vigil("score", tmp_path / "nowhere", shelf() / "new.mp4").code == 4


def test_a_mask_of_another_size_is_scaled_to_the_first_video(tmp_path: Path) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[:10] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    done = vigil(
        "fit", "nearest", shelf() / "normal.mp4", "--ignore", tmp_path / "mask.png",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.code == 0, done.err
    ignore = bundle.load(tmp_path / "run").ignore
    assert ignore is not None and ignore.shape == (96, 128)
    assert ignore[:20].all() and not ignore[20:].any()
