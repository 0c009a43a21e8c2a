"""The training loop: explicit, resumable at any kill, on any device that Accelerate finds.

A run's folder holds `last/` (everything to go on from), `best.safetensors` (lowest validation
loss) and `metrics.jsonl` (step, each loss term, seconds). No argument takes test data. Of several
processes (torchrun, accelerate launch) each sees batches of its own, all hold the same weights, and
the first one writes.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from vigil.config import FitConfig
from vigil.errors import ConfigError, InputError, need_extra
from vigil.files import writing
from vigil.methods.base import Method
from vigil.records import Batch
from vigil.train.batches import Samples

Progress = Callable[[int, int, Mapping[str, float]], None]  # step, steps, terms by name
VAL_BATCHES = 8  # batches of the validation part that a validation looks at


def train(
    method: Method,
    samples: Samples,
    val: Samples | None,
    config: FitConfig,
    out: Path,
    progress: Progress | None = None,
    resume: bool = False,
) -> Method:
    """Train to the last step; the method then holds the weights with the best validation loss."""
    if not resume:
        forget(out)
    trainer = Trainer(method, samples, val, config, out)
    start = trainer.resume() if resume else 0
    for step in range(start, trainer.steps):
        terms = trainer.step(step)
        if progress:
            progress(step + 1, trainer.steps, terms)
    return trainer.finish()


def forget(out: Path) -> None:
    """Clear what a run that was killed here left, so that none of it enters a new one."""
    for name in ("best.safetensors", "metrics.jsonl"):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / "last", ignore_errors=True)


class Trainer:
    """One run of training; see the module."""

    def __init__(
        self, method: Method, samples: Samples, val: Samples | None, config: FitConfig, out: Path
    ) -> None:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, PartialState

        self.method, self.samples, self.val = method, samples, val
        self.config, self.out = config, out
        self.steps = config.epochs * samples.steps_a_pass if config.epochs else config.steps
        names = [name for name in config.track.split(",") if name not in ("", "none")]
        # what an earlier fit of this process chose (precision, device) is not this one's; several
        # processes stay joined as they are
        joined = bool(PartialState._shared_state) and PartialState().use_distributed
        AcceleratorState._reset_state(reset_partial_state=not joined)
        try:
            self.accelerator = Accelerator(
                cpu=config.device == "cpu",
                mixed_precision=config.precision,
                log_with=names or None,
                project_dir=str(out),
            )
        except (ImportError, ValueError) as error:
            if not names:
                raise ConfigError(f"precision {config.precision!r}: {error}") from error
            raise need_extra(config.track, "track", f"--track {config.track}") from error
        self.tracking = bool(names)
        if self.tracking:
            self.accelerator.init_trackers("vigil", {"seed": config.seed})
        optimizers = method.optimizers()
        if config.lr is not None:
            for optimizer in optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = config.lr
        # the networks move to the device before the optimizers are wrapped
        prepared = self.accelerator.prepare(method, *optimizers.values())
        self.model: Any = prepared[0]
        self.optimizers = dict(zip(optimizers, prepared[1:], strict=True))
        self.best, self.began = math.inf, time.monotonic()
        self.batch: Batch | None = None  # of the last step

    def to_device(self, batch: Batch) -> Batch:
        """The batch on the training device."""
        device = self.accelerator.device

        def move(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {key: value.to(device, non_blocking=True) for key, value in tensors.items()}

        scene = batch.scene.to(device) if batch.scene is not None else None
        return Batch(move(batch.x), move(batch.normal), move(batch.anomalous), scene)

    def step(self, step: int) -> dict[str, float]:
        """One step: batch, update, metrics, and now and then validation and a saved state."""
        config, world = self.config, self.accelerator.num_processes
        place = step * world + self.accelerator.process_index
        # dropout and augmentation depend on seed and place alone, so a resumed run repeats them
        torch.manual_seed((config.seed * 1_000_003 + place) % 2**63)
        self.method.train()
        self.batch = self.samples.batch(place, self.batch)
        found = self.method.fit_step(
            self.to_device(self.batch), self.optimizers, self.accelerator.backward, self.model
        )
        terms = {name: float(value.detach()) for name, value in found.items()}
        for name, value in terms.items():
            if not math.isfinite(value):
                raise InputError(
                    f"training: loss {name!r} is {value} at step {step}; the state of the last "
                    "save is kept; try a smaller lr, or look for damaged frames or features"
                )
        done = step + 1
        if self.val is not None and done >= config.val_from and done % config.val_every == 0:
            terms |= self.validate()
            self.show(step)
        self.note(step, terms)
        if done % config.save_every == 0 or done == self.steps:
            self.save(done)
        return terms

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The mean loss over a fixed set of validation batches; the best weights are kept."""
        assert self.val is not None
        self.method.eval()
        sums: dict[str, float] = {}
        count = min(VAL_BATCHES, self.val.steps_a_pass)
        with torch.random.fork_rng():
            for step in range(count):
                torch.manual_seed(step)
                for name, value in self.method(self.to_device(self.val.batch(step))).items():
                    sums[name] = sums.get(name, 0.0) + float(value) / count
        self.method.train()
        total = sum(sums.values())
        if total < self.best:
            self.best = total
            if self.accelerator.is_main_process:
                with writing(self.out / "best.safetensors") as path:
                    save_file(tensors(self.method), path)
        return {f"val_{name}": value for name, value in sums.items()} | {"val": total}

    def note(self, step: int, terms: Mapping[str, float]) -> None:
        if not self.accelerator.is_main_process:
            return
        row = {"step": step, "seconds": round(time.monotonic() - self.began, 3), **terms}
        with (self.out / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self.tracking:
            self.accelerator.log(dict(terms), step=step)

    @torch.no_grad()
    def show(self, step: int) -> None:
        """What the method draws of the first validation batch, in TensorBoard."""
        boards = [t for t in self.accelerator.trackers if t.name == "tensorboard"]
        if not boards or not self.accelerator.is_main_process:
            return
        assert self.val is not None
        self.method.eval()
        pictures = self.method.pictures(self.to_device(self.val.batch(0)))
        self.method.train()
        for board in boards:
            board.log_images(pictures, step=step, dataformats="NHWC")

    def save(self, step: int) -> None:
        """The state after `step` steps, whole or not at all."""
        if not self.accelerator.is_main_process:
            return
        with writing(self.out / "last") as folder:
            folder.mkdir()
            save_file(tensors(self.method), folder / "model.safetensors")
            state = {name: opt.state_dict() for name, opt in self.optimizers.items()}
            buffer = io.BytesIO()  # written by us, so that a full disk is said to be one
            torch.save(state, buffer)
            (folder / "optimizers.pt").write_bytes(buffer.getvalue())
            facts = {"step": step, "best": None if math.isinf(self.best) else self.best}
            (folder / "state.json").write_text(json.dumps(facts), encoding="utf-8")

    def resume(self) -> int:
        """Take up the last saved state; the step to go on with (0 if there is none)."""
        folder = self.out / "last"
        if not (folder / "state.json").is_file():
            return 0
        facts = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        self.method.set_tensors(load_file(folder / "model.safetensors"))
        state = torch.load(folder / "optimizers.pt", weights_only=True, map_location="cpu")
        if set(state) != set(self.optimizers):
            raise ConfigError(f"{folder}: made by another method; start without --resume")
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])
        self.best = math.inf if facts["best"] is None else facts["best"]
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.forget_after(facts["step"])
        return int(facts["step"])

    def forget_after(self, step: int) -> None:
        """Drop the rows of metrics.jsonl that the resumed run will write again."""
        path = self.out / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = []
        for line in lines:
            try:
                if json.loads(line)["step"] < step:
                    kept.append(line)
            except (ValueError, KeyError):
                break  # the kill came in the middle of this line
        with writing(path) as new:
            new.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def finish(self) -> Method:
        """End of training: the best weights, if validation chose any, else the last."""
        self.accelerator.wait_for_everyone()
        if self.tracking:
            self.accelerator.end_training()
        method = self.method.cpu()
        if (self.out / "best.safetensors").is_file() and self.val is not None:
            method.set_tensors(load_file(self.out / "best.safetensors"))
        return method.eval()


def tensors(method: Method) -> dict[str, torch.Tensor]:
    """What the method learned, on the CPU, each with its own memory."""
    return {k: v.detach().cpu().contiguous().clone() for k, v in method.tensors().items()}
