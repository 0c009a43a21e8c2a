"""Vigil: video anomaly detection that learns what is normal and says why something is not.

import vigil
data = vigil.dataset("street")
model = vigil.fit(vigil.method("nearest"), data.train, val=data.val, out="runs/first")
print(vigil.evaluate(model, data.test))
scores = vigil.score(vigil.load("runs/first"), "street.mp4")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["dataset", "evaluate", "extend", "fit", "load", "method", "save", "score"]

if TYPE_CHECKING:
    from vigil.bundle import save
    from vigil.ensembles import load
    from vigil.pipeline import dataset, evaluate, extend, fit, method, score


def __getattr__(name: str) -> Any:
    """The verbs, imported when first used: `import vigil` alone stays cheap."""
    if name not in __all__:
        raise AttributeError(f"module 'vigil' has no attribute {name!r}")
    from importlib import import_module

    room = {"load": "vigil.ensembles", "save": "vigil.bundle"}.get(name, "vigil.pipeline")
    return getattr(import_module(room), name)
