"""A memory of normal rows of features, scene by scene, that knows where each row comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vigil.methods._layers import keys, nearest
from vigil.records import Units

COLUMNS = ("key", "video", "frame", "scene", "row")


class RowMemory(nn.Module):
    """At most `most` rows of each scene, chosen by a fixed hash, so that taking footage in later
    equals having taken it in at once."""

    key: Tensor  # (M,) int64, random but fixed by video and frame: the lowest are kept
    video: Tensor  # (M,) int64 index into `videos`
    frame: Tensor  # (M,) int64
    scene: Tensor  # (M,) int64 index into `scenes`
    row: Tensor  # (M, D)

    def __init__(self, dim: int, most: int, seed: int = 0) -> None:
        super().__init__()
        self.most, self.seed = most, seed
        for name in COLUMNS[:-1]:
            self.register_buffer(name, torch.empty(0, dtype=torch.int64))
        self.register_buffer("row", torch.empty(0, dim))
        self.videos: list[str] = []
        self.scenes: list[str] = []

    def __len__(self) -> int:
        return len(self.key)

    def forget(self) -> None:
        """Nothing in memory."""
        self.videos, self.scenes = [], []
        for name in COLUMNS:
            setattr(self, name, getattr(self, name)[:0])

    def take(self, units: Units, rows: Tensor) -> None:
        """Take in the normal rows (N, D) of some units."""
        if not self.most:
            return
        n = len(units)
        new = {
            "key": keys(units, self.seed),
            "video": torch.full((n,), index_of(units.video, self.videos)),
            "frame": torch.from_numpy(units.first).long(),
            "scene": torch.full((n,), index_of(units.scene, self.scenes)),
            "row": rows.detach().float().cpu(),
        }
        for name, column in new.items():
            setattr(self, name, torch.cat([getattr(self, name), column]))
        if len(self) > 2 * self.most * len(self.scenes):
            self.thin()

    def thin(self) -> None:
        """Keep the rows with the lowest keys of each scene, each once, ordered by scene and key."""
        order = self.key.argsort()
        key = self.key[order]
        order = order[torch.cat([key[:1] == key[:1], key[1:] != key[:-1]])]
        scene = self.scene[order]
        kept = [order[scene == s][: self.most] for s in range(len(self.scenes))]
        chosen = torch.cat([*kept, order[:0]])
        for name in COLUMNS:
            setattr(self, name, getattr(self, name)[chosen])

    def of(self, scene: str) -> Tensor:
        """Rows of the memory that belong to a scene, (m,); all of them for one never seen."""
        if scene not in self.scenes:
            return torch.arange(len(self))
        return (self.scene == self.scenes.index(scene)).nonzero()[:, 0]

    def search(self, query: Tensor, among: Tensor, memory: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Distances (N, k) and memory rows (N, k) of the k nearest in `memory` (m, D), the rows
        `among` as the caller scaled them."""
        near, row = nearest(query, memory, k)
        return near, among[row]

    def place(self, row: int) -> tuple[str, int]:
        """Video and frame that a row of the memory comes from."""
        return self.videos[int(self.video[row])], int(self.frame[row])

    def facts(self) -> dict[str, Any]:
        return {"videos": self.videos, "scenes": self.scenes}

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        self.videos, self.scenes = list(facts.get("videos", ())), list(facts.get("scenes", ()))


def index_of(name: str, names: list[str]) -> int:
    """Where a name stands in a list, put at its end if it is new."""
    if name not in names:
        names.append(name)
    return names.index(name)
