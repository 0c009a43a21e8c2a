"""Weakly supervised training: Vigil against plain float32 PyTorch, paired.

    python benchmarks/weak.py [--repeats 7] [--threads 1] [--only loader first mil s3r] [--out FILE]

loader  a batch of 64 ten-crop videos of 32 segments, 2048 channels; the rival reads each .npy and
        makes its segments anew, as both authors' loaders do
first   reading a training set of `mil` for the first time, from Vigil's store; the rival reads the
        text layout line by line
mil     one step of 30 + 30 videos; the rival keeps all features in memory and stacks each batch,
        float32, Adadelta as the ports have it. Also what the six highest cost over the highest
s3r     one step; the rival is the network and the loss of the authors in plain PyTorch, float32

Each case warms up, then both sides run in turns; a pair's ratio is taken before the median. Ours is
`vigil.train.loop.Trainer.step` whole: batch, update, metrics. Features are made up.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vigil.config import FitConfig
from vigil.features.base import FeatureRow
from vigil.features.engines import cpu_facts
from vigil.features.rows import GivenRows
from vigil.features.store import Header, StoredRows, write_rows
from vigil.methods.base import Method
from vigil.methods.mil import MIL
from vigil.methods.s3r import S3R
from vigil.records import Batch, Frame, Video
from vigil.train.batches import Samples
from vigil.train.loop import Trainer

FRAMES = 16


# -- what both sides learn from --------------------------------------------------------------------
def no_frames(short_side: int | None = None) -> Iterator[Frame]:
    """Frames nobody asks for."""
    raise AssertionError("the rows say how long the video is")


def rows_of(n: int, shape: tuple[int, int, int], unit: bool) -> np.ndarray:
    """Non-negative features of one video, (T, crops, D)."""
    values = np.abs(np.random.default_rng(n).normal(size=shape)).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True) if unit else values


def stored(folder: Path, count: int, shape: tuple[int, int, int], unit: bool) -> list[Video]:
    """Videos whose features are in the store below `folder`; every other one is anomalous."""
    videos = []
    for n in range(count):
        values, path = rows_of(n, shape, unit), folder / f"v{n}.safetensors"
        rows = [FeatureRow(value, i * FRAMES, (i + 1) * FRAMES) for i, value in enumerate(values)]
        length = len(rows) * FRAMES
        header = Header("c3d", "", "", FRAMES, FRAMES, *shape[1:], video=f"v{n}", count=length)
        write_rows(path, rows, header)
        label: Any = ("normal", "anomalous")[n % 2]
        given = {"features": StoredRows(path, header)}
        videos.append(
            Video(f"v{n}", str(path), 30.0, (240, 320), no_frames, label=label, given=given)
        )
    return videos


def samples(method: Method, videos: list[Video], size: int, folder: Path) -> Samples:
    providers = {"features": GivenRows()}
    return Samples(method, providers, videos, 30.0, folder / "cache", 0, size)


def stepper(
    method: Method, videos: list[Video], size: int, precision: str, folder: Path
) -> Callable[[], Any]:
    """One step of training after the other, as `vigil fit` makes them."""
    config = FitConfig(steps=10**6, batch=size, save_every=10**6, device="cpu", precision=precision)
    out = Path(tempfile.mkdtemp(dir=folder))
    trainer = Trainer(method, samples(method, videos, size, out), None, config, out)
    steps = iter(range(10**6))
    return lambda: trainer.step(next(steps))


# -- measuring -------------------------------------------------------------------------------------
def seconds(run: Callable[[], Any]) -> float:
    """Of CPU time: others may use the machine too."""
    start = time.process_time()
    run()
    return time.process_time() - start


def paired(
    ours: Callable[[], Any], rival: Callable[[], Any], repeats: int, warm: int = 2
) -> dict[str, Any]:
    """Medians over pairs, in alternating order; `rival_over_vigil` above 1: Vigil is faster."""
    for _ in range(warm):
        ours(), rival()
    pairs = []
    for turn in range(repeats):
        order = (ours, rival) if turn % 2 == 0 else (rival, ours)
        found = {run: seconds(run) for run in order}
        pairs.append((found[ours], found[rival]))
    ratios = [b / a for a, b in pairs]
    return {
        "vigil_ms": round(1e3 * statistics.median(a for a, _ in pairs), 2),
        "rival_ms": round(1e3 * statistics.median(b for _, b in pairs), 2),
        "rival_over_vigil": round(statistics.median(ratios), 2),
        "lowest": round(min(ratios), 2),
        "highest": round(max(ratios), 2),
    }


# -- loader ----------------------------------------------------------------------------------------
def loader(folder: Path, repeats: int) -> dict[str, Any]:
    """A batch of 32 + 32 videos of 75 rows, ten crops, 2048 channels."""
    count, shape = 96, (75, 10, 2048)
    videos = stored(folder, count, shape, unit=False)
    for n in range(count):
        np.save(folder / f"v{n}.npy", rows_of(n, shape, unit=False))
    made, order = samples(S3R(), videos, 32, folder), np.random.default_rng(0)
    held: list[Batch] = []
    steps = iter(range(10**6))

    def ours() -> None:
        held[:] = [made.batch(next(steps), held[0] if held else None)]

    def rival() -> Tensor:
        return torch.stack([segments(folder / f"v{n}.npy") for n in order.permutation(count)[:64]])

    return paired(ours, rival, repeats)


def segments(path: Path) -> Tensor:
    """One video's 32 segments, (10, 32, 2048), from its file."""
    rows = torch.from_numpy(np.load(path)).permute(1, 2, 0)  # (10, 2048, T)
    return F.interpolate(rows, 32, mode="linear", align_corners=False).transpose(1, 2)


