"""The commands of docs/from/jigsaw.md and docs/from/mama.md, as they stand there, in order.

They run in folders of those projects' layouts: trees that `vigil data make ... --as` wrote, the
lengths of the test parts cut, and checkpoints with the published keys, filled by formula. Changed
are: networks are narrow (`lean` in training), fits last a few steps, the four-head checkpoint is of
two cubes of three frames, and DIS flow and a segmentation of the foreground, which need no weights,
stand in for FlowNet2-SD and DeepLabv3.
"""

from __future__ import annotations

import json
import pickle
import shlex
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from footage import vigil
from from_page import PAGES, run_page, table
from scipy.io import loadmat, savemat
from sklearn.metrics import roc_auc_score
from test_authors import CHECKPOINTS, fill
from test_docs import blocks

from vigil import bundle
from vigil.methods.mama import Mama

SCALE, KEPT, LENGTH = 0.02, 2, 30  # of the trees; videos of a part; frames of a driver's test
PLAIN = ["engine=torch", "dtype=float32", "val_every=1"]
PUZZLES = [*PLAIN, "epochs=1", "batch=16", "net=lean", "width=16"]
DRIVERS = ["frames=3", "clips=2", "val_share=0.4"]  # recordings here have 60 frames
MAMA = [*PLAIN, "steps=2", "batch=2", "size=64", "width=4", "judge=4"]
DESTROYER = [*PLAIN, "steps=2", "batch=2", "width=4", "grid=4"]
STAND_INS = {
    "flownet2-sd:flow.toml": "dis",
    "deeplabv3-resnet101:labels.toml": "foreground-segmentation",
}


def small_jigsaw(words: list[str]) -> list[str]:
    """The same command, made small as said above."""
    keys: list[str] = []
    if words[1] == "fit":
        keys = PUZZLES + (DRIVERS if "dad" in words else [])
    return [*words[1:], *(word for key in keys for word in ("--set", key))]


def small_mama(words: list[str]) -> list[str]:
    line = shlex.join(words)
    for name, other in STAND_INS.items():
        line = line.replace(name, other)
    keys: list[str] = []
    if words[1] == "fit":
        keys = MAMA if words[2] == "mama" else DESTROYER
    elif words[1] == "import" and "mama" in words:
        keys = ["size=64"]
    return [*shlex.split(line)[1:], *(word for key in keys for word in ("--set", key))]


# -- checkpoints ---------------------------------------------------------------------------------
def filled(name: str, part: str | None = None, change: Any = None) -> dict[str, torch.Tensor]:
    """A published state dict by formula; `change(key, shape)` gives each tensor's own shape."""
    layout = json.loads((CHECKPOINTS / f"{name}.json").read_text())
    spec = layout["tensors"][part] if part else layout["tensors"]
    if change:
        spec = {key: {**s, "shape": change(key, s["shape"])} for key, s in spec.items()}
    made = fill.state(spec, 1, layout["gain"])
    return {key: torch.from_numpy(np.asarray(value)) for key, value in made.items()}


