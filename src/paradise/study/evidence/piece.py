"""What a piece of evidence says of itself. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paradise.study.evidence.networks import Networks
    from paradise.study.evidence.section import Section
    from paradise.study.preset import Preset
    from paradise.study.records import EvidenceRecord
    from paradise.study.results import Study


@dataclass(frozen=True)
class Evidence:
    """A piece of evidence. A small one is one file, whose `EVIDENCE` names the file itself twice: `__name__`.

    Attributes:
        title: Its heading in the report.
        order: Where it stands among the others there, the smallest first.
        measured_by: The module whose `measure(networks)` gives what the record has, as JSON values. What of it stands
            under the key "arrays" is left out where the record is printed.
        shown_by: The module whose `show(study, record)` gives its section of the report.
        looks_at: The files that it is measured on, by their places below a study's results.
        trains: Whether it is measured with each of a preset's `evidence_seeds`.
    """

    title: str
    order: int
    measured_by: str
    shown_by: str
    looks_at: Callable[[Preset], list[str]] = lambda preset: []
    trains: bool = False

    def measure(self, networks: Networks) -> dict[str, Any]:
        """What its record has."""
        measured: dict[str, Any] = import_module(self.measured_by).measure(networks)
        return measured

    def show(self, study: Study, record: EvidenceRecord) -> Section:
        """Its section of the report."""
        section: Section = import_module(self.shown_by).show(study, record)
        return section
