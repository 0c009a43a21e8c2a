"""Names to things: methods, data sets and providers, Vigil's own and those of other packages.

A package adds its own through an entry point of the group "vigil.methods", "vigil.data" or
"vigil.providers", e.g. in its pyproject.toml:

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
    },
    "data": {
        "street": "vigil.data.street:open_street",
        "cabin": "vigil.data.cabin:open_cabin",
        "ucsd-ped1": "vigil.data.ucsd:open_ped1",
        "ucsd-ped2": "vigil.data.ucsd:open_ped2",
        "avenue": "vigil.data.avenue:open_avenue",
        "shanghaitech": "vigil.data.shanghaitech:open_shanghaitech",
        "folder": "vigil.data.folder:open_folder",
    },
    "providers": {
        "given": "vigil.features.objects:Given",
        "foreground": "vigil.features.objects:Foreground",
        "dis": "vigil.features.flow:Dis",
        "dis-trail": "vigil.features.flow:DisTrail",
        "farneback": "vigil.features.flow:Farneback",
        "given-rows": "vigil.features.rows:GivenRows",
    },
}
ALIASES = {
    "ped1": "ucsd-ped1", "ped2": "ucsd-ped2", "cuhk-avenue": "avenue", "shanghai": "shanghaitech",
}  # fmt: skip
added: dict[str, dict[str, Any]] = {"methods": {}, "data": {}, "providers": {}}


def names(group: str) -> list[str]:
    """All known names of a group: "methods", "data" or "providers"."""
    return sorted(
        {*OWN[group], *added[group], *(e.name for e in entry_points(group=f"vigil.{group}"))}
    )


def find(group: str, name: str) -> Any:
    """The thing called `name`; `ConfigError` with the nearest known name if there is none."""
    name = ALIASES.get(name, name) if group == "data" else name
    if name in added[group]:
        return added[group][name]
    if name in OWN[group]:
        module, _, attribute = OWN[group][name].partition(":")
        return getattr(import_module(module), attribute)
    for entry in entry_points(group=f"vigil.{group}"):
        if entry.name == name:
            try:
                return entry.load()
            except Exception as error:
                raise ConfigError(
                    f"the package that adds {name!r} fails to import: {error}"
                ) from error
    raise unknown(group.rstrip("s") if group != "data" else "data set", name, names(group))


def add(group: str, things: Mapping[str, Any]) -> None:
    """Add names for this process: for tests, notebooks and code that embeds Vigil."""
    added[group].update(things)
