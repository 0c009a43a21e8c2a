"""Seconds of a training step of `scene` against plain PyTorch, and from a frame to its score.

    OMP_NUM_THREADS=2 python benchmarks/scene.py --out benchmarks/results/scene.json

The rival of the step is the same network of `nn.TransformerEncoderLayer`s in float32 with Adam, as
one writes it down; both see [120, 16, 768] of 4 scenes, turn by turn. The loading rival opens the
published layout, an HDF5 file a segment with one dataset a frame. Real time: rows of an encoder
every `stride` frames; what `scene` adds to the encoder's own time, live, one core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vigil.features._frame_hdf5 import write_by_frame
from vigil.features.base import FeatureRow
from vigil.features.rows import GivenRows
from vigil.methods.scene import Scene
from vigil.records import Batch, Frame, Units, Video
from vigil.train.batches import Samples

SCENES, EACH, LONG, DIM = 4, 30, 16, 768


class Plain(nn.Module):
    """The same network, as a first version of it is written."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 512, DIM))
        layer = nn.TransformerEncoderLayer(DIM, 4, 256, 0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.decoder = nn.TransformerEncoder(layer, 2)
        self.down, self.up, self.out = nn.Linear(DIM, 256), nn.Linear(256, DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        back = self.up(self.down(self.encoder(x + self.position[:, : x.shape[1]])))
        return self.out(self.decoder(back)), back.mean(1)


def plain_contrast(features: Tensor, labels: Tensor) -> Tensor:
    unit = F.normalize(features, dim=1)
    near = unit @ unit.T / 0.07
    others = ~torch.eye(len(near), dtype=torch.bool)
    same = ((labels[:, None] == labels) & others).float()
    logs = near - torch.log((near.exp() * others).sum(1, keepdim=True) + 1e-8)
    return -((logs * same).sum(1) / same.sum(1)).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    found = {
        "threads": torch.get_num_threads(), "processor": processor(), "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2), "step": step(args.rounds), "curve": curve(),
        "loading": loading(args.rounds), "live": live(),
    }  # fmt: skip
    text = json.dumps(found, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def paired(ours: Callable[[], Any], rival: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """CPU milliseconds of each, medians, and the ratio of each pair."""
    ours(), rival()
    times = [(timed(ours), timed(rival)) for _ in range(rounds)]
    ratios = sorted(there / here for here, there in times)
    return {
        "vigil_ms": round(1e3 * float(np.median([here for here, _ in times])), 1),
        "rival_ms": round(1e3 * float(np.median([there for _, there in times])), 1),
        "rival_over_vigil": [round(float(np.median(ratios)), 2), round(ratios[0], 2),
                             round(ratios[-1], 2)],
    }  # fmt: skip


def timed(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def step(rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    x = torch.randn(SCENES * EACH, LONG, DIM) * 0.5
    scene = torch.arange(SCENES).repeat_interleave(EACH)
    method = Scene(like=0)
    method.scenes = ("01", "06", "10", "12")
    method.prepare([])
    optimizers, batch = method.train().optimizers(), Batch(x={"rows": x[:, :, None]}, scene=scene)

    def ours(precision: torch.dtype | None) -> Callable[[], Any]:
        def one(batch: Batch) -> dict[str, Tensor]:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision is not None):
                return method(batch)

        return lambda: method.fit_step(batch, optimizers, Tensor.backward, one)

    net = Plain().train()
    adam = torch.optim.Adam(net.parameters(), 1e-4)

    def rival() -> None:
        adam.zero_grad()
        made, feature = net(x)
        (2 * F.mse_loss(made, x) + plain_contrast(feature, scene)).backward()
        adam.step()

    return {
        "bf16": paired(ours(torch.bfloat16), rival, rounds),
        "float32": paired(ours(None), rival, max(rounds // 2, 2)),
    }


def curve(steps: int = 30) -> dict[str, Any]:
    """Losses of both from the same weights on the same batches, without dropout."""
    torch.manual_seed(0)
    net, methods = Plain().train(), {}
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
        elif isinstance(layer, nn.MultiheadAttention):
            layer.dropout = 0.0
    for precision in (torch.float32, torch.bfloat16):
        methods[precision] = Scene(like=0, dropout=0.0)
        methods[precision].net.load_state_dict({own(k): v for k, v in net.state_dict().items()})
        methods[precision].scenes = ("01", "06", "10", "12")
        methods[precision].prepare([])
    adam = torch.optim.Adam(net.parameters(), 1e-4)
    optimizers = {precision: method.optimizers() for precision, method in methods.items()}
    scene, worst = torch.arange(SCENES).repeat_interleave(4), dict.fromkeys(methods, 0.0)
    for _ in range(steps):
        x = torch.randn(len(scene), LONG, DIM) * 0.5 + scene[:, None, None] * 0.1
        adam.zero_grad()
        rebuilt, feature = net(x)
        loss = 2 * F.mse_loss(rebuilt, x) + plain_contrast(feature, scene)
        loss.backward()
        adam.step()
        for precision, method in methods.items():
            batch = Batch(x={"rows": x[:, :, None]}, scene=scene)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
                terms = method.train().fit_step(batch, optimizers[precision], Tensor.backward)
            apart = abs(float(sum(terms.values()).detach() / loss.detach()) - 1)
            worst[precision] = max(worst[precision], apart)
    return {"steps": steps, "last": round(float(loss.detach()), 4),
            "apart": {str(k)[6:]: float(f"{v:.1e}") for k, v in worst.items()}}  # fmt: skip


def own(key: str) -> str:
    """The name that `scene` gives to a tensor of `Plain`."""
    names = {"position": "pos_embedding", "down": "proj_to_latent", "up": "recon_to_org",
             "out": "output_proj"}  # fmt: skip
    first, dot, rest = key.partition(".")
    return names.get(first, first) + dot + rest


def loading(rounds: int) -> dict[str, Any]:
    """One batch: rows in memory against a file opened a segment."""
    import h5py

    rng, shown, files = np.random.default_rng(0), [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in range(SCENES * 2):
            rows = rng.normal(size=(300, 1, DIM)).astype(np.float32)
            files.append(folder / f"{n}.h5")
            write_by_frame(files[-1], rows)
            shown.append(video_of(rows, f"v{n}", str(n % SCENES)))
        method = Scene(like=0)
        method.scenes = tuple(sorted({video.scene for video in shown}))
        batch = SCENES * EACH
        samples = Samples(method, {"features": GivenRows()}, shown, 25, folder, 0, batch)
        steps = iter(range(10_000))

        def rival() -> Tensor:
            found = []
            for _ in range(batch):
                with h5py.File(files[rng.integers(len(files))], "r") as file:
                    first = int(rng.integers(300 - LONG))
                    found.append(np.stack([file[f"{first + t:04}"][0] for t in range(LONG)]))
            return torch.from_numpy(np.stack(found))

        return paired(lambda: samples.batch(next(steps)), rival, rounds)


def video_of(rows: np.ndarray, name: str, scene: str) -> Video:
    """A video without pictures that brings its rows."""

    def frames(short_side: int | None):  # type: ignore[no-untyped-def]
        return (Frame(np.zeros((8, 8, 3), np.uint8), n / 25) for n in range(len(rows)))

    given = {"features": lambda: [FeatureRow(row, n, n + 1) for n, row in enumerate(rows)]}
    return Video(name, name, 25.0, (8, 8), frames, scene, label="normal", given=given)


@torch.no_grad()
def live() -> dict[str, Any]:
    """What `scene` adds to each row of an encoder, and the frames a second it could follow."""
    torch.set_num_threads(1)
    found = {}
    for name, dim in (("pixels", 192), ("clip-vit-b-32", 512), ("clip-vit-l-14", 768)):
        method = Scene(dim=dim, like=0).eval()
        rows = torch.randn(LONG, 1, dim)
        at = np.arange(LONG)
        units = Units("rows", "v", {"rows": rows}, at, at + 1, at + 1, np.zeros((LONG, 4)))
        method.score(units)
        cost = float(np.median([timed(lambda: method.score(units)) for _ in range(20)]))  # noqa: B023
        weights = sum(w.numel() for w in method.net.parameters())
        found[f"{name} ({dim})"] = {
            "ms_a_row": round(1e3 * cost, 2), "rows_a_second": round(1 / cost, 1),
            "parameters": weights, "megabytes": round(4 * weights / 2**20, 1),
        }  # fmt: skip
    return found


if __name__ == "__main__":
    main()
