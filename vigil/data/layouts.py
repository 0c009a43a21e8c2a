"""Writing a data set in the disk layout of another project.

With a generated data set, every loader, and every command of those projects, can be tried without
their data. Labels come back exactly; pixels do where the layout's own format allows it (tif and
png are grey, jpg and video files lose a little).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from vigil.data._layouts_dad import dad, dad_jigsaw
from vigil.data._layouts_files import Progress, Writing
from vigil.data._layouts_normal import avenue, shanghaitech, shanghaitech_sd, ucsd, ucsd_frames
from vigil.data._layouts_weak import s3r, ucf_crime
from vigil.data.base import DataSet
from vigil.errors import InputError, unknown
from vigil.files import writing

LAYOUTS: dict[str, Callable[[Writing], None]] = {
    "ucsd-ped2": ucsd,
    "ucsd-ped2-frames": ucsd_frames,
    "avenue": avenue,
    "shanghaitech": shanghaitech,
    "shanghaitech-sd": shanghaitech_sd,
    "ucf-crime": ucf_crime,
    "s3r": s3r,
    "dad": dad,
    "dad-jigsaw": dad_jigsaw,
}
WANTS = {"ucf-crime": "weak", "s3r": "weak"}  # the split to open a data set with, before writing
NAMES = "vigil_names.json"  # {part: {name in the layout: name in the data set}}


def write_as(
    dataset: DataSet,
    layout: str,
    out: Path | str,
    progress: Progress | None = None,
) -> Path:
    """Write `dataset` into the new folder `out`, complete or not at all; the folder.

    Layouts learned from normal video leave anomalous training videos out; for those in `WANTS`,
    open the data set with that split, or they will have none. `vigil_names.json` in the folder
    says what each video was called before. `progress(done, of, name)` is called before each video.
    Raises `ConfigError` for an unknown layout, `InputError` where `out` holds something already
    or the labels do not fit the videos, `StorageError` where it cannot be written.
    """
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists; choose a new folder to write {layout} into")
    with writing(out) as new:
        new.mkdir()
        work = Writing(dataset, new, progress)
        LAYOUTS[layout](work)
        (new / NAMES).write_text(json.dumps(work.names, indent=1, ensure_ascii=False))
    return out