def narrow(key: str, shape: list[int]) -> list[int]:
    """A sixteenth of the channels of mama's networks: 4 for 64."""
    return [side // 16 if side % 64 == 0 else side for side in shape]


def brief(key: str, shape: list[int]) -> list[int]:
    """The four-head network for two cubes of three frames, in place of five of seven."""
    sides = {14336: 2048 * 3, 71680: 2048 * 6, 49: 9, 25: 4}
    return [sides.get(side, side) for side in shape] if "_temp_" in key else shape


def write_mama(out: Path) -> None:
    """Generator with judge, generator with Destroyer; numpy numbers beside, as in the originals."""
    out.mkdir()
    for kind, parts in (("g", ("net_g", "net_d")), ("a", ("net_g", "net_a"))):
        nets = {part: filled(f"mama_{kind}_best", part, narrow) for part in parts}
        held = {**nets, "step": 3000, "g_auc_list": [np.float64(0.5)]}
        torch.save(held, out / f"0_{kind}_best_auc_ped2.pth")


# -- the folders of those projects ---------------------------------------------------------------
@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ucsd-ped2-frames/ and shanghaitech-sd/, two videos a part; dad/, test recordings cut."""
    out = tmp_path_factory.mktemp("trees")
    for name, layout in (
        ("street", "ucsd-ped2-frames"), ("street", "shanghaitech-sd"), ("cabin", "dad")
    ):  # fmt: skip
        done = vigil("data", "make", name, "--scale", SCALE, "--out", out, "--as", layout)
        assert done.code == 0, done.err
    ped2, shanghai = out / "ucsd-ped2-frames", out / "shanghaitech-sd"
    parts = [root / part for root in (ped2, shanghai) for part in ("training", "testing")]
    for folder in (*parts, shanghai / "testframemask"):
        inner = folder / "frames"
        for extra in sorted((inner if inner.is_dir() else folder).iterdir())[KEPT:]:
            shutil.rmtree(extra) if extra.is_dir() else extra.unlink()
    savemat(ped2 / "ped2.mat", {"gt": loadmat(ped2 / "ped2.mat")["gt"][:, :KEPT]})
    cut_drivers(out / "dad")
    return out


def cut_drivers(tree: Path) -> None:
    """LENGTH frames of each test recording; as at this scale, each is normal or not as a whole."""
    lines = (tree / "LABEL.csv").read_text().splitlines()
    assert [line.split(",")[2:4] for line in lines] == [["0", "59"]] * 3
    ends = (line.replace(",0,59,", f",0,{LENGTH - 1},") for line in lines)
    (tree / "LABEL.csv").write_text("\n".join(ends) + "\n")
    for picture in tree.glob("val*/rec*/*/img_*.png"):
        if int(picture.stem[4:]) >= LENGTH:
            picture.unlink()


def write_boxes(root: Path, name: str) -> None:
    """detect/NAME_train_detect_result_yolov3.pkl and _test_: one thing in every fifth frame."""
    (root / "detect").mkdir()
    for part in ("train", "test"):
        found = {}
        for video in (path for path in (root / f"{part}ing").iterdir() if path.is_dir()):
            count = len(list(video.glob("*.jpg")))
            box = [[60.0 + n, 80.0, 110.0 + n, 170.0, 0.9] for n in range(count)]
            found[video.name] = [np.array(box[n : n + 1 - min(n % 5, 1)]) for n in range(count)]
        file = root / "detect" / f"{name}_{part}_detect_result_yolov3.pkl"
        file.write_bytes(pickle.dumps(found))


@pytest.fixture
def puzzles(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ped2/, shanghaitech/ and DAD/, checkpoints of both projects, scores that one saved."""
    for part in ("training", "testing"):  # frames/ left out, as Jigsaw-VAD has it
        shutil.copytree(made / "ucsd-ped2-frames" / part / "frames", tmp_path / "ped2" / part)
        shutil.copytree(made / "shanghaitech-sd" / part, tmp_path / "shanghaitech" / part)
    shutil.copy(made / "ucsd-ped2-frames" / "ped2.mat", tmp_path / "ped2")
    shutil.copytree(made / "shanghaitech-sd/testframemask", tmp_path / "shanghaitech/frame_masks")
    shutil.copytree(made / "dad", tmp_path / "DAD")
    for name in ("ped2", "shanghaitech"):
        write_boxes(tmp_path / name, name)
    torch.save(filled("jigsaw_widebranch", "C3_T5"), tmp_path / "ped2.pth")
    torch.save(filled("jigsaw_fourhead", None, brief), tmp_path / "best.pth")
    saved = {
        f"01_000{n}": {f: [fill.uniform(f"{n}.{f}", 1, (2,)).tolist()] for f in range(3, 27)}
        for n in (1, 2, 3)
    }
    (tmp_path / "output.pkl").write_bytes(pickle.dumps(saved))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def frames(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/ with ped2, avenue and shanghai, and weights/."""
    for name in ("ped2", "avenue"):
        shutil.copytree(made / "ucsd-ped2-frames", tmp_path / "data" / name)
    (tmp_path / "data/avenue/ped2.mat").rename(tmp_path / "data/avenue/avenue.mat")
    shutil.copytree(made / "shanghaitech-sd", tmp_path / "data" / "shanghai")
    write_mama(tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- what comes out ------------------------------------------------------------------------------
def test_page_of_jigsaw(puzzles: Path) -> None:
    done = run_page("jigsaw.md", small_jigsaw)
    assert len(done) > 12
    for line, found in done.items():
        assert not line.startswith("vigil evaluate") or "micro_auc" in found.out
    ped2 = done["vigil evaluate models/ped2 ucsd-ped2 --root ped2"].out
    assert "jigsaw-blocks" in ped2 and "complete" in ped2
    views = done["vigil evaluate runs/views dad --root DAD_Jigsaw"].out
    for camera in ("Top", "Front", "Fusion"):
        assert all(f"view: {camera}({sensor})" in views for sensor in ("D", "IR", "DIR"))
    line = "vigil evaluate models/top_depth dad --root DAD_Jigsaw --view top_depth"
    assert "clip_complete" in done[line].out and "combined_complete" in done[line].out
    masks = [np.load(f"DAD_Jigsaw/testing/frame_masks/01_000{n}.npy") for n in (1, 2, 3)]
    assert all(len(mask) == LENGTH for mask in masks)
    # the saved scores by hand: 1 less than the mean of both, 0 where none was saved
    saved = pickle.loads((puzzles / "output.pkl").read_bytes())
    scores = np.zeros((3, LENGTH))
    for row, frames in zip(scores, saved.values(), strict=True):
        row[list(frames)] = [1 - np.mean(pair) for pair in frames.values()]
    rows = table("output.pkl", "dad", "--root", "DAD_Jigsaw", "--view", "top_depth")
    wanted = roc_auc_score(np.concatenate(masks), scores.ravel())
    assert rows["score", "raw", "all"] == pytest.approx(wanted, abs=1e-9)


def image(path: Path) -> np.ndarray:
    """(H, W, 3), BGR."""
    found = cv2.imread(str(path))
    assert found is not None
    return np.asarray(found)


def auc_of_generator(folder: Path) -> float:
    """Of the squared error of their predictions, all frames; the first four as the fifth."""
    method = bundle.load("models/g_best").method
    assert isinstance(method, Mama)
    scores, labels = [], []
    pairs = loadmat(folder / "data/ped2/ped2.mat")["gt"][0]
    videos = sorted((folder / "data/ped2/testing/frames").iterdir())
    for ranges, video in zip(pairs, videos, strict=True):
        pictures = [cv2.resize(image(f), (64, 64)) for f in sorted(video.iterdir())]
        clip = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1  # BGR
        past = torch.stack([clip[t - 4 : t].flatten(0, 1) for t in range(4, len(clip))])
        with torch.no_grad():
            found = method.predict(past)["frame"]
        error = (found - clip[4:]).square().mean((1, 2, 3)).numpy()
        scores.append(np.concatenate([np.full(4, error[0]), error]))
        truth = np.zeros(len(clip))
        for first, last in ranges.T.astype(int):
            truth[first - 1 : last] = 1
        labels.append(truth)
    return float(roc_auc_score(np.concatenate(labels), np.concatenate(scores)))


def test_page_of_mama(frames: Path) -> None:
    done = run_page("mama.md", small_mama)
    assert len(done) > 15
    measured = {line: d.out for line, d in done.items() if line.startswith("vigil evaluate")}
    assert len(measured) == 6 and all("micro_auc" in out for out in measured.values())
    rows = table("models/g_best", "ucsd-ped2", "--root", "data/ped2")
    assert {channel for channel, _, _ in rows} == {"score", "error", "motion", "label"}
    # the import takes the engine that is fastest here, which may count in bfloat16
    assert rows["error", "raw", "all"] == pytest.approx(auc_of_generator(frames), abs=0.03)
    assert "damage" in measured["vigil evaluate models/a_best ucsd-ped2 --root data/ped2"]
    theirs, ours = bundle.load("models/g_best").method, bundle.load("runs/on-theirs").method
    base = ours.base
    assert base is not None
    for key, value in theirs.state_dict().items():
        assert torch.equal(value, base.state_dict()[key]), key
    assert list((frames / "runs/ped2/vigil").glob("events.out.tfevents.*"))
    terms = json.loads((frames / "runs/ped2/metrics.jsonl").read_text().splitlines()[-1])
    assert {"intensity", "gradient", "triplet_motion", "triplet_label"} <= set(terms)
    assert (frames / "report" / "report.html").is_file()


@pytest.mark.parametrize("page", ["jigsaw.md", "mama.md"])
def test_pages_leave_no_block_out(page: str) -> None:
    assert all(not block.why and block.language == "bash" for block in blocks(PAGES / page))
