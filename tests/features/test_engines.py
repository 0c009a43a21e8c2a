"""Fast runners keep a network's numbers, whatever it returns, or are refused with the figure."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vigil.errors import ConfigError, ExtraError, ModelError
from vigil.features import _engine_mvit, _engine_torch, engines
from vigil.features.engines import Runner, cpu_facts, example_clips, parity, runner

SHAPE = (3, 4, 24, 24)  # of a clip: C, T, H, W
NAMED = [("torch", "float32"), ("torch", "bf16"), ("openvino", "float32"), ("openvino", "bf16"),
         ("openvino", "int8"), ("onnx", "float32")]  # fmt: skip
INT8 = 0.5  # what 8 bits do to the toy network below
NEEDS = {"openvino": ["openvino", "nncf"], "onnx": ["onnxruntime", "onnxscript"], "torch": []}


class Clips(nn.Module):
    """Convolutions, batch norm, a pool that torch lacks in bfloat16, and attention."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm3d(16)
        self.query, self.out = nn.Linear(16, 48), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool3d(self.norm(self.conv(x)).relu(), (2, 4, 4))  # (N, 16, 2, 6, 6)
        q, k, v = self.query(x.flatten(2).transpose(1, 2)).chunk(3, -1)  # (N, 72, 16) each
        seen = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])
        return self.out(seen[:, 0]).mean(1)


class Forms(nn.Module):
    """Two inputs; returns a tensor, a tuple or a dict."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.form, self.a, self.b = form, nn.Linear(12, 7), nn.Linear(12, 5)

    def forward(self, x: Tensor, y: Tensor) -> object:
        one, two = self.a(x).tanh(), self.b(x * y)
        return {"one": one, "two": two} if self.form == "dict" else (one, two)


class NoComplex(nn.Module):
    """An operation that only torch has."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x @ x.mT).real.sort().values


def need(engine: str) -> None:
    for package in NEEDS[engine]:
        pytest.importorskip(package, reason=f"engine {engine} needs {package}")


def pairs(count: int = 9) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(3)
    return [
        (torch.randn(1, 12, generator=random), torch.randn(1, 12, generator=random))
        for _ in range(count)
    ]


# -- the gate ------------------------------------------------------------------------------------
def literal(reference: Tensor, found: Tensor) -> float:
    """The formula word for word, over all pairs."""
    above = below = 0.0
    for i in range(len(reference)):
        for j in range(i):
            f, g = reference[i] - reference[j], found[i] - found[j]
            above += float((g - f).square().sum())
            below += float(f.square().sum())
    return math.sqrt(above / below)


def test_parity_is_its_formula() -> None:
    random = torch.Generator().manual_seed(0)
    f = torch.randn(9, 4, 5, generator=random, dtype=torch.float64) + 3
    g = f + 0.1 * torch.randn(9, 4, 5, generator=random, dtype=torch.float64)
    assert parity(f, g) == pytest.approx(literal(f, g), rel=1e-12)
    assert parity(f, f + 7) == pytest.approx(0, abs=1e-14)  # a shared offset is no difference
    assert parity(f, 1.5 * f) == pytest.approx(0.5, rel=1e-12)


def test_parity_of_what_cannot_be_compared_is_infinite() -> None:
    f = torch.arange(8.0)[:, None]
    assert parity(f, f.clone().index_fill_(0, torch.tensor(3), math.nan)) == math.inf
    assert parity(torch.ones(8, 1), f) == math.inf
    assert parity(torch.ones(8, 1), torch.ones(8, 1)) == 0


@pytest.mark.parametrize("scale, passes", [(1.015, True), (1.03, False)])
def test_gate_lets_two_percent_through(scale: float, passes: bool) -> None:
    task = engines.Task.of(Clips(), example_clips(SHAPE), 1)

    def broken(inputs: list[Tensor]) -> list[Tensor]:
        return [y * scale for y in task.net(*inputs)]

    if passes:
        assert engines.gate("x", task, broken) == pytest.approx(0.015, rel=1e-4)
    else:
        with pytest.raises(ModelError, match=r"relative error 0\.03 .* 8 examples, allowed 0\.02"):
            engines.gate("x", task, broken)


