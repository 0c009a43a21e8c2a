"""AUC and AP of one score a frame: `vigil.metrics.frames` against scikit-learn, paired.

    python benchmarks/auc.py [--frames 1000000 10000000] [--repeats 5] [--out FILE]

scikit-learn needs two calls and so sorts twice; both libraries see the same arrays, in turn, and
a pair's ratio is taken before the median. The values must agree to 1e-12.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.metrics import average_precision_score, roc_auc_score

from vigil.metrics import frames

HERE = Path(__file__).parent


def cases(n: int) -> dict[str, np.ndarray]:
    """Score arrays (n,) of the kinds that occur."""
    r = np.random.default_rng(0)
    return {
        "calibrated, float64": -np.log10(r.random(n)),
        "signed, float32": r.normal(size=n).astype(np.float32),
        "of 16-frame snippets, float32": np.repeat(r.random(n // 16, np.float32), 16),
    }


def ours(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """One sort for both."""
    found = frames.frame_metrics({"all": (scores, labels)}, macro=False)
    auc, ap = found["micro_auc"].value, found["ap"].value
    assert auc is not None and ap is not None
    return auc, ap


def theirs(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """What a user would call."""
    return roc_auc_score(labels, scores), average_precision_score(labels, scores)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds and the result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measure(scores: np.ndarray, repeats: int) -> dict[str, Any]:
    """Median seconds of each, and the median ratio of the pairs."""
    labels = np.random.default_rng(1).random(len(scores)) < 0.2
    pairs, apart = [], 0.0
    for turn in range(repeats + 1):  # the first warms up
        a, mine = seconds(lambda: ours(scores, labels))
        b, other = seconds(lambda: theirs(scores, labels))
        apart = max(apart, *(abs(x - y) for x, y in zip(mine, other, strict=True)))
        if turn:
            pairs.append((a, b))
    assert apart < 1e-12, apart
    return {
        "vigil_s": round(statistics.median(a for a, _ in pairs), 4),
        "sklearn_s": round(statistics.median(b for _, b in pairs), 4),
        "ratio": round(statistics.median(b / a for a, b in pairs), 2),
        "largest_difference": apart,
    }


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "auc.json")
    options = parser.parse_args()
    rows = []
    for n in options.frames:
        for name, scores in cases(n).items():
            row = {"frames": n, "scores": name, **measure(scores, options.repeats)}
            print(row, flush=True)
            rows.append(row)
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    versions |= {"scikit-learn": sklearn.__version__, "cpu": cpu()}
    result = {
        "what": "AUC, AP, EER of Vigil (one sort) against AUC, AP of scikit-learn (two calls)",
        "repeats": options.repeats, "versions": versions, "rows": rows,
    }  # fmt: skip
    options.out.write_text(json.dumps(result, indent=1) + "\n")


def cpu() -> str:
    """Name of the processor, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
