"""Learning S3R's dictionary: `vigil.methods._dictionary` against scikit-learn, paired.

    python benchmarks/dictionary.py [--repeats 3] [--threads 1] [--out FILE]

The rival is what the authors call, as near as today's scikit-learn comes to it: mini-batches of 32,
two passes (their 100 batches are 1.6), no early stop, codes by OMP with two atoms a sample. Both
get the same float32 samples, 2048 channels by V videos, in turns; a pair's ratio is taken before
the median. The error is what the codes leave of the samples, relative, over all of them.

Samples are made: non-negative, as features after a ReLU are, of `rank` common patterns and noise of
a fifth of their size.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import MiniBatchDictionaryLearning
from threadpoolctl import threadpool_limits

from vigil.features.engines import cpu_facts
from vigil.methods import _dictionary

CHANNELS = 2048
SIZES = {"shanghaitech": (175, 158), "ucf-crime": (800, 400)}  # videos, atoms
RANKS = (16, 100)


def samples(videos: int, rank: int) -> np.ndarray:
    """Channels by videos, (2048, V) float32."""
    r = np.random.default_rng(rank)
    patterns = np.abs(r.normal(size=(CHANNELS, rank))) ** 3  # most channels are quiet
    shares = r.dirichlet(np.full(rank, 0.3), videos)  # (V, rank)
    clean = patterns @ shares.T
    noise = 0.2 * clean.std() * np.abs(r.normal(size=clean.shape))
    return (clean + noise).astype(np.float32)


def ours(x: np.ndarray, atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Basis (S, V) and codes (2048, S)."""
    basis, codes = _dictionary.learn(torch.from_numpy(x), atoms)
    return basis.numpy(), codes.dense(atoms).numpy()


def theirs(x: np.ndarray, atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """The same by scikit-learn."""
    learner = MiniBatchDictionaryLearning(
        n_components=atoms, transform_algorithm="omp",
        transform_n_nonzero_coefs=_dictionary.NONZEROS, random_state=42, max_iter=2, batch_size=32,
        n_jobs=1, tol=0, max_no_improvement=None,
    )  # fmt: skip
    codes = learner.fit(x).transform(x)
    return learner.components_, codes


def run(learn: Any, x: np.ndarray, atoms: int) -> tuple[float, float, np.ndarray]:
    """Seconds, relative error, codes."""
    start = time.perf_counter()
    basis, codes = learn(x, atoms)
    seconds = time.perf_counter() - start
    return seconds, float(np.linalg.norm(x - codes @ basis) / np.linalg.norm(x)), codes


def measure(videos: int, atoms: int, rank: int, repeats: int) -> dict[str, Any]:
    """Medians over pairs; the first of ours warms up."""
    x = samples(videos, rank)
    run(ours, x, atoms)
    pairs = []
    for turn in range(repeats):
        order = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
        found = {learn: run(learn, x, atoms) for learn in order}
        pairs.append((found[ours], found[theirs]))
    mine, other = pairs[0]
    return {
        "samples": [CHANNELS, videos],
        "atoms": atoms,
        "rank": rank,
        "vigil_s": round(statistics.median(a[0] for a, _ in pairs), 3),
        "sklearn_s": round(statistics.median(b[0] for _, b in pairs), 2),
        "ratio": round(statistics.median(b[0] / a[0] for a, b in pairs), 1),
        "lowest_ratio": round(min(b[0] / a[0] for a, b in pairs), 1),
        "vigil_error": round(mine[1], 4),
        "sklearn_error": round(other[1], 4),
        "vigil_atoms_unused": int((mine[2] == 0).all(0).sum()),
        "sklearn_atoms_unused": int((other[2] == 0).all(0).sum()),
    }


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    out = Path(__file__).parent / "results/dictionary.json"
    parser.add_argument("--out", type=Path, default=out)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # scikit-learn stops some paths early and says so
    cases = {}
    with threadpool_limits(options.threads):
        for name, (videos, atoms) in SIZES.items():
            for rank in RANKS:
                case = measure(videos, atoms, rank, options.repeats)
                cases[f"{name}, rank {rank}"] = case
                print(name, json.dumps(case), flush=True)
    made = {
        "command": "python benchmarks/dictionary.py",
        "threads": options.threads,
        "repeats": options.repeats,
        "rival": "MiniBatchDictionaryLearning(max_iter=2, batch_size=32, n_jobs=1, tol=0, "
        "max_no_improvement=None), transform OMP with 2 atoms",
        "passes": _dictionary.PASSES,
        "cpu": cpu_facts(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "scikit-learn")},
    }
    options.out.write_text(json.dumps({"made": made, "cases": cases}, indent=2) + "\n")


if __name__ == "__main__":
    main()
