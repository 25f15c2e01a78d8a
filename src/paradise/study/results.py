"""The results of one study, as they are shown: what counts, what is marked, and what is left out. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from paradise.errors import UserError
from paradise.study.preset import Preset
from paradise.study.records import (
    Complexity,
    DetectorProfiles,
    Evaluated,
    EvaluatedDetector,
    EvidenceRecord,
    Imported,
    Latencies,
    Record,
    Trained,
    TrainedDetector,
)
from paradise.study.rows import DetectorRow, Row, Run
from paradise.study.stale import Reason, Survey
from paradise.study.steps import Job

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class EvaluatedRun:
    """A run of a classification row whose numbers count.

    Attributes:
        run: Which.
        folder: Where it lies.
        record: What was trained, or imported.
        evaluation: What was measured of it.
        marks: What must be said beside its numbers.
    """

    run: Run
    folder: Path
    record: Trained | Imported
    evaluation: Evaluated
    marks: tuple[Reason, ...]


@dataclass(frozen=True)
class EvaluatedDetectorRun:
    """A run of a detection row whose numbers count; attributes as `EvaluatedRun` has them."""

    run: Run
    folder: Path
    record: TrainedDetector
    evaluation: EvaluatedDetector
    marks: tuple[Reason, ...]


class Study:
    """What counts of a study: every number in it is of today's settings and data, sealed, and its own.

    Args:
        preset: The study.
        strict: Whether a damaged record is an error; otherwise it is left out, as `refused` says.
    """

    def __init__(self, preset: Preset, strict: bool = True):
        self.preset, self.strict = preset, strict
        self.results = preset.results
        self.survey = Survey(preset)
        self._refused: dict[str, tuple[Reason, ...]] = {}
        self._marked: dict[str, tuple[Reason, ...]] = {}
        self._runs: dict[Run, EvaluatedRun | EvaluatedDetectorRun | None] = {}
        self.complexity = self._shown("complexity", Complexity)
        self.latency = self._shown("latency", Latencies)
        self.detection = self._shown("profile_detectors", DetectorProfiles) if preset.detection else None

    def runs(self, row: Row) -> list[EvaluatedRun]:
        """The runs of `row`, one for each seed that counts."""
        found = (self._classifier(Run(row, seed)) for seed in self.preset.seeds_of(row))
        return [run for run in found if run is not None]

    def imported(self, row: Row) -> list[EvaluatedRun]:
        """The checkpoint of others for `row`: one or none."""
        wanted = row.id in (self.preset.checkpoints or {})
        found = self._classifier(Run(row, None)) if wanted else None
        return [found] if found is not None else []

    def detectors(self, row: DetectorRow) -> list[EvaluatedDetectorRun]:
        """The runs of a detection row, one for each seed that counts; none where the preset has no section for them."""
        if self.preset.detection is None:
            return []
        found = (self._detector(Run(row, seed)) for seed in self.preset.seeds_of(row))
        return [run for run in found if run is not None]

    def evidence(self, piece: str) -> EvidenceRecord | None:
        """The record of a piece of evidence, where it counts."""
        return self._shown("make_evidence", EvidenceRecord, piece=piece)

    @property
    def refused(self) -> dict[str, tuple[Reason, ...]]:
        """What is there and not shown, of all that was asked for so far, with the reasons."""
        return self._refused

    @property
    def marked(self) -> dict[str, tuple[Reason, ...]]:
        """What is shown and must be marked, of all that was asked for so far, with the reasons."""
        return self._marked

    def leave_out(self, job: Job, why: str) -> None:
        """Says of the result of a job, whose record is whole, that it cannot be shown."""
        self._refused[str(job)] = (Reason("damaged", why, str(job)),)

    def _classifier(self, run: Run) -> EvaluatedRun | None:
        if run not in self._runs:
            of = {"row": run.row.id, "run": run.name}
            evaluation = self._shown("evaluate", Evaluated, **of)
            record: Trained | Imported | None = None
            if run.seed is None:
                record = self._shown("import_checkpoint", Imported, row=run.row.id)
            else:
                record = self._shown("train", Trained, row=run.row.id, seed=str(run.seed))
            counts = evaluation is not None and record is not None
            marks = self._marks("evaluate", **of) if counts else ()
            folder = run.folder(self.results)
            self._runs[run] = EvaluatedRun(run, folder, record, evaluation, marks) if counts else None  # type: ignore[arg-type]
        return self._runs[run]  # type: ignore[return-value]

    def _detector(self, run: Run) -> EvaluatedDetectorRun | None:
        if run not in self._runs:
            of = {"detector": run.row.id, "seed": str(run.seed)}
            evaluation = self._shown("evaluate_detector", EvaluatedDetector, **of)
            record = self._shown("train_detector", TrainedDetector, **of)
            counts = evaluation is not None and record is not None
            marks = self._marks("evaluate_detector", **of) if counts else ()
            folder = run.folder(self.results)
            self._runs[run] = EvaluatedDetectorRun(run, folder, record, evaluation, marks) if counts else None  # type: ignore[arg-type]
        return self._runs[run]  # type: ignore[return-value]

    def _marks(self, step: str, **wildcards: str) -> tuple[Reason, ...]:
        return self.survey.marks(self.survey.job(step, **wildcards))

    def _shown(self, step: str, schema: type[R], **wildcards: str) -> R | None:
        """The record of a job, where it is there and may be shown."""
        job = self.survey.job(step, **wildcards)
        if self.survey.missing(job):
            return None
        if refused := self.survey.refused(job):
            damaged = next((reason for reason in refused if reason.kind == "damaged"), None)
            if self.strict and damaged:
                raise UserError(f"{damaged}; delete it and run snakemake")
            self._refused[str(job)] = refused
            return None
        if marks := self.survey.marks(job):
            self._marked[str(job)] = marks
        record = self.survey.record(job)
        assert isinstance(record, schema)
        return record
