"""A method's networks under the engine that scores: chosen once, at the fit, and told in its card.

What decides is not the network's output but the calibrated score: an engine under which the scores
of the held-out normal units move by more than `LIMIT` is refused, with the figure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vigil.errors import ConfigError, ModelError, VigilError
from vigil.features.engines import Flat, Runner, Task, attempt, runner
from vigil.methods.base import Method
from vigil.records import Units
from vigil.scores.calibrate import fit

LOG = logging.getLogger("vigil")
LIMIT = 0.05  # surprise, on average: a normal frame in 10 becomes one in 8.9
ROWS = 32  # of a network's inputs that engines are timed on
UNITS = 256  # of each window that engines are judged on
LEAST = 8  # inputs without which nothing is judged
PLAIN = ("torch", "float32")


def engage(method: Method, normal: Iterable[Units], engine: str, dtype: str) -> dict[str, Any]:
    """Put the fastest engine that keeps the scores under each of the method's networks.

    normal         held-out normal units; those first seen of each window are judged on
    engine, dtype  as of `vigil.features.engines.runner`; "torch", "float32" leaves all as it is
    Returns facts for the card, {} where plain torch stays. Where no engine keeps the scores, plain
    torch stays too, unless one was asked for by name: then ModelError.
    """
    method.runners = {}
    device = next(method.parameters(), torch.empty(0)).device.type
    if (engine, dtype) == PLAIN or not method.networks():
        return {}
    units = firsts(normal, len(method.windows)) if device == "cpu" else []
    plain, inputs = recorded(method, units)
    judged = {name for name, rows in inputs.items() if len(rows[0]) >= LEAST}
    if not judged or judged != set(method.networks()):
        if engine in ("auto", "torch"):
            return {}
        raise ConfigError(
            f"engine {engine}: {method.name} on {device} gives fewer than {LEAST} inputs of "
            f"each of its {len(method.networks())} networks to judge it by; give longer footage, "
            "or leave the engine out"
        )
    slower = [(engine, "float32")] if dtype == "auto" else []
    for choice in [(engine, dtype), *slower]:
        found = chosen(method, inputs, *choice)
        fast = {name: made for name, made in found.items() if (made.engine, made.dtype) != PLAIN}
        method.runners = {**fast}
        moved = change(plain, scores(method, units))
        if moved <= LIMIT:
            return {name: {**made.describe(), "moved": round(moved, 6)}
                    for name, made in fast.items()}  # fmt: skip
        LOG.warning("engine %s %s moves normal scores by %.3f of surprise, allowed %g: refused",
                    *choice, moved, LIMIT)  # fmt: skip
        method.runners = {}
    if engine != "auto":
        raise ModelError(f"engine {engine} {dtype} changes the scores of normal footage; use torch")
    return {}


def engage_again(method: Method, facts: Mapping[str, Mapping[str, Any]]) -> str:
    """The engines of a card under the networks once more, without measuring; "" or, where this
    machine cannot have one, why plain torch scores in its place."""
    method.runners = {}
    for name, (module, example) in method.networks().items():
        if name not in facts:
            continue
        try:
            method.runners[name] = as_before(module, example, facts[name])
        except VigilError as error:
            method.runners = {}
            return (
                f"calibrated under {facts[name]['engine']} {facts[name]['dtype']}, scored by plain "
                f"torch, which is slower; normal scores differ by {facts[name]['moved']:g} of "
                f"surprise ({error})"
            )
    return ""


def as_before(module: nn.Module, example: tuple[Tensor, ...], facts: Mapping[str, Any]) -> Runner:
    """The runner that a card tells of."""
    rows = [torch.cat([x[:1], x[:1] + 1]) for x in example]
    net = Flat(module.float().eval())
    with torch.no_grad():
        net(*rows)  # learns the form of what it returns
    task = Task(net, rows, 2, [], torch.get_num_threads())
    run = attempt(task, f"{facts['engine']}/{facts['dtype']}")
    return Runner(facts["engine"], facts["dtype"], facts["parity"], facts["seconds"], 2,
                  task.threads, {}, False, run, net, task.kinds)  # fmt: skip


# -- choosing ------------------------------------------------------------------------------------
def firsts(normal: Iterable[Units], windows: int) -> list[Units]:
    """The first units of each window."""
    found: dict[str, Units] = {}
    for units in islice(normal, 64):
        if len(units) > len(found.get(units.window, ())):
            found[units.window] = units[:UNITS]
        if len(found) == windows and all(len(u) >= UNITS for u in found.values()):
            break
    return list(found.values())


def chosen(
    method: Method, inputs: Mapping[str, tuple[Tensor, ...]], engine: str, dtype: str
) -> dict[str, Runner]:
    """The fastest runner of each network, whatever it changes: the scores are the judge."""
    found = {}
    for name, (module, _) in method.networks().items():
        rows = tuple(x[:ROWS] for x in inputs[name])
        found[name] = runner(module, [rows], engine, dtype, limit=inf)
    return found


def recorded(
    method: Method, units: list[Units]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[Tensor, ...]]]:
    """Scores by plain torch, and what came into each network meanwhile."""
    inputs: dict[str, tuple[Tensor, ...]] = {}

    def keep(name: str, module: nn.Module) -> Callable[..., Any]:
        def seen(*x: Tensor) -> Any:
            if name not in inputs or len(inputs[name][0]) < ROWS:
                held = inputs.get(name, tuple(t[:0] for t in x))
                inputs[name] = tuple(torch.cat([h, t]) for h, t in zip(held, x, strict=True))
            return module(*x)

        return seen

    method.runners = {name: keep(name, module) for name, (module, _) in method.networks().items()}
    plain = scores(method, units)
    method.runners = {}
    return plain, inputs


@torch.no_grad()
def scores(method: Method, units: list[Units]) -> dict[str, np.ndarray]:
    """{channel: raw scores} of units of several windows."""
    found: dict[str, np.ndarray] = {}
    for part in units:
        for name, values in method.score(part).items():
            found[name] = values.double().numpy().ravel()
    return found


def change(plain: Mapping[str, np.ndarray], fast: Mapping[str, np.ndarray]) -> float:
    """Mean absolute difference in calibrated score, of the channel it is largest in."""
    moves = [0.0]
    for name, values in plain.items():
        surprise = fit(values)
        moves.append(float(np.abs(surprise(values) - surprise(fast[name])).mean()))
    return max(moves) if np.isfinite(moves).all() else inf