# -- first pass ------------------------------------------------------------------------------------
def first(folder: Path, repeats: int, dim: int) -> dict[str, Any]:
    """All features of 240 videos of 32 segments, read once and batched."""
    count, method = 240, MIL(dim=dim)
    videos = stored(folder, count, (32, 1, dim), unit=True)
    for n in range(count):
        with (folder / f"v{n}.txt").open("w", encoding="ascii") as file:
            for row in rows_of(n, (32, 1, dim), unit=True)[:, 0].tolist():
                file.write(" ".join(map(str, row)) + "\n")

    def ours() -> None:
        made, batch = samples(method, videos, 30, folder), None
        for step in range(made.steps_a_pass):
            batch = made.batch(step, batch)

    def rival() -> None:
        for step in range(count // 60):
            torch.stack([read_text(folder / f"v{n}.txt") for n in range(60 * step, 60 * step + 60)])

    return paired(ours, rival, repeats, warm=1)


def read_text(path: Path) -> Tensor:
    """(32, D) from 32 lines of numbers."""
    lines = path.read_text(encoding="ascii").splitlines()
    return torch.tensor(
        np.array([[float(word) for word in line.split()] for line in lines])
    ).float()


# -- mil -------------------------------------------------------------------------------------------
def mil(folder: Path, repeats: int, dim: int) -> dict[str, Any]:
    """A step of 30 + 30 videos in bfloat16 against float32, and float32 against float32."""
    videos = stored(folder, 90, (32, 1, dim), unit=True)
    keys: dict[str, Any] = {"dim": dim, "optimizer": "adadelta", "penalty": "norm"}
    rival = plain_mil([torch.from_numpy(rows_of(n, (32, 1, dim), True)[:, 0]) for n in range(90)])
    found = {
        precision: paired(
            stepper(MIL(**keys), videos, 30, precision, folder), rival, repeats, warm=5
        )
        for precision in ("bf16", "no")
    }
    top = stepper(MIL(**keys, k=6), videos, 30, "bf16", folder)
    highest = stepper(MIL(**keys), videos, 30, "bf16", folder)
    return found | {"max_over_top6": paired(top, highest, 3 * repeats, warm=5)}


def plain_mil(bags: list[Tensor]) -> Callable[[], Any]:
    """The network and the loss of the ports, all features in memory."""
    net = nn.Sequential(
        nn.Linear(bags[0].shape[1], 512), nn.ReLU(), nn.Dropout(0.6), nn.Linear(512, 32),
        nn.Dropout(0.6), nn.Linear(32, 1), nn.Sigmoid(),
    )  # fmt: skip
    optimizer = torch.optim.Adadelta(net.parameters(), lr=0.01, eps=1e-8)
    rng = np.random.default_rng(0)

    def step() -> float:
        chosen = [2 * rng.choice(len(bags) // 2, 30, replace=False) + kind for kind in (0, 1)]
        x = torch.stack([bags[n] for n in np.concatenate(chosen)])  # (60, 32, D)
        scores = net(x)[..., 0]
        normal, anomalous = scores[:30], scores[30:]
        rank = (1 - anomalous.amax(1) + normal.amax(1)).clamp(min=0)
        smooth = anomalous.diff(dim=1).square().sum(1)
        loss = (rank + 8e-5 * smooth + 8e-5 * anomalous.sum(1)).mean()
        layers = [m for m in net if isinstance(m, nn.Linear)]
        whole = [torch.cat([w.flatten() for w in layer.parameters()]) for layer in layers]
        loss = loss + 1e-3 * torch.stack([w.norm() for w in whole]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


# -- s3r -------------------------------------------------------------------------------------------
def s3r(folder: Path, repeats: int, videos: int, atoms: int) -> dict[str, Any]:
    """A step of `videos` of each kind, ten crops, 32 segments, 2048 channels."""
    made = stored(folder, 2 * videos, (32, 10, 2048), unit=False)
    x = torch.stack(
        [torch.from_numpy(rows_of(n, (32, 10, 2048), False)) for n in range(2 * videos)]
    )
    order = [*range(0, 2 * videos, 2), *range(1, 2 * videos, 2)]  # normal ones first
    dictionary = torch.randn(atoms, 2048)
    method = S3R()
    method.dictionary = dictionary
    ours = stepper(method, made, videos, "bf16", folder)
    rival = plain_s3r(x[order].transpose(1, 2).contiguous(), dictionary)
    return paired(ours, rival, repeats, warm=1)


class PlainNonLocal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Conv1d(512, 256, 1) for _ in range(3))
        self.out = nn.Sequential(nn.Conv1d(256, 512, 1), nn.BatchNorm1d(512))

    def forward(self, x: Tensor) -> Tensor:
        attention = self.q(x).transpose(1, 2) @ self.k(x) / x.shape[2]  # (n, T, T)
        return self.out(self.v(x) @ attention.transpose(1, 2)) + x


class PlainScales(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.near = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(2048, 512, 3, padding=d, dilation=d), nn.GroupNorm(8, 512), nn.ReLU()
            )
            for d in (1, 2, 4)
        )
        self.far = nn.Sequential(nn.Conv1d(2048, 512, 1, bias=False), nn.ReLU(), PlainNonLocal())
        join = nn.Conv1d(2048, 2048, 3, padding=1, bias=False)
        self.join = nn.Sequential(join, nn.GroupNorm(8, 2048), nn.ReLU())

    def forward(self, rows: Tensor) -> Tensor:
        x = rows.transpose(1, 2)  # (n, 2048, T)
        parts = [layer(x) for layer in self.near]
        return (self.join(torch.cat([*parts, self.far(x)], 1)) + x).transpose(1, 2)


class PlainS3R(nn.Module):
    """Rows (B, N, T, C) and a dictionary for each video (B, S, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(2048, 512), nn.Linear(2048, 512)
        self.value = nn.Linear(2048, 2048)
        self.own, self.usual = PlainScales(), PlainScales()
        self.gate = nn.Sequential(nn.Linear(2048, 128), nn.ReLU(), nn.Linear(128, 2048))
        self.micro, self.macro = (
            nn.Sequential(
                nn.Linear(2048, 512), nn.ReLU(), nn.Dropout(0.7), nn.Linear(512, 128), nn.ReLU(),
                nn.Dropout(0.7), nn.Linear(128, 1), nn.Sigmoid(),
            )
            for _ in range(2)
        )  # fmt: skip
        self.drop = nn.Dropout(0.7)

    def forward(self, x: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, n, t, c = x.shape
        query = self.query(x.reshape(b, n * t, c))
        weights = (query @ self.key(dictionary).transpose(1, 2)).softmax(-1)  # (B, N * T, S)
        rebuilt = (weights @ self.value(dictionary)).reshape(b * n, t, c)
        u, m = self.drop(self.own(x.reshape(b * n, t, c))), self.drop(self.usual(rebuilt))
        s = self.gate(u.mean(1) - m.mean(1)).sigmoid()[:, None]
        u, m = s * u, (1 - s) * m
        scores = self.micro(u).reshape(b, n, t).mean(1)
        macro = self.macro(m.mean(1)).reshape(b, n).mean(1)
        return scores, macro, u.reshape(b, n, t, c)


def plain_s3r(x: Tensor, dictionary: Tensor) -> Callable[[], Any]:
    """Steps on the same batch (2B, N, T, C), normal videos first, already in memory."""
    net, half = PlainS3R(), len(x) // 2
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=5e-3)
    atoms = dictionary.expand(len(x), -1, -1)
    label = (torch.arange(len(x)) >= half).float()

    def step() -> float:
        scores, macro, u = net(x, atoms)
        size = u.norm(dim=-1).mean(1)  # (2B, T)
        size = size * F.dropout(torch.ones_like(size), 0.7)
        index = size.topk(3, dim=1).indices  # (2B, 3)
        video = scores.gather(1, index).mean(1)
        wide = index[:, None, :, None].expand(-1, u.shape[1], -1, u.shape[3])
        length = u.gather(2, wide).mean(2).norm(dim=-1)  # (2B, N)
        flat = scores[half:].flatten()
        loss = F.binary_cross_entropy(video, label)
        loss = loss + 1e-4 * ((100 - length[half:]).abs() + length[:half]).square().mean()
        loss = loss + 8e-4 * flat.diff().square().sum() + 8e-3 * flat.norm()
        loss = loss + F.binary_cross_entropy(macro, torch.zeros_like(macro))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


CASES: dict[str, tuple[str, Callable[[Path, int], dict[str, Any]]]] = {
    "loader, 64 ten-crop videos": ("loader", loader),
    "first pass, mil, 2048": ("first", lambda folder, n: first(folder, min(n, 3), 2048)),
    "first pass, mil, 4096": ("first", lambda folder, n: first(folder, min(n, 3), 4096)),
    "mil step, 2048": ("mil", lambda folder, n: mil(folder, n, 2048)),
    "mil step, 4096": ("mil", lambda folder, n: mil(folder, n, 4096)),
    "s3r step, 4 + 4 videos, 158 atoms": ("s3r", lambda f, n: s3r(f, min(n, 5), 4, 158)),
}


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    kinds = sorted({kind for kind, _ in CASES.values()})
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/weak.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = {}
    for name, (kind, run) in CASES.items():
        if kind in options.only:
            with tempfile.TemporaryDirectory() as folder:
                cases[name] = run(Path(folder), options.repeats)
            print(name, json.dumps(cases[name]), flush=True)
    made = {
        "command": "python benchmarks/weak.py",
        "threads": options.threads,
        "repeats": options.repeats,
        "cpu": cpu_facts(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "accelerate")},
    }
    options.out.write_text(json.dumps({"made": made, "cases": cases}, indent=2) + "\n")


if __name__ == "__main__":
    main()
