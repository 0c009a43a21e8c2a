"""Fast runners for frozen networks: torch, OpenVINO or ONNX Runtime, whichever is best here.

    run = runner(network, examples)             # measures, checks, decides once
    rows = run(clips)                           # (N, 3, T, H, W) to (N, D), as network(clips)

A runner is used only if the *differences* between its outputs of different clips are those of
float32 torch (`parity`): they are what tells one clip from another.
"""

from __future__ import annotations

import copy
import importlib.metadata as metadata
import os
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vigil.errors import ConfigError, ExtraError, ModelError, VigilError, unknown
from vigil.features import _engine_mvit, _engine_onnx, _engine_openvino, _engine_torch
from vigil.features._engine_gate import example_clips, joined, parity, told

__all__ = ["Runner", "cpu_facts", "example_clips", "parity", "runner"]

DTYPES = {
    "torch": ("float32", "bf16"),
    "openvino": ("float32", "bf16", "int8"),
    "onnx": ("float32",),
}
PACKAGES = {"torch": "torch", "openvino": "openvino", "onnx": "onnxruntime"}
LIMIT = 0.02  # of the gate
ROUNDS = 5  # of measuring
HOPELESS = 1.5  # times as slow as the best in its first timed call: not measured further
LEFT_OUT = "left out: OpenVINO runs it, and was faster on every network of benchmarks/engines.py"

Outputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@dataclass(frozen=True)
class Runner:
    """A network under the engine that was chosen; call it with the network's own inputs.

    parity    relative error of the differences between outputs, against float32 torch
    seconds   of one call with the first example, median
    batch     rows of that example
    tried     engine and dtype -> seconds of a call, or why not
    """

    engine: str
    dtype: str
    parity: float
    seconds: float
    batch: int
    threads: int
    tried: Mapping[str, float | str]
    compiled: bool
    run: Run = field(repr=False)
    net: Flat = field(repr=False)
    inputs: tuple[tuple[torch.dtype, tuple[int, ...]], ...] = field(repr=False)

    def __call__(self, *inputs: Tensor) -> Outputs:
        """What the network returns for `inputs`, of any batch size, in float32 on the CPU.

        May be called from several threads. Raises ModelError for inputs of another shape or type
        than the examples had.
        """
        found = tuple((x.dtype, tuple(x.shape[1:])) for x in inputs)
        if found != self.inputs:
            raise ModelError(f"runner made for inputs {told(self.inputs)}; got {told(found)}")
        with torch.no_grad():
            return self.net.shaped(self.run(inputs))

    def describe(self) -> dict[str, Any]:
        """Plain facts for a header or a card."""
        return {
            "engine": self.engine,
            "version": metadata.version(PACKAGES[self.engine]),
            "dtype": self.dtype,
            "compiled": self.compiled,
            "parity": round(self.parity, 6),
            "seconds": round(self.seconds, 6),
            "batch": self.batch,
            "threads": self.threads,
            "cpu": cpu_facts()["model"],
            "tried": dict(self.tried),
        }


def runner(
    module: nn.Module,
    examples: Sequence[tuple[Tensor, ...]],
    engine: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    compile: bool = False,
    limit: float = LIMIT,
) -> Runner:
    """The fastest way to run `module` on this CPU that keeps its numbers.

    module     any network whose tensors, in and out, have the batch as their first axis and whose
               rows do not depend on one another; returns a tensor, a tuple or a dict. Not altered
    examples   its inputs, at least 8 different rows in all. The first one's batch is what is timed
    engine     "torch", "openvino", "onnx"; "auto" measures those that are installed, ONNX Runtime
               only where OpenVINO cannot run the network, as its export takes longest
    dtype      "float32", "bf16", "int8" (OpenVINO's, never tried by itself); "auto" measures the
               first two
    threads    of the engine; those of torch if not given
    compile    also try torch.compile, which takes 10 to 50 s and a C++ compiler

    Raises ConfigError for unknown names and too few examples, ExtraError if the engine asked for
    is not installed, ModelError if it cannot run the network or changes its numbers by more than
    `limit` (2 %, see `parity`). With "auto", such reasons are found in `tried`.
    """
    names = candidates(engine, dtype, compile)
    task = Task.of(module, examples, threads or torch.get_num_threads())
    tried: dict[str, float | str] = {}
    errors: dict[str, VigilError] = {}
    made: dict[str, Run] = {}
    for name in names:
        if engine == "auto" and name.startswith("onnx") and "openvino/float32" in made:
            tried[name] = LEFT_OUT
            continue
        try:
            made[name] = attempt(task, name)
        except VigilError as error:
            errors[name], tried[name] = error, str(error)
    return fastest(task, made, tried, errors, limit)


