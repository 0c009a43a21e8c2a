"""The costly part of a provider's network under a fast engine, for each size of input it meets."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vigil.errors import ConfigError
from vigil.features.engines import Runner, example_clips, runner

LOG = logging.getLogger("vigil")
PLAIN = ("torch", "float32")
Engine = Literal["torch", "auto", "openvino", "onnx"]
Dtype = Literal["auto", "float32", "bf16", "int8"]


class Quick(nn.Module):
    """A network for images (B, C, H, W) under the engine that suits it, chosen anew for each size.

    engine, dtype  as of `vigil.features.engines.runner`, with its gate: with "auto", plain torch
    stays where no engine is faster and keeps the numbers; one asked for by name is refused with
    ModelError instead. The log says what was tried.
    """

    def __init__(self, net: nn.Module, engine: str, dtype: str = "auto") -> None:
        super().__init__()
        self.net, self.engine, self.dtype = net, engine, dtype
        self.made: dict[tuple[torch.Size, ...], Runner | None] = {}

    def forward(self, *images: Tensor) -> Any:
        sizes = tuple(x.shape[1:] for x in images)
        if sizes not in self.made:
            self.made[sizes] = self.chosen(sizes)
        found = self.made[sizes]
        return self.net(*images) if found is None else found(*images)

    def chosen(self, sizes: tuple[torch.Size, ...]) -> Runner | None:
        """The engine for inputs of these sizes, judged on textures; None = plain torch."""
        each = [example_clips(size, seed=seed) for seed, size in enumerate(sizes)]
        examples = [tuple(x for (x,) in row) for row in zip(*each, strict=True)]
        with torch.inference_mode(False):  # engines keep what they are given
            made = runner(self.net, examples, self.engine, self.dtype)
        name = type(self.net).__name__
        LOG.info("%s runs under %s %s: %s", name, made.engine, made.dtype, dict(made.tried))
        return None if (made.engine, made.dtype) == PLAIN else made


def under(net: nn.Module, settings: Any) -> nn.Module:
    """The network as a provider's settings (`engine`, `dtype`, `device`) ask for it."""
    if settings.engine == "torch":
        return net
    if torch.device(settings.device).type != "cpu":
        raise ConfigError(
            f"key 'engine': {settings.engine!r} runs on the CPU, the network on "
            f"{settings.device!r}; leave one of the two out"
        )
    return Quick(net, settings.engine, settings.dtype).eval()


def quickened(net: nn.Module, parts: Mapping[str, nn.Module]) -> nn.Module:
    """A network that shares all but some of its parts with `net`, which stays as it is."""
    found = copy.copy(net)
    found._modules = {**net._modules, **parts}
    return found
