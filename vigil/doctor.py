"""What a machine has and lacks for Vigil."""

from __future__ import annotations

import importlib.metadata as metadata
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

CORE = ("torch", "torchvision", "numpy", "scipy", "pydantic", "safetensors", "accelerate", "av",
        "opencv-python-headless", "pyarrow", "typer", "rich", "matplotlib", "plotly",
        "pillow")  # fmt: skip
EXTRAS = {"tensorboard": "track", "open_clip_torch": "clip", "timm": "clip", "openvino": "openvino",
          "onnxruntime": "onnx", "ray": "ray"}  # fmt: skip


def examine() -> list[dict[str, Any]]:
    """Rows of {what, found, state: ok | missing | optional, do}."""
    rows = [
        row("python", platform.python_version(), sys.version_info >= (3, 11), "use 3.11 or newer")
    ]
    rows += [package(name) for name in CORE]
    for name, extra in EXTRAS.items():
        found = package(name)
        if found["state"] == "missing":
            found |= {"state": "optional", "do": f"pip install 'vigil-vad[{extra}]' if wanted"}
        rows.append(found)
    rows += [processor(), device(), codec(), disk()]
    return rows


def row(what: str, found: str, fine: bool, do: str) -> dict[str, Any]:
    return {"what": what, "found": found, "state": "ok" if fine else "missing",
            "do": "" if fine else do}  # fmt: skip


def package(name: str) -> dict[str, Any]:
    try:
        return row(name, metadata.version(name), True, "")
    except metadata.PackageNotFoundError:
        return row(name, "-", False, f"pip install {name}")


def processor() -> dict[str, Any]:
    """Cores, and the instructions that make bfloat16 fast."""
    from vigil.features.engines import cpu_facts

    facts = cpu_facts()
    units = [name for name in ("amx_bf16", "avx512_bf16") if facts[name]]
    bf16 = f"bfloat16 by {units[0]}" if units else "no bfloat16 units"
    return row("processor", f"{facts['model']}, {facts['cores']} cores, {bf16}", True, "")


def device() -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        return row("device", "-", False, "install torch")
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return row("device", name, True, "")


def codec() -> dict[str, Any]:
    """Whether H.264 can be written and read back."""
    try:
        import numpy as np

        from vigil.video.read import count_frames, open_video
        from vigil.video.write import write_mp4

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "try.mp4"
            write_mp4(path, [np.full((32, 48, 3), 9 * t, np.uint8) for t in range(5)], 10)
            count = count_frames(open_video(path))
        return row("H.264", "writes and reads", count == 5, "reinstall av")
    except Exception as error:  # a doctor reports whatever is wrong
        return row("H.264", str(error)[:80], False, "reinstall av (its wheels carry FFmpeg)")


def disk() -> dict[str, Any]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return row("free disk here", f"{free:.1f} GiB", free > 1, "free at least 1 GiB")