def test_gate_sees_rows_swapped_and_batch_sizes_confused() -> None:
    task = engines.Task.of(Clips(), example_clips(SHAPE), 1)
    with pytest.raises(ModelError, match="relative error"):  # only wrong for more than one row
        engines.gate("x", task, lambda inputs: [y.flip(0) for y in task.net(*inputs)])
    with pytest.raises(ModelError, match="other shapes"):
        engines.gate("x", task, lambda inputs: [y[:1] for y in task.net(*inputs)])


def test_broken_engine_is_refused_by_name_and_passed_over_by_auto(monkeypatch) -> None:
    good = _engine_torch.make

    def make(net, sample, dtype, threads, compile):
        run = good(net, sample, dtype, threads, compile)
        return (lambda inputs: [y.round() for y in run(inputs)]) if dtype == "bf16" else run

    monkeypatch.setattr(_engine_torch, "make", make)
    with pytest.raises(ModelError, match=r"torch/bf16 changes the numbers: relative error 1 "):
        runner(Clips(), example_clips(SHAPE), "torch", "bf16")
    # times are made up, so that the broken one comes first
    monkeypatch.setattr(engines, "measured", lambda calls: {n: 1 - ("bf" in n) / 2 for n in calls})
    found = runner(Clips(), example_clips(SHAPE), "torch")
    if "torch/bf16" in found.tried:  # tried only where the processor has units for it
        assert (found.engine, found.dtype) == ("torch", "float32")
        assert "relative error 1 " in str(found.tried["torch/bf16"])
        assert found.tried["torch/float32"] == 1


# -- the engines ---------------------------------------------------------------------------------
@pytest.mark.parametrize("engine, dtype", NAMED)
def test_engine_gives_the_same_rows_in_any_batch(engine: str, dtype: str) -> None:
    need(engine)
    if dtype == "int8":  # a net this small is far beyond the gate in 8 bits
        with pytest.raises(ModelError, match="openvino/int8 changes the numbers"):
            runner(Clips(), example_clips(SHAPE, 9), engine, dtype)
    limit = INT8 if dtype == "int8" else engines.LIMIT
    net, clips = Clips().train(), example_clips(SHAPE, 9)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    run = runner(net, clips, engine, dtype, threads=1, limit=limit)
    assert net.training and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    rows = torch.cat([c[0] for c in clips])  # (9, *SHAPE)
    with torch.no_grad():
        wanted = net.eval()(rows)
    for batch in (1, 2, 5, 9):
        got = torch.cat([run(x) for x in rows.split(batch)])
        assert got.dtype == torch.float32 and got.shape == wanted.shape
        assert parity(wanted, got) <= {"float32": 2e-5, "bf16": 0.02, "int8": INT8}[dtype], batch
    assert (run.engine, run.dtype, run.batch, run.threads) == (engine, dtype, 1, 1)
    assert (run.parity > 1e-4) is (dtype != "float32")  # really in fewer bits
    facts = run.describe()
    assert facts["engine"] == engine and facts["parity"] == round(run.parity, 6)
    assert facts["seconds"] > 0


@pytest.mark.parametrize("engine", NEEDS)
@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_two_inputs_and_all_forms_of_output(engine: str, form: str) -> None:
    need(engine)
    net = Forms(form)
    run = runner(net, pairs(), engine, "float32")
    x, y = (torch.cat(column) for column in zip(*pairs(4), strict=True))
    wanted, got = net(x, y), run(x, y)
    assert type(got) is type(wanted)
    values = zip(*(v.values() if form == "dict" else v for v in (wanted, got)), strict=True)
    assert form != "dict" or list(got) == ["one", "two"]
    for a, b in values:
        assert not b.requires_grad
        torch.testing.assert_close(a.detach(), b, rtol=1e-4, atol=1e-5)


def test_auto_takes_what_was_fastest_and_tells_the_rest() -> None:
    run = runner(Clips(), example_clips(SHAPE))
    times = {name: s for name, s in run.tried.items() if isinstance(s, float)}
    assert times[f"{run.engine}/{run.dtype}"] == run.seconds
    others = {n: s for n, s in times.items() if s < run.seconds}
    assert not others and "torch/float32" in run.tried
    assert not any("int8" in name for name in run.tried)
    if "openvino/float32" in times:
        assert run.tried["onnx/float32"] == engines.LEFT_OUT


