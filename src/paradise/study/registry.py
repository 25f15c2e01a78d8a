"""Registries: one module of a package exports one object, and is found by its file's name, without a list."""

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any

import paradise
from paradise.errors import UserError, nearest


class Registry:
    """The objects called `export` that the modules of `package` have. No module is imported before it is asked for.

    A name is its module's, with "-" for "_" where `dashes` says so.
    """

    def __init__(self, package: str, export: str, what: str, dashes: bool = False):
        self.package, self.export, self.what, self.dashes = package, export, what, dashes

    def names(self) -> list[str]:
        """The names of what there is, in the alphabet's order."""
        return sorted(name.replace("_", "-") if self.dashes else name for name in _modules(self.package))

    def module(self, name: str) -> str:
        """The full name of the module that exports `name`. Raises UserError where there is none."""
        if name not in self.names():
            raise UserError(f"unknown {self.what} '{name}'{nearest(name, self.names())}")
        return f"{self.package}.{name.replace('-', '_') if self.dashes else name}"

    def get(self, name: str) -> Any:
        """What the module of `name` exports. Raises UserError where there is none."""
        return getattr(importlib.import_module(self.module(name)), self.export)

    def all(self) -> dict[str, Any]:
        """Everything, by name."""
        return {name: self.get(name) for name in self.names()}


@cache
def _modules(package: str) -> tuple[str, ...]:
    """The names of a package's modules; neither it nor what it lies in is imported."""
    folder = Path(paradise.__path__[0], *package.split(".")[1:])
    return tuple(module.name for module in pkgutil.iter_modules([str(folder)]))


DATASETS = Registry("paradise.study.data.sets", "DATASET", "data set", dashes=True)
LOADERS = Registry("paradise.study.data.loaders", "LOADER", "loader")
DETECTION_SETS = Registry("paradise.study.detection.sets", "DATASET", "detection data set")
DETECTORS = Registry("paradise.study.detection.detectors", "DETECTOR", "detector")
TABLES = Registry("paradise.study.tables", "TABLE", "table")
EVIDENCE = Registry("paradise.study.evidence.pieces", "EVIDENCE", "piece of evidence")