def fastest(
    task: Task, made: dict[str, Run], tried: dict[str, float | str], errors: dict[str, VigilError],
    limit: float = LIMIT,
) -> Runner:  # fmt: skip
    """The fastest of those made that passes the gate; slower ones never have to."""
    first = [x[: task.batch] for x in task.rows]
    seconds = measured({name: partial(run, first) for name, run in made.items()})
    for name in sorted(seconds, key=seconds.__getitem__):
        try:
            error_found = gate(name, task, made[name], limit)
        except ModelError as error:
            errors[name], tried[name] = error, str(error)
            continue
        tried |= {n: s for n, s in seconds.items() if n not in tried}
        engine, dtype, *compiled = name.split("/")
        return Runner(engine, dtype, error_found, seconds[name], task.batch, task.threads, tried,
                      bool(compiled), made[name], task.net, task.kinds)  # fmt: skip
    raise summed(errors)


def candidates(engine: str, dtype: str, compile: bool) -> list[str]:
    """What to try, as "engine/dtype" or "torch/dtype/compiled"."""
    if engine not in (*DTYPES, "auto"):
        raise unknown("engine", engine, (*DTYPES, "auto"))
    if dtype not in (*DTYPES["openvino"], "auto"):
        raise unknown("dtype", dtype, (*DTYPES["openvino"], "auto"))
    facts = cpu_facts()
    slow = facts["avx512_bf16"] is False and facts["amx_bf16"] is False
    usual = ("float32",) if slow else ("float32", "bf16")  # bf16 is emulated there, very slowly
    wanted = usual if dtype == "auto" else (dtype,)
    engines = DTYPES if engine == "auto" else (engine,)
    names = [f"{e}/{d}" for e in engines for d in wanted if d in DTYPES[e]]
    if not names:
        known = ", ".join(DTYPES[engine])
        raise ConfigError(f"engine {engine} has no dtype {dtype}; it has {known}")
    return names + [f"{n}/compiled" for n in names if compile and n.startswith("torch")]


# -- one engine ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Task:
    """What every engine is given: network, rows of its inputs, and what torch makes of them."""

    net: Flat
    rows: list[Tensor]  # one tensor an input, the examples' rows joined
    batch: int  # of the first example
    expected: list[Tensor]  # one tensor an output, float32
    threads: int
    models: dict[str, Any] = field(default_factory=dict)  # converted once, compiled often

    @classmethod
    def of(cls, module: nn.Module, examples: Sequence[tuple[Tensor, ...]], threads: int) -> Task:
        places = {p.device.type for p in module.parameters()} | {"cpu"}
        if places != {"cpu"}:
            raise ConfigError(f"engines run on the CPU, the network is on {', '.join(places)}")
        rows = joined(examples)
        batch = len(examples[0][0])
        net = Flat(copy.deepcopy(module).float().eval().requires_grad_(False))
        with _engine_torch.using(threads), torch.no_grad():
            found = [net(*(x[i : i + batch] for x in rows)) for i in range(0, len(rows[0]), batch)]
        expected = [torch.cat(column).float() for column in zip(*found, strict=True)]
        net.module = _engine_mvit.fold(net.module)  # judged, like all else, against the original
        return cls(net, rows, batch, expected, threads)

    @property
    def kinds(self) -> tuple[tuple[torch.dtype, tuple[int, ...]], ...]:
        return tuple((x.dtype, tuple(x.shape[1:])) for x in self.rows)


class Flat(nn.Module):
    """A network that returns a tuple of tensors, whatever `module` returns."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.form: type | tuple[str, ...] = Tensor  # of the last call; the keys of a dict

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        found = self.module(*inputs)
        if isinstance(found, Tensor):
            self.form = Tensor
            return (found,)
        self.form = tuple(found) if isinstance(found, dict) else tuple
        return tuple(found.values() if isinstance(found, dict) else found)

    def shaped(self, outputs: Sequence[Tensor]) -> Outputs:
        """`outputs` in the form in which the module returns them."""
        if self.form is Tensor:
            return outputs[0]
        if isinstance(self.form, tuple):
            return dict(zip(self.form, outputs, strict=True))
        return tuple(outputs)


def attempt(task: Task, name: str) -> Run:
    """The engine's function, called once; ModelError if there is none, whatever the engine says."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            run = make(task, *name.split("/"))
            run([x[: task.batch] for x in task.rows])
            return run
    except VigilError:
        raise
    except Exception as error:  # engines raise whatever they like
        raise ModelError(f"{name} cannot run it: {reason(error)}") from error


