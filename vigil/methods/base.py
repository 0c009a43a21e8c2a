"""The contract every method keeps. A method imports records and torch, nothing else of Vigil.

A subclass, in one file: a frozen `Config` whose defaults are the paper's, `TINY` overrides for the
contract tests, `build`, `loss` or `prepare` (or both), `score`, and a card in its docstring.
Data reach a method as `Units` (to score) and `Batch` (to learn); both hold tensors under the keys
"window" and "window.provider", so that one function of a method can read either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from vigil.errors import ConfigError, unknown
from vigil.records import Batch, Reason, Units, Window

Terms = dict[str, Tensor]


class Method(nn.Module):
    """One way to tell normal from anomalous video. Subclasses set, in `build`:

    windows      {name: Window}: what is cut for it
    supervision  "normal" (units of normal videos), "video-label" (bags of normal and of anomalous
                 videos), "scene" (units with the index of their scene)
    lookahead    frames after f that f's score needs; None = the whole video (scored bag by bag)
    providers    {role: provider name}, e.g. {"objects": "foreground", "flow": "dis"}
    channels     {window name: names of the raw scores its units get}
    """

    Config: ClassVar[type]
    TINY: ClassVar[Mapping[str, Any]] = {}
    stands_on: ClassVar[str | None] = None  # name of the method whose trained model it needs
    name: str = ""  # as in `vigil methods`

    windows: dict[str, Window]
    channels: dict[str, tuple[str, ...]]
    supervision: Literal["normal", "video-label", "scene"] = "normal"
    lookahead: int | None = 0
    short_side: int | None = None  # frames are read at this size at most; None = the video's own
    fuse_units: Literal["mean", "max", "sum"] = "mean"  # channels of one unit -> one score
    fuse_windows: Literal["mean", "max"] = "mean"  # windows that answer one frame -> one score
    persist: float = 0.0  # seconds over which unit scores are averaged along each moving thing
    live_rows: int = 32  # of a method that needs the whole video: rows in its live sliding window

    def __init__(self, config: Any = None, *, base: Method | None = None, **keys: Any) -> None:
        super().__init__()
        self.name = self.name or type(self).__name__.lower()
        self.providers: dict[str, str] = {}
        self.scenes: tuple[str, ...] = ()
        self.runners: dict[str, Callable[..., Any]] = {}  # engines that stand in for networks
        self.config = make_config(self.Config, keys) if config is None else config
        if (base is None) != (self.stands_on is None):
            need = (
                f"needs a base model of method {self.stands_on!r}" if base is None else "takes none"
            )
            raise ConfigError(f"{type(self).__name__}: {need} (--base MODEL)")
        self.base = base
        self.build(self.config)
        if self.lookahead is not None:
            late = max(window.lookahead for window in self.windows.values())
            assert self.lookahead >= late, f"windows look {late} frames ahead, not {self.lookahead}"
        spans = [stop - first for first, stop in (w.answered for w in self.windows.values())]
        assert not self.persist or max(spans) == 1, "tubes are for units that answer one frame"

    def build(self, config: Any) -> None:
        """Make the networks and set the attributes named in the class docstring."""
        raise NotImplementedError

    # -- learning ------------------------------------------------------------------------------
    def prepare(self, bags: Iterable[Units]) -> None:
        """Once, before training, without gradient: dictionaries, memories, statistics.

        `bags` runs once over the normal training videos in order; a long video may come in
        several pieces of one window each.
        """

    def extend(self, bags: Iterable[Units]) -> None:
        """Take in more normal footage without starting over."""
        raise ConfigError(f"{type(self).__name__} cannot be extended; fit it again on all videos")

    def bag(self, units: Units) -> dict[str, Tensor]:
        """One training video as one item of a "video-label" batch: {key: (rows, ...)}."""
        return dict(units.x)

    def loss(self, batch: Batch) -> Terms:
        """The loss terms by name, scalars in float32; their sum is minimised."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Terms:
        return self.loss(batch)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """By name; empty for a method that learns in `prepare` alone."""
        weights = [w for w in self.parameters() if w.requires_grad]
        return {"adam": torch.optim.Adam(weights, lr=1e-4)} if weights else {}

    def fit_step(
        self,
        batch: Batch,
        optimizers: Mapping[str, torch.optim.Optimizer],
        backward: Callable[[Tensor], None],
        model: Callable[[Batch], Terms] | None = None,
    ) -> Terms:
        """One step of training; `model` is this method as the trainer wrapped it."""
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        terms = (model or self)(batch)
        backward(torch.stack(tuple(terms.values())).sum())
        for optimizer in optimizers.values():
            optimizer.step()
        return terms

    # -- scoring -------------------------------------------------------------------------------
    def score(self, units: Units) -> dict[str, Tensor]:
        """Raw scores of each unit by channel, (N,) or (N, answered frames); higher = anomalous.

        Called in eval mode without gradient. Rows do not depend on their batch companions,
        unless `lookahead` is None: then `units` is a whole bag.
        """
        raise NotImplementedError

    def explain(self, units: Units) -> list[Reason]:
        """A `Reason` for each unit; by default the heat is the gradient at the input."""
        return gradient_reasons(self, units)

    def pictures(self, batch: Batch) -> dict[str, np.ndarray]:
        """{name: (N, H, W, 3) uint8} of a batch in training, for who follows it; {} = nothing."""
        return {}

    # -- leaving and coming back ---------------------------------------------------------------
    def networks(self) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        """{name: (module, example inputs)}: what an engine may replace and an export must hold."""
        return {}

    def run(self, name: str, *inputs: Tensor) -> Any:
        """A network of `networks()`; while scoring, by the engine that stands in for it, if any."""
        if name in self.runners and not (self.training or torch.is_grad_enabled()):
            return self.runners[name](*inputs)
        return self.networks()[name][0](*inputs)

    def facts(self) -> dict[str, Any]:
        """What was learned that is no tensor (names, counts), as plain JSON."""
        return {}

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        """Take back what `facts` gave."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything learned, without the base model, which is saved as a model of its own."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("base.")}

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave; a memory may have another number of rows."""
        for name, buffer in list(self.named_buffers()):
            if name in state and buffer.ndim and buffer.shape[1:] == state[name].shape[1:]:
                owner, _, leaf = name.rpartition(".")
                setattr(self.get_submodule(owner), leaf, torch.empty_like(state[name]))
        own = {f"base.{k}": v for k, v in self.base.state_dict().items()} if self.base else {}
        self.load_state_dict({**own, **state})


def make_config(config: type, keys: Mapping[str, Any]) -> Any:
    """A method's `Config` from keywords; unknown ones and wrong values are refused by name."""
    known = config.__dataclass_fields__  # type: ignore[attr-defined]
    for key in keys:
        if key not in known:
            raise unknown("key", key, known)
    try:
        return config(**keys)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"key {where!r}: {first['msg']}; found {first['input']!r}") from None


def gradient_reasons(method: Method, units: Units) -> list[Reason]:
    """|gradient of the summed channels at the unit's own input|, summed to (h, w)."""
    with torch.enable_grad():
        main = units.x[units.window].detach().float().requires_grad_()
        seen = Units(
            units.window, units.video, {**units.x, units.window: main}, units.first, units.stop,
            units.seen_stop, units.box, units.scene, units.size,
        )  # fmt: skip
        total = torch.stack([channel.sum() for channel in method.score(seen).values()]).sum()
        (slope,) = torch.autograd.grad(total, main)
    heat = slope.abs()  # (N, T, 3, h, w) pixels, or (N, crops, D) rows
    while heat.ndim > 3:
        heat = heat.sum(1)
    return [Reason(heat=h.reshape(-1, h.shape[-1]).numpy(force=True), parts={}) for h in heat]
