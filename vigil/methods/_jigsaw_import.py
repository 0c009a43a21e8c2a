"""The published checkpoints of `jigsaw`, as config keys and tensors of ours."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

from vigil.errors import ModelError


def from_published(
    state: Mapping[str, Tensor], keys: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config keys and own tensors from a state dict of the paper's network or of the four-head."""

    def side(key: str) -> int:
        return isqrt(len(state[f"{key}.weight"]))

    facts: dict[str, Any]
    if {"model.0.weight", "classifier_1.2.weight"} <= set(state):
        first, facts = state["model.0.weight"], {"net": "wide", "levels": "frame"}
        facts["frames"] = side("classifier_1.2")
    elif {"backbone.0.weight", "clip_temp_classifier.3.weight"} <= set(state):
        first, facts = state["backbone.0.weight"], {"net": "fourhead", "levels": "frame,clip"}
        facts["frames"] = side("frame_temp_classifier.3")
        facts["clips"] = side("clip_temp_classifier.3")
    else:
        raise ModelError(
            f"no network of jigsaw: found {sorted(state)[:8]}, expected model.0.weight and "
            "classifier_1.2.weight, or backbone.0.weight and clip_temp_classifier.3.weight"
        )
    facts["colour"] = first.shape[1] == 3
    # the wide network saw RoIAlign's cubes of objects, the four-head one squeezed whole frames
    seen = {"objects": "frame"} if facts["net"] == "fourhead" else {"crop": "roi"}
    given = {**seen, **facts, **keys}
    if any(given[key] != facts[key] for key in facts if key != "levels"):
        wrong = {key: facts[key] for key in facts if given[key] != facts[key]}
        raise ModelError(f"these weights are of {wrong}")
    return given, {f"net.{key}": value for key, value in state.items()}