def make(task: Task, engine: str, dtype: str, compiled: str = "") -> Run:
    sample = [x[:2] for x in task.rows]  # of a single row, the 1 would become a constant
    if engine == "onnx":
        return _engine_onnx.make(task.net, sample, task.threads)
    if engine == "torch":
        return _engine_torch.make(task.net, sample, dtype, task.threads, bool(compiled))
    return openvino(task, sample, dtype)


def reason(error: BaseException) -> str:
    """What lies at the bottom of an engine's error, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def openvino(task: Task, sample: Sequence[Tensor], dtype: str) -> Run:
    """OpenVINO's function; the network is converted once for all dtypes."""
    if "openvino" not in task.models:
        task.models["openvino"] = _engine_openvino.converted(task.net, sample)
    model, facts = task.models["openvino"], cpu_facts()
    precision = {"float32": "f32", "bf16": "bf16"}.get(dtype)
    if precision is None:  # 8 bits, and what cannot be done in 8 bits
        rows = zip(*(x.split(1) for x in task.rows), strict=True)
        model = _engine_openvino.quantised(model, list(rows))
        precision = "bf16" if facts["avx512_bf16"] or facts["amx_bf16"] else "f32"
    return _engine_openvino.make(model, precision, task.threads)


def summed(errors: Mapping[str, VigilError]) -> VigilError:
    """One error out of those of all candidates."""
    if len(errors) == 1:
        return next(iter(errors.values()))
    missing = [e for e in errors.values() if isinstance(e, ExtraError)]
    if len(missing) == len(errors):
        return missing[0]
    return ModelError("; ".join(map(str, errors.values())))


# -- the gate ------------------------------------------------------------------------------------
def gate(name: str, task: Task, run: Run, limit: float = LIMIT) -> float:
    """The worst `parity` of any output over the examples; ModelError, with it, if above.

    The examples go through in the first one's batch size, then some of them in another.
    """
    count = len(task.rows[0])
    other = task.batch + 1 if task.batch < count else task.batch - 1
    try:
        chunks = zip(*(x.split(task.batch) for x in task.rows), strict=True)
        found = [run(chunk) for chunk in chunks] + [run([x[:other] for x in task.rows])]
        outputs = [torch.cat(list(column)) for column in zip(*found, strict=True)]
    except Exception as error:
        raise ModelError(f"{name} fails at another batch size: {reason(error)}") from error
    wanted = [torch.cat([y, y[:other]]) for y in task.expected]
    if [y.shape for y in outputs] != [y.shape for y in wanted]:
        raise ModelError(
            f"{name} returns other shapes than torch: {[tuple(y.shape) for y in outputs]}"
        )
    worst = max(parity(f, g) for f, g in zip(wanted, outputs, strict=True))
    if not worst <= limit:
        raise ModelError(
            f"{name} changes the numbers: relative error {worst:.3g} of the differences between "
            f"{count} examples, allowed {limit:g}"
        )
    return worst


def measured(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each call, taken in turns after two calls each."""
    for call in calls.values():
        call()
    taken = {name: [timed(call)] for name, call in calls.items()}
    best = min((times[0] for times in taken.values()), default=0.0)
    names = [name for name, times in taken.items() if times[0] <= HOPELESS * best]
    for name in names:
        taken[name].clear()  # the first is still a warm-up
    for _ in range(ROUNDS):
        for name in names:
            taken[name].append(timed(calls[name]))
        names.reverse()
    return {name: statistics.median(times) for name, times in taken.items()}


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# -- the machine ---------------------------------------------------------------------------------
def cpu_facts() -> dict[str, Any]:
    """The processor's name and cores, and whether it has units for bfloat16 (None: not told)."""
    facts: dict[str, Any] = {
        "model": None, "cores": os.cpu_count(), "avx512_bf16": None, "amx_bf16": None
    }  # fmt: skip
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return facts
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    told = {key.strip(): value.strip() for key, value in told.items()}
    if "flags" in told:
        facts |= {name: name in told["flags"].split() for name in ("avx512_bf16", "amx_bf16")}
    return {**facts, "model": told.get("model name")}
