"""The commands of docs/from/s3r.md and docs/from/ucf-crime.md, as they stand there, in order.

They run in folders of those projects' layouts: trees that `vigil data make street --as ...` wrote,
features made by formula, and checkpoints with the published keys. Three things are changed:
networks are narrow, fits last two steps, and `motion`, which needs no weights, extracts in the
place of I3D and 3D-ResNet.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from footage import vigil
from from_page import PAGES, run_page, table
from sklearn.metrics import roc_auc_score
from test_authors import CHECKPOINTS, fill, state_of
from test_docs import blocks

from vigil import bundle, dataset
from vigil.data.shanghaitech import read_list
from vigil.records import Units
from vigil.video.read import count_frames

WIDTH = {"s3r": 128, "mil": 64, "motion": 240}  # of rows here; 2048 there
SHORT = ["steps=2", "batch=2", "val_every=1", "val_from=0"]
OTHER_NAMES = {"Shoplifting/Shoplifting001_x264": "Running/Running001_x264"}


def small(words: list[str]) -> list[str]:
    """The same command, made small as said above."""
    line = shlex.join(words)
    for name, other in OTHER_NAMES.items():
        line = line.replace(name, other)
    if words[1] == "extract":
        line = re.sub(r"--backbone \S+( --crops 10)? --weights \S+", "--backbone motion", line)
    if words[1] == "fit":
        rows = "motion" if words[words.index("--features") + 1] == "features" else words[2]
        line += "".join(f" --set {key}" for key in [*SHORT, f"dim={WIDTH[rows]}"])
    return shlex.split(line)[1:]


# -- the folders of those projects ---------------------------------------------------------------
@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated trees of both layouts."""
    out = tmp_path_factory.mktemp("trees")
    for layout in ("s3r", "ucf-crime"):
        done = vigil("data", "make", "street", "--scale", 0.02, "--out", out, "--as", layout)
        assert done.code == 0, done.err
    return out