def test_auto_falls_back_when_an_operation_is_unknown() -> None:
    need("openvino")
    random = torch.Generator().manual_seed(0)
    clips = [(torch.randn(1, 6, 6, generator=random),) for _ in range(8)]
    run = runner(NoComplex(), clips)
    assert logging.getLogger("vigil").isEnabledFor(logging.WARNING)  # not silenced by the attempt
    assert (run.engine, run.dtype) == ("torch", "float32")
    assert "cannot run it" in str(run.tried["openvino/float32"])
    with pytest.raises(ModelError, match="openvino/float32 cannot run it"):
        runner(NoComplex(), clips, "openvino", "float32")


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_batch_size_frozen_into_a_traced_network_is_seen(engine: str) -> None:
    need(engine)

    class Frozen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(int(x.shape[0]), -1).cos()  # a plain number for whoever traces it

    with pytest.raises(ModelError, match="cannot run it|batch size|shapes|changes the numbers"):
        runner(Frozen(), example_clips(SHAPE), engine)
    assert runner(Frozen(), example_clips(SHAPE)).engine == "torch"


def test_positions_folded_into_attention_give_the_same_numbers() -> None:
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    def block(width: int, out: int, heads: int, q: int, kv: int) -> MSBlockConfig:
        return MSBlockConfig(heads, width, out, [3] * 3, [3] * 3, [1, q, q], [1, kv, kv])

    torch.manual_seed(0)
    blocks = [block(8, 8, 1, 1, 4), block(8, 16, 2, 2, 2), block(16, 16, 2, 1, 2)]
    net = MViT((48, 64), 4, blocks, True, False, True, True, num_classes=5).eval()
    for layer in net.blocks:
        for rows in (layer.attn.rel_pos_t, layer.attn.rel_pos_h, layer.attn.rel_pos_w):
            nn.init.normal_(rows)
    clips = torch.cat([c[0] for c in example_clips((3, 4, 48, 64))])
    with torch.no_grad():
        wanted = net(clips)
        got = _engine_mvit.fold(net)(clips)
    assert all(isinstance(layer.attn, _engine_mvit.Folded) for layer in net.blocks)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert wanted.std(0).max() > 0.01


def test_network_that_cannot_lie_channels_last() -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv3d(3, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).view(len(x), -1)

    run = runner(Views(), example_clips(SHAPE), "torch", "bf16")
    assert run(example_clips(SHAPE)[0][0]).shape == (1, 8 * 2 * 22 * 22)


def test_compiled_needs_a_compiler(monkeypatch) -> None:
    monkeypatch.setattr(_engine_torch.shutil, "which", lambda name: None)
    run = runner(Clips(), example_clips(SHAPE), "torch", "float32", compile=True)
    assert "install g++" in str(run.tried["torch/float32/compiled"])
    assert run.describe()["compiled"] is False


def test_runner_from_other_threads_and_with_its_own_number_of_threads() -> None:
    clips = example_clips(SHAPE)
    net = Clips().eval()
    runs = [runner(net, clips, e, "float32", threads=1) for e in ("torch", *installed())]
    wanted = net(clips[0][0]).detach()
    found: list[Tensor] = []

    def work() -> None:
        for _ in range(20):
            found.extend(run(clips[0][0]) for run in runs)

    before = torch.get_num_threads()
    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert len(found) == 60 * len(runs) and torch.get_num_threads() == before
    for got in found:
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def installed() -> list[str]:
    return [e for e, file in (("openvino", "openvino"), ("onnx", "onnxruntime")) if has(file)]


def has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), _engine_torch.using(before + 1):
        assert torch.get_num_threads() == before + 1
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == before


# -- what users get wrong ------------------------------------------------------------------------
def test_wrong_calls_say_what_was_expected() -> None:
    clips, net = example_clips(SHAPE), Clips()
    with pytest.raises(ConfigError, match="did you mean 'openvino'"):
        runner(net, clips, "openvinno")
    with pytest.raises(ConfigError, match="unknown dtype 'fp16'"):
        runner(net, clips, dtype="fp16")
    with pytest.raises(ConfigError, match="onnx has no dtype bf16; it has float32"):
        runner(net, clips, "onnx", "bf16")
    with pytest.raises(ConfigError, match="1 different examples; .* at least 8"):
        runner(net, clips[:1] * 8)
    with pytest.raises(ConfigError, match="0 different examples"):
        runner(net, [])
    with pytest.raises(ConfigError, match="several shapes"):
        runner(net, [*clips, *example_clips((3, 4, 16, 16))])
    run = runner(net, clips, "torch", "float32")
    with pytest.raises(ModelError, match=r"made for .*\(N, 3, 4, 24, 24\) float32.*got .*16, 16"):
        run(torch.zeros(1, 3, 4, 16, 16))
    with pytest.raises(ModelError, match="float64"):
        run(clips[0][0].double())


