"""What training keeps of frames, and which videos it cannot learn from."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_square
from toys import TOYS

from vigil import bundle, pipeline
from vigil.errors import InputError
from vigil.train.batches import Samples
from vigil.train.pixels import Pixels

assert {"toy-two-windows", "toy-needs-flow"} <= set(TOYS)  # registered by their import


def test_videos_too_short_are_named_counted_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    method = pipeline.method("toy-two-windows")  # 7 and 35 frames
    videos = [moving_square("long", 40), moving_square("brief", 5), moving_square("mid", 20)]
    with caplog.at_level(logging.WARNING, "vigil"):
        kept = Pixels(method, bundle.make_providers(method), videos, 10.0, tmp_path)
    assert {item[0] for items in kept.items.values() for item in items} == {0, 2}
    said = [record.getMessage() for record in caplog.records]
    assert any("brief" in line and "5 frames, fewer than the 7" in line for line in said)
    assert sum("(2 such videos)" in line for line in said) == 2  # of the window of 35
    with pytest.raises(InputError, match="long enough"):
        Samples(method, bundle.make_providers(method), videos[1:2], 10.0, tmp_path / "b", 0, 2)


def test_flow_is_kept_on_disk_to_half_precision(tmp_path: Path) -> None:
    method = pipeline.method("toy-needs-flow")
    providers = bundle.make_providers(method)
    video = moving_square("v", 12)
    for provider in providers.values():
        provider.short_side = method.short_side
    kept = Pixels(method, providers, [video], 10.0, tmp_path)
    assert (tmp_path / "0.flow.npy").is_file()
    flow = kept.values[0][5]["flow"]
    assert isinstance(flow, np.memmap) and flow.dtype == np.float16
    tracker = providers["flow"].start(video, 10.0)
    exact = [tracker.see(frame, n) for n, frame in enumerate(video.frames(method.short_side))][5]
    np.testing.assert_allclose(flow, exact, rtol=1e-3, atol=1e-3)