@pytest.fixture
def s3r(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """S3R/: lists, ground truth, ten-crop features, dictionaries and checkpoints, two data sets."""
    shutil.copytree(made / "s3r", tmp_path, dirs_exist_ok=True)
    ucf = tmp_path / "data" / "ucf-crime"
    lists_of_s3r(made / "ucf-crime", ucf)
    (tmp_path / "checkpoint").mkdir()
    for name, percent in (("shanghaitech", 90), ("ucf-crime", 50)):
        for part in ("train", "test"):
            folder = tmp_path / "data" / name / "i3d" / part
            if name == "ucf-crime":  # linked to, as the README has it: ln -sT ...
                folder = link(folder, tmp_path / "downloads" / f"UCF_{part}_ten_crop_i3d")
            for video in read_list(tmp_path / "data" / name / f"{name}.{part}ing.csv"):
                np.save(folder / f"{video}_i3d.npy", fill.positive(video, 1, (4, 10, 128), 0.5))
        torch.save(state_of("s3r_dim128"), tmp_path / f"checkpoint/{name}_s3r_i3d_best.pth")
        atoms = tmp_path / "dictionary" / name
        atoms.mkdir(parents=True)
        file = f"{name}_dictionaries.taskaware.omp.100iters.{percent}pct.npy"
        np.save(atoms / file, fill.normal(name, 1, (6, 128)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def link(place: Path, folder: Path) -> Path:
    """The new folder, and a link to it in `place`."""
    folder.mkdir(parents=True)
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(folder, target_is_directory=True)
    return folder


def lists_of_s3r(tree: Path, out: Path) -> None:
    """data/ucf-crime/ as S3R has it, without videos: its csv and json of a UCF-Crime tree."""
    data = dataset("ucf-crime", tree)
    out.mkdir(parents=True)
    train = sorted(data.train, key=lambda video: video.label != "anomalous")
    truth = {video.name: data.test.truth(video.name).frames for video in data.test}
    test = sorted(truth, key=lambda name: not truth[name].any())
    for part, names in (("train", [video.name for video in train]), ("test", test)):
        (out / f"ucf-crime.{part}ing.csv").write_text("\n".join(["video-id", *names, ""]))
    ground = {}
    for name, frames in truth.items():
        labels = np.pad(frames, (0, -len(frames) % 16), mode="edge").astype(float)
        ground[name] = {"num_frames": len(labels), "labels": labels.tolist()}
    (out / "ucf-crime_ground_truth.testing.json").write_text(json.dumps(ground))


@pytest.fixture
def ucf(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with UCF-Crime/, downloaded features in text and a module that was saved whole."""
    shutil.copytree(made / "ucf-crime", tmp_path / "UCF-Crime")
    for part in ("Train", "Test"):
        text = (tmp_path / "UCF-Crime" / f"{part}_Annotation.txt").read_text()
        for line in text.splitlines():
            file = tmp_path / "r3d152" / Path(line.split()[0]).with_suffix(".txt")
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = fill.positive(file.stem, 1, (32, WIDTH["mil"]))
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            file.write_text("".join(" ".join(f"{v:.6g}" for v in row) + " \n" for row in rows))
    shutil.copyfile(CHECKPOINTS / "mil_module_D64.pt", tmp_path / "epoch_9.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- what comes out ------------------------------------------------------------------------------
def auc_of_s3r(base: Path, name: str, model: Path, lengths: dict[str, int]) -> float:
    """Their evaluation: rows in the order of the list, each 16 times, over all frames at once."""
    method = bundle.load(model).method
    ground = json.loads((base / f"{name}_ground_truth.testing.json").read_text())
    scores, labels = [], []
    for video in (base / f"{name}.testing.csv").read_text().split()[1:]:
        rows = torch.from_numpy(np.load(base / "i3d" / "test" / f"{video}_i3d.npy"))
        first = np.arange(len(rows))
        places = (first, first + 1, first + 1, np.zeros((len(rows), 4), np.float32))
        with torch.no_grad():
            found = method.score(Units("rows", video, {"rows": rows}, *places))["anomaly"].numpy()
        count = lengths.get(video, ground[video]["num_frames"])
        scores.append(np.repeat(found, 16)[:count])
        labels.append(ground[video]["labels"][:count])
    return float(roc_auc_score(np.concatenate(labels), np.concatenate(scores)))


def test_page_of_s3r(s3r: Path) -> None:
    done = run_page("s3r.md", small)
    assert len(done) > 12
    measured = [d.out for line, d in done.items() if line.startswith("vigil evaluate")]
    assert len(measured) == 4 and all("micro_auc" in out for out in measured)
    # 60 frames where the videos lie in the tree, else 64 as in the ground truth of S3R
    tests = read_list(s3r / "data/shanghaitech/shanghaitech.testing.csv")
    cases: list[tuple[str, tuple[str, ...], dict[str, int]]] = [
        ("shanghaitech", ("--split", "weak"), dict.fromkeys(tests, 60)), ("ucf-crime", (), {})
    ]  # fmt: skip
    for name, split, lengths in cases:
        model, base = s3r / "models" / name, s3r / "data" / name
        found = table(str(model), name, *split, "--root", "data", "--features", f"{base}/i3d")
        wanted = auc_of_s3r(base, name, model, lengths)
        assert found["score", "raw", "all"] == pytest.approx(wanted, abs=1e-9)
    steps = (s3r / "runs/s3r-vad-0.1/metrics.jsonl").read_text().splitlines()
    assert {"cls", "magnitude", "smooth", "sparse", "macro"} <= set(json.loads(steps[-1]))
    assert len(list((s3r / "features-npy").rglob("*_motion.npy"))) == 15  # "_i3d" by I3D
    pickles = list((s3r / "our_dictionary").rglob("*_regular_features-128dim.training.pickle"))
    assert len(pickles) == 1


def test_page_of_ucf_crime(ucf: Path) -> None:
    done = run_page("ucf-crime.md", small)
    assert len(done) > 10
    theirs = next(d for line, d in done.items() if line.startswith("vigil evaluate models/theirs"))
    assert "class: Running" in theirs.out and "micro_auc" in theirs.out
    rows = table("models/theirs", "ucf-crime", "--root", "UCF-Crime", "--features", "r3d152")
    assert 0 < rows["score", "raw", "all"] < 1
    assert (ucf / "runs/top6/report/report.html").is_file()
    assert list((ucf / "runs/top6").rglob("*annotated*")), "the painted video"
    texts = list((ucf / "features-txt").rglob("*_x264.txt"))
    assert len(texts) == 15 and all(len(t.read_text().splitlines()) == 32 for t in texts)


def test_labels_of_lists_alone(s3r: Path) -> None:
    """S3R's files hold no label of a training video but its row; here names tell it."""
    data = dataset("shanghaitech", s3r, split="weak")
    made = json.loads((s3r / "vigil_names.json").read_text())["train"]
    assert {v.name: v.label == "anomalous" for v in data.train} == {
        name: "_weak_" in before for name, before in made.items()
    }
    assert "by their names" in data.info["labels"]
    assert sum(count_frames(video) for video in data.train) == 9 * 60  # of the videos found there


def test_labels_by_names_are_those_by_masks(real_data: Path, tmp_path: Path) -> None:
    whole = dataset("shanghaitech", real_data / "shanghaitech", split="weak")
    for file in (real_data / "shanghaitech" / "s3r").iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    alone = dataset("shanghaitech", tmp_path, split="weak")
    assert [(v.name, v.label) for v in alone.train] == [(v.name, v.label) for v in whole.train]
    assert len(alone.train) == 238


def test_an_alias_makes_the_same_dictionary(s3r: Path) -> None:
    words = ("ucf", "--root", "data", "--features", "data/ucf-crime/i3d", "--out", "by_alias")
    assert vigil("dictionary", *words).code == 0
    name = "ucf-crime_dictionaries.taskaware.omp.100iters.50pct.npy"
    assert np.load(s3r / "by_alias" / "ucf-crime" / name).shape == (2, 128)  # half of 3, to even


def test_a_threshold_comes_from_normal_videos_alone(ucf: Path) -> None:
    words = ("--val", "ucf-crime", "--root", "UCF-Crime", "--features", "r3d152")
    done = vigil("import", "epoch_9.pt", "--method", "mil", *words, "--out", "models/alarm")
    assert done.code == 0, done.err
    calibration = bundle.load(ucf / "models/alarm").calibration
    assert calibration and sorted(calibration.normal) == [
        f"Normal_Videos00{n}_x264" for n in (1, 2, 3)
    ]


@pytest.mark.parametrize("page", ["s3r.md", "ucf-crime.md"])
def test_pages_leave_no_block_out(page: str) -> None:
    assert all(not block.why and block.language == "bash" for block in blocks(PAGES / page))
