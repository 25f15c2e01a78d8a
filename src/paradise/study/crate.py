"""The study as a research object: a Workflow Run RO-Crate of workflow, preset, run records, tables and report."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from rocrate.model import ContextEntity, Person
from rocrate.rocrate import ROCrate

from paradise.files import replacing
from paradise.study.notes import AnyRun
from paradise.study.preset import Preset
from paradise.study.records import Imported
from paradise.study.results import Study
from paradise.study.steps import Job
from paradise.study.views import write_view

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
CITATION = Path("CITATION.cff")
ROLES = {
    "run": "What was trained, with what, where and when",
    "log": "Loss and accuracy while training",
    "fused": "What the fused form was made of",
    "evaluation": "What was measured of the trained and the fused form",
    "metrics": "Accuracy or AP alone",
    "predictions": "Each validation image's best classes",
    "report": "The study as one page",
}
FORMATS = {
    ".json": "application/json",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".html": "text/html",
    ".xz": "application/x-xz",
}


def write_crate(preset: Preset) -> Path:
    """Writes `study.crate.zip`, without weights and images, and its record, `crate.json`.

    One action is the workflow's, from the preset to tables and report; each evaluated run has one of its own, with
    when, how long, on what and by which commit. What is damaged or of other settings is left out.

    Args:
        preset: The study.

    Returns:
        The zip's path.

    Raises:
        UserError: It cannot be written.
    """
    study = Study(preset, strict=False)
    crate = _Crate(preset, _runs(study))
    crate.add_workflow()
    crate.add_runs(_files_of_runs(study))
    crate.add_study(_other_files(study))
    output = preset.results / "study.crate.zip"
    content = b"".join(crate.crate.stream_zip())  # the library's own writing does not end well on a full disk
    with replacing(output, len(content)) as path:
        path.write_bytes(content)
    write_view(study, "crate")
    return output


class _Crate:
    """A crate being filled.

    Args:
        preset: The study.
        runs: The evaluated ones that count.
    """

    def __init__(self, preset: Preset, runs: Sequence[AnyRun]):
        self.preset, self.runs = preset, runs
        self.versions = runs[0].record.versions if runs else {}
        self.records: list[ContextEntity] = []  # all files that hold results
        # As late as what it holds, so that the same study makes the same crate.
        self.end = max((run.record.time for run in runs), default=None)
        self.citation = yaml.safe_load(CITATION.read_text())
        crate = self.crate = ROCrate(version="1.1")  # which the profiles are written for
        crate.name = f"ParaDise, reproduced: the study {preset.name}"
        crate.description = self.citation["abstract"]
        crate.datePublished = datetime.fromisoformat(self.end) if self.end else datetime.fromtimestamp(0, UTC)
        license_ = self.citation["license"]
        crate.license = self._entity(f"https://spdx.org/licenses/{license_}", "CreativeWork", license_)
        crate.root_dataset["conformsTo"] = [
            self._entity(address, "CreativeWork", name, version=address.rpartition("/")[2])
            for address, name in PROFILES.items()
        ]

    def add_workflow(self) -> None:
        """Authors, workflow, preset and the command that does the work."""
        names = [author["name"] for author in self.citation["authors"]]
        authors = [self.crate.add(Person(self.crate, f"#{name}", properties={"name": name})) for name in names]
        self.crate.root_dataset["author"] = authors
        version = self.versions.get("snakemake")
        self.workflow = self.crate.add_workflow("Snakefile", main=True, lang="snakemake", lang_version=version)
        self.workflow["name"] = "The ParaDise paper's tables"
        self.workflow["license"], self.workflow["author"] = self.crate.license, authors
        for rules in sorted(Path("workflow/rules").glob("*.smk")):
            self._file(rules, rules, "Rules of the workflow")
        path, role = self.preset.path, "The preset: data, recipe, rows and seeds"
        self.recipe = self._file(path, Path("config", path.name), role, "application/yaml")
        version = self.versions.get("paradise-nn")
        self.command = self._entity("#paradise", "SoftwareApplication", "paradise", softwareVersion=version)

    def add_runs(self, files: Mapping[Path, Sequence[Path]]) -> None:
        """The files of each run, which are by its folder in `files`, with an action that says how they were made."""
        for run in self.runs:
            made = self._results(files[run.folder])
            record, anchor = run.record, run.run.anchor
            took = timedelta(seconds=0 if isinstance(record, Imported) else record.seconds)
            properties = {
                "name": f"Training and evaluation of {anchor}",
                "description": f"On {record.machine}, by {record.commit or 'an unknown commit'}",
                "startTime": (datetime.fromisoformat(record.time) - took).isoformat(timespec="seconds"),
                "endTime": record.time,
                "actionStatus": "http://schema.org/CompletedActionStatus",
            }
            self.crate.add_action(self.command, f"#{anchor}", object=[self.recipe], result=made, properties=properties)

    def add_study(self, paths: Sequence[Path]) -> None:
        """The files of the whole study, and the workflow's action, whose results they are with those of the runs."""
        self._results(paths)
        whole = {"name": f"The study {self.preset.name}"} | ({"endTime": self.end} if self.end else {})
        action = self.crate.add_action(
            self.workflow, "#study", object=[self.recipe], result=self.records, properties=whole
        )
        others = (entity for entity in self.crate.get_by_type("CreateAction") if entity != action)
        self.crate.root_dataset["mentions"] = [action, *others]

    def _results(self, paths: Sequence[Path]) -> list[ContextEntity]:
        """Adds files of the study's results."""
        added = []
        for path in paths:
            place = Path("results", self.preset.name, path.relative_to(self.preset.results))
            role = ROLES.get(path.name.partition(".")[0], f"The study's {re.sub('[-_]', ' ', path.stem)}")
            added.append(self._file(path, place, role))
        self.records += added
        return added

    def _file(self, path: Path, place: Path, description: str, kind: str | None = None) -> ContextEntity:
        """Adds the file `path` to the crate, in which it lies at `place`."""
        kind = kind or FORMATS.get(path.suffix, "text/plain")
        properties = {"name": path.name, "description": description, "encodingFormat": kind}
        return self.crate.add_file(path, place.as_posix(), properties=properties, record_size=True)

    def _entity(self, address: str, kind: str, name: str, **properties: Any) -> ContextEntity:
        known = {key: value for key, value in properties.items() if value is not None}
        return self.crate.add(ContextEntity(self.crate, address, properties={"@type": kind, "name": name} | known))


def _runs(study: Study) -> list[AnyRun]:
    preset = study.preset
    runs: list[AnyRun] = [run for row in preset.classifiers for run in study.runs(row)]
    return [*runs, *(run for row in preset.detectors for run in study.detectors(row))]


def _files(job: Job) -> list[Path]:
    """What a job left and is here, but for weights."""
    return [path for path in job.outputs if path.name not in job.step.weights and path.is_file()]


def _files_of_runs(study: Study) -> dict[Path, list[Path]]:
    """The files of every run, by its folder."""
    files: dict[Path, list[Path]] = {}
    for job in study.survey.jobs.values():
        if _is_of_run(job):
            files.setdefault(job.record.parent, []).extend(_files(job))
    return files


def _other_files(study: Study) -> list[Path]:
    """The files that are of no run, such as tables and profiles, where they may be shown."""
    survey = study.survey
    jobs = [job for job in survey.jobs.values() if not job.step.local and not _is_of_run(job)]
    return [path for job in jobs if not survey.missing(job) and not survey.refused(job) for path in _files(job)]


def _is_of_run(job: Job) -> bool:
    return "row" in job.wildcards or "detector" in job.wildcards
