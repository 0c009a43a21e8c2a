"""Names to things: methods, data sets and providers, Vigil's own and those of other packages.

A package adds its own through an entry point of the group "vigil.methods", "vigil.data",
"vigil.providers" or "vigil.backbones", e.g. in its pyproject.toml:

    [project.entry-points."vigil.methods"]
    mine = "my_package.mine:Mine"

Only installed packages can add names; a configuration file never imports anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from vigil.errors import ConfigError, unknown

OWN: dict[str, dict[str, str]] = {
    "methods": {
        "nearest": "vigil.methods.nearest:Nearest",
        "mil": "vigil.methods.mil:MIL",
        "rtfm": "vigil.methods.rtfm:RTFM",
        "s3r": "vigil.methods.s3r:S3R",
        "jigsaw": "vigil.methods.jigsaw:Jigsaw",
        "mama": "vigil.methods.mama:Mama",
        "destroyer": "vigil.methods.destroyer:Destroyer",
        "scene": "vigil.methods.scene:Scene",
        "scene-memory": "vigil.methods.scene_memory:SceneMemory",
    },
    "data": {
        "street": "vigil.data.street:open_street",
        "cabin": "vigil.data.cabin:open_cabin",
        "ucsd-ped1": "vigil.data.ucsd:open_ped1",
        "ucsd-ped2": "vigil.data.ucsd:open_ped2",
        "avenue": "vigil.data.avenue:open_avenue",
        "shanghaitech": "vigil.data.shanghaitech:open_shanghaitech",
        "ucf-crime": "vigil.data.ucf_crime:open_ucf_crime",
        "xd-violence": "vigil.data.xd_violence:open_xd_violence",
        "dad": "vigil.data.dad:open_dad",
        "folder": "vigil.data.folder:open_folder",
    },
    "providers": {
        "given": "vigil.features.objects:Given",
        "foreground": "vigil.features.objects:Foreground",
        "dis": "vigil.features.flow:Dis",
        "dis-trail": "vigil.features.flow:DisTrail",
        "farneback": "vigil.features.flow:Farneback",
        "flownet2-sd": "vigil.features.flownet2sd:FlowNet2SDFlow",
        "onnx": "vigil.features.detectors:OnnxDetector",
        "fasterrcnn-resnet50-fpn": "vigil.features.detectors:FasterRCNN",
        "fasterrcnn-resnet50-fpn-v2": "vigil.features.detectors:FasterRCNNV2",
        "fasterrcnn-mobilenet-v3-large-fpn": "vigil.features.detectors:FasterRCNNMobile",
        "fasterrcnn-mobilenet-v3-large-320-fpn": "vigil.features.detectors:FasterRCNNMobile320",
        "retinanet-resnet50-fpn": "vigil.features.detectors:RetinaNet",
        "retinanet-resnet50-fpn-v2": "vigil.features.detectors:RetinaNetV2",
        "fcos-resnet50-fpn": "vigil.features.detectors:FCOS",
        "ssd300-vgg16": "vigil.features.detectors:SSD300",
        "ssdlite320-mobilenet-v3-large": "vigil.features.detectors:SSDLite",
        "raft-small": "vigil.features.raft:RaftSmall",
        "raft-large": "vigil.features.raft:RaftLarge",
        "deeplabv3-resnet101": "vigil.features.segmentation:DeepLabResNet101",
        "deeplabv3-resnet50": "vigil.features.segmentation:DeepLabResNet50",
        "deeplabv3-mobilenet-v3-large": "vigil.features.segmentation:DeepLabMobile",
        "foreground-segmentation": "vigil.features.segmentation:ForegroundSegmentation",
        "given-rows": "vigil.features.rows:GivenRows",
        "things": "vigil.features.things:Things",
    },
    "backbones": {
        "c3d": "vigil.features.c3d:C3D",
        "i3d-inception": "vigil.features.i3d_inception:I3DInception",
        "i3d-inception-squash": "vigil.features.i3d_inception:I3DInceptionSquash",
        "i3d-r50": "vigil.features.i3d_resnet:I3DResNet50",
        "r3d-50": "vigil.features.resnet3d:R3D50",
        "r3d-101": "vigil.features.resnet3d:R3D101",
        "r3d-152": "vigil.features.resnet3d:R3D152",
        "r3d-18": "vigil.features.torchvision_video:R3D18",
        "mc3-18": "vigil.features.torchvision_video:MC318",
        "r2plus1d-18": "vigil.features.torchvision_video:R2Plus1D18",
        "s3d": "vigil.features.torchvision_video:S3D",
        "swin3d-t": "vigil.features.torchvision_video:Swin3DT",
        "swin3d-s": "vigil.features.torchvision_video:Swin3DS",
        "swin3d-b": "vigil.features.torchvision_video:Swin3DB",
        "mvit-v2-s": "vigil.features.torchvision_video:MViTV2S",
        "clip-vit-b-32": "vigil.features.image_encoders:ClipB32",
        "clip-vit-b-16": "vigil.features.image_encoders:ClipB16",
        "clip-vit-l-14": "vigil.features.image_encoders:ClipL14",
        "clip-vit-l-14-squash-bgr": "vigil.features.image_encoders:ClipL14SquashBGR",
        "pixels": "vigil.features.plain_rows:Pixels",
        "motion": "vigil.features.plain_rows:Motion",
    },
}
ALIASES = {
    "ped1": "ucsd-ped1", "ped2": "ucsd-ped2", "cuhk-avenue": "avenue", "shanghai": "shanghaitech",
    "ucf": "ucf-crime", "xd": "xd-violence",
}  # fmt: skip
FAMILIES = {"timm:": "vigil.features.image_encoders:timm_backbone"}  # any name with this start
added: dict[str, dict[str, Any]] = {"methods": {}, "data": {}, "providers": {}, "backbones": {}}


def names(group: str) -> list[str]:
    """All known names of a group: "methods", "data", "providers" or "backbones"."""
    return sorted(
        {*OWN[group], *added[group], *(e.name for e in entry_points(group=f"vigil.{group}"))}
    )


def find(group: str, name: str) -> Any:
    """The thing called `name`; `ConfigError` with the nearest known name if there is none."""
    name = ALIASES.get(name, name) if group == "data" else name
    if name in added[group]:
        return added[group][name]
    if name in OWN[group]:
        return imported(OWN[group][name])
    for start, family in FAMILIES.items() if group == "backbones" else ():
        if name.startswith(start):
            return imported(family)(name)
    for entry in entry_points(group=f"vigil.{group}"):
        if entry.name == name:
            try:
                return entry.load()
            except Exception as error:
                raise ConfigError(
                    f"the package that adds {name!r} fails to import: {error}"
                ) from error
    raise unknown(group.rstrip("s") if group != "data" else "data set", name, names(group))


def imported(place: str) -> Any:
    """The attribute "package.module:attribute"."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def add(group: str, things: Mapping[str, Any]) -> None:
    """Add names for this process: for tests, notebooks and code that embeds Vigil."""
    added[group].update(things)
