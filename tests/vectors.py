"""The golden vectors: arrays that the authors' own code gave for weights made by formula."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))
fill = importlib.import_module("fill")


def golden(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and facts of one file."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file), json.loads((GOLDEN / f"{name}.json").read_text())
