"""Whether a result is what today's settings, data and code would make: all that shows or shares results asks here.

A result of other settings or data, or one that was edited, is never shown. One of other code, or of other versions of
the packages that compute, is shown and marked: days of training are not thrown away for a refactoring.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from paradise.errors import UserError
from paradise.study.code import differing
from paradise.study.hashes import remembered_sha256
from paradise.study.preset import Preset
from paradise.study.records import Damaged, Measurement, Record, read_record, shortened
from paradise.study.steps import Job, all_steps, in_words

Kind = Literal["missing", "damaged", "other", "settings", "inputs", "outputs", "code", "versions"]
MARKS = ("code", "versions")  # what a result is shown in spite of


@dataclass(frozen=True)
class Reason:
    """Why a result is not what would be made today, in words. `job`: where the reason lies."""

    kind: Kind
    text: str
    job: str

    @property
    def marks(self) -> bool:
        """Whether the result is shown all the same, and marked."""
        return self.kind in MARKS

    def __str__(self) -> str:
        return self.text


class Survey:
    """The results of one study, each judged once.

    Args:
        preset: The study.

    Attributes:
        jobs: All jobs of the study, by their records.
        makers: The job that each file is made by, or vouched for.
    """

    def __init__(self, preset: Preset):
        self.preset = preset
        self._steps = all_steps()
        self.jobs = {job.record: job for step in self._steps.values() for job in step.of(preset)}
        self._named = {(job.step.name, frozenset(job.wildcards.items())): job for job in self.jobs.values()}
        self.makers = {path: job for job in self.jobs.values() for path in (*job.outputs, *job.vouched.values())}
        self._hashes: dict[Path, str] = {}
        self._records: dict[Path, Record | Damaged | None] = {}
        self._reasons: dict[Path, tuple[Reason, ...]] = {}

    def job(self, step: str, **wildcards: str) -> Job:
        """The job of a step with these wildcards, also where the study does not ask for it."""
        known = self._named.get((step, frozenset(wildcards.items())))
        return known or self._steps[step].job(self.preset, **wildcards)

    def record(self, job: Job) -> Record | None:
        """What `job` left; None where there is nothing, or nothing whole."""
        found = self._read(job)
        return None if isinstance(found, Damaged) else found

    def why_stale(self, job: Job) -> tuple[Reason, ...]:
        """Why what `job` left is not what it would make now, its inputs' reasons included; nothing where it is."""
        if job.record not in self._reasons:
            self._reasons[job.record] = ()  # no step is made of itself
            self._reasons[job.record] = tuple(dict.fromkeys(self._judge(job)))
        return self._reasons[job.record]

    def refused(self, job: Job) -> tuple[Reason, ...]:
        """The reasons for which what `job` left must not be shown."""
        return tuple(reason for reason in self.why_stale(job) if not reason.marks)

    def marks(self, job: Job) -> tuple[Reason, ...]:
        """What must be said beside what `job` left, where it is shown."""
        return tuple(reason for reason in self.why_stale(job) if reason.marks)

    def missing(self, job: Job) -> bool:
        """Whether `job` was never done."""
        return self._read(job) is None

    def to_do_again(self) -> list[Job]:
        """The jobs that left something which must not be shown."""
        return [job for job in self.jobs.values() if not self.missing(job) and self.refused(job)]

    def input_hashes(self, job: Job) -> dict[str, str]:
        """The hashes of a job's inputs as they are now: of a view, of what there is and may be shown of them."""
        if not job.step.view:
            return {name: self._sha256(path) for name, path in job.inputs.items()}
        return {name: self._as_shown(path) for name, path in job.inputs.items() if path.exists()}

    def _judge(self, job: Job) -> Iterable[Reason]:
        def reason(kind: Kind, text: str) -> Reason:
            return Reason(kind, text, str(job))

        record = self._read(job)
        if record is None:
            yield reason("missing", f"{job.record} is not here")
            return
        if isinstance(record, Damaged):
            yield reason("damaged", str(record))
            return
        if other := self._other(job, record):
            yield reason("other", f"{job.record} is {other}")
            return
        compared = [*self._compare(job, record)]
        yield from compared
        # Numbers cannot follow from files or settings that are told to be others already.
        told = any(one.job == str(job) for one in compared)
        if not told and (wrong := self._checked(job, record)):
            yield reason("outputs", wrong)
        if modules := differing(record.code, job.code):
            # What is made in seconds is made again.
            yield reason("inputs" if job.step.view else "code", f"other code in {', '.join(modules)}")
        if isinstance(record, Measurement):
            for package in job.step.packages:
                then, now = record.versions.get(package), _installed(package)
                if then and now and _public(then) != _public(now):
                    yield reason("versions", f"{package} {_public(then)}, now {_public(now)}")

    def _compare(self, job: Job, record: Record) -> Iterable[Reason]:
        """What differs of settings, inputs and the files that came with the record."""
        if changed := _changed(record.settings, job.settings):
            yield Reason("settings", f"{shortened(', '.join(changed))} changed", str(job))
        yield from self._judge_inputs(job, record)
        for name, path in job.vouched.items():
            if path.exists():
                if self._sha256(path) != record.outputs.get(name):
                    yield Reason("outputs", f"{path} changed since it was made", str(job))
            elif name not in job.step.weights and not job.step.local:
                yield Reason("outputs", f"{path} is not here", str(job))

    def _judge_inputs(self, job: Job, record: Record) -> Iterable[Reason]:
        if job.step.view:
            if record.inputs != self.input_hashes(job):
                yield Reason("inputs", "it does not show the results as they are", str(job))
            return
        for name in record.inputs.keys() - job.inputs.keys():
            yield Reason("inputs", f"it was made of {shortened(name)} as well", str(job))
        for name, path in job.inputs.items():
            maker = self.makers.get(path)
            now = self._hash(path, maker)
            if now is not None and now != record.inputs.get(name):
                yield Reason("inputs", f"it was made of another {name}", str(job))
            if maker is not None and not (maker.step.local and self.missing(maker)):
                yield from self.why_stale(maker)

    def _hash(self, path: Path, maker: Job | None) -> str | None:
        """The hash of an input, by the record of what makes it where it is not here; None where nobody knows."""
        if path.exists():
            return self._sha256(path)
        record = self.record(maker) if maker else None
        if maker is None or record is None:
            return None
        return next((record.outputs.get(name) for name, made in maker.vouched.items() if made == path), None)

    def _sha256(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = remembered_sha256(path)
        return self._hashes[path]

    def _as_shown(self, path: Path) -> str:
        """A hash of a file, and of what is to be said of it or why it is not shown."""
        maker = self.makers.get(path)
        reasons = [str(reason) for reason in self.why_stale(maker)] if maker else []
        digest = self._sha256(path)
        return hashlib.sha256("\n".join([digest, *reasons]).encode()).hexdigest() if reasons else digest

    def _read(self, job: Job) -> Record | Damaged | None:
        if job.record not in self._records:
            try:
                self._records[job.record] = read_record(job.record, job.step.schema)
            except Damaged as damaged:
                self._records[job.record] = damaged
        return self._records[job.record]

    def _other(self, job: Job, record: Record) -> str | None:
        """What `record` is of, where it is not of `job`."""
        if record.step != job.step.name:
            return f"a record of the step {record.step}"
        if record.preset != job.preset.name and not job.step.local:
            return f"of the preset {record.preset}"
        if record.of != dict(job.wildcards):
            return f"of {in_words(record.of)}"
        return None

    def _checked(self, job: Job, record: Record) -> str | None:
        try:
            return job.step.check(job, record)
        except (UserError, OSError) as error:
            return shortened(str(error))


def _changed(then: object, now: object, where: str = "") -> list[str]:
    """The names of what differs between two settings, without the section that they are in."""
    if isinstance(then, dict) and isinstance(now, dict):
        names = []
        for key in {**then, **now}:
            below = where if not where and key in ("recipe", "detection") else f"{where}{key}."
            names += _changed(then.get(key), now.get(key), below)
        return names
    return [] if then == now else [where.removesuffix(".")]


@cache
def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _public(text: str) -> str:
    """A version without what says how it was built: the same release for a processor and for a GPU."""
    return text.partition("+")[0]