CHILD = """
import sys, torch
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("openvino", "onnxruntime"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from vigil.features.engines import example_clips, runner
from vigil.errors import ExtraError
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())
clips = example_clips((3, 8, 8))
for engine in ("openvino", "onnx"):
    try:
        runner(net, clips, engine)
    except ExtraError as error:
        print(error)
run = runner(net, clips)
print(run.engine, "|", run.tried["openvino/float32"], "|", run.tried["onnx/float32"])
"""


def test_missing_extras_are_named() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD], capture_output=True, text=True, timeout=60
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr[-2000:]
    assert (
        "engine openvino needs the package 'openvino': pip install 'vigil-vad[openvino]'"
        in (lines[0])
    )
    assert "engine onnx needs the package 'onnxruntime': pip install 'vigil-vad[onnx]'" in lines[1]
    assert lines[2].startswith("torch | ") and lines[2].count("pip install") == 2


QUIET = """
import socket, torch
def refused(*a, **k): raise SystemExit("somebody was called")
socket.socket.connect = refused
from vigil.features.engines import example_clips, runner
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())
for engine, dtype in (("openvino", "float32"), ("openvino", "int8"), ("onnx", "float32")):
    runner(net, example_clips((3, 8, 8)), engine, dtype, limit=1)
"""


def test_engines_leave_no_file_print_nothing_and_call_nobody(tmp_path: Path) -> None:
    need("openvino")
    need("onnx")
    env = os.environ | {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "temporary")}
    for name in ("home", "work", "temporary"):
        (tmp_path / name).mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET], cwd=tmp_path / "work",
        env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert [p for name in ("home", "work") for p in (tmp_path / name).rglob("*")] == []
    assert done.stdout == ""


# -- helpers -------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(3, 16, 20), (3, 8, 16, 20)])
def test_example_clips_differ_and_are_smooth(shape: tuple[int, ...]) -> None:
    clips = torch.cat([c[0] for c in example_clips(shape, 10, seed=4)])
    assert clips.shape == (10, *shape) and clips.dtype == torch.float32
    assert torch.equal(clips, torch.cat([c[0] for c in example_clips(shape, 10, seed=4)]))
    assert not torch.equal(clips, torch.cat([c[0] for c in example_clips(shape, 10, seed=5)]))
    stds = clips.flatten(1).std(1)
    assert stds.max() / stds.min() > 2  # contrasts
    assert clips.abs().max() < 8
    steps = (clips[..., 1:] - clips[..., :-1]).flatten(1).std(1)
    assert (steps < stds).all()  # neighbours alike; in white noise, 1.41 times
    if len(shape) == 4:
        moving = (clips[:, :, 1:] - clips[:, :, :-1]).flatten(1).abs().amax(1)
        assert (moving == 0).any() and (moving > 0).any()
    with pytest.raises(ConfigError):
        example_clips((5,))


def test_measuring_takes_turns_and_drops_the_hopeless() -> None:
    calls: list[str] = []

    def call(name: str, seconds: float) -> None:
        calls.append(name)
        time.sleep(seconds)

    found = engines.measured(
        {n: (lambda n=n, s=s: call(n, s)) for n, s in (("a", 0.01), ("b", 0.011), ("c", 0.05))}
    )
    assert calls == list("abcabc" + "abbaabbaab") and min(found, key=found.__getitem__) != "c"
    assert found["c"] == pytest.approx(0.05, abs=0.02)


def test_cpu_facts_are_those_of_the_system() -> None:
    facts = cpu_facts()
    assert set(facts) == {"model", "cores", "avx512_bf16", "amx_bf16"}
    assert facts["cores"] == os.cpu_count()
    info = Path("/proc/cpuinfo")
    if info.is_file() and "flags" in info.read_text():
        assert facts["amx_bf16"] is (" amx_bf16" in info.read_text())
        assert facts["model"] in info.read_text()


def test_named_engines_missing_raise_extra_error(monkeypatch) -> None:
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExtraError, match="onnxruntime"):
        runner(Clips(), example_clips(SHAPE), "onnx")
    run = runner(Clips(), example_clips(SHAPE))
    assert isinstance(run, Runner) and run.engine == "torch"
