"""Steps: each a module of this package, which declares what it makes of what, and its command.

From a step's declaration follow its Snakemake rule's files, its stage in `dvc.yaml`, the fingerprint of its code and
whether a result of it is what today's settings, data and code would make. No torch here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from paradise.study.code import fingerprint
from paradise.study.preset import Preset
from paradise.study.records import Record
from paradise.study.registry import DATASETS, DETECTION_SETS, DETECTORS, EVIDENCE, LOADERS, TABLES, Registry
from paradise.study.rows import IMPORTED, DetectorRow, Row, Run

STEPS = Registry("paradise.study.steps", "STEP", "step")
Wildcards = Mapping[str, str]  # a job's, as Snakemake has them: {"row": "resnet18", "seed": "0"}


def _nothing(preset: Preset, wildcards: Wildcards) -> dict[str, Any]:
    return {}


def _once(preset: Preset) -> list[dict[str, str]]:
    return [{}]


@dataclass(frozen=True)
class Step:
    """What one step of the pipeline makes of what. Patterns have `{results}`, `{data}`, `{detection}` and wildcards.

    Attributes:
        name: Its rule's and its stages' name.
        about: What it makes, in words.
        schema: What its record says.
        record: Pattern of its record's path.
        entries: The modules whose import closure decides its numbers.
        outputs: Patterns of its other files.
        jobs: The wildcards of all its jobs in a study.
        inputs: The files that its numbers come from, by the names that its record has for them.
        waits_for: Files that must be there first, and are no inputs.
        beside: Names of inputs that come with what it waits for: no rule has them as outputs.
        settings: What of the preset its numbers come from.
        vouches_for: The files whose hashes are its record's `outputs`; those of `outputs` by default.
        packages: Installed packages whose version decides its numbers.
        imports: Packages that it cannot do without, where these are no part of the study's installation.
        weights: Names of outputs that may stay on the machine where they were made.
        in_git: Names of outputs that git keeps, not DVC.
        local: Its files lie outside the study's folder and need not travel with it.
        view: It measures nothing, and is made again in seconds wherever anything differs.
        check: What else must be so of its files and its record: why it is not, or None.
    """

    name: str
    about: str
    schema: type[Record]
    record: str
    entries: Callable[[Preset, Wildcards], list[str]]
    outputs: tuple[str, ...] = ()
    jobs: Callable[[Preset], list[dict[str, str]]] = _once
    inputs: Callable[[Preset, Wildcards], dict[str, Path]] = _nothing
    waits_for: Callable[[Preset, Wildcards], list[Path]] = lambda preset, wildcards: []
    beside: tuple[str, ...] = ()
    settings: Callable[[Preset, Wildcards], dict[str, Any]] = _nothing
    vouches_for: Callable[[Preset, Wildcards], dict[str, Path]] | None = None
    packages: tuple[str, ...] = ("torch",)
    imports: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    in_git: tuple[str, ...] = ()
    local: bool = False
    view: bool = False
    check: Callable[["Job", Any], str | None] = lambda job, record: None

    def job(self, preset: Preset, **wildcards: str) -> "Job":
        """Its job with these wildcards."""
        return Job(self, preset, wildcards)

    def of(self, preset: Preset) -> list["Job"]:
        """All its jobs in a study."""
        return [Job(self, preset, wildcards) for wildcards in self.jobs(preset)]

    def pattern(self, preset: Preset, name: str) -> str:
        """One of its patterns in a study, its wildcards left: "results/digits/{row}/seed{seed}/run.json"."""
        return name.format_map(_Open(places(preset)))

    def journal(self, preset: Preset, folder: str, ending: str) -> str:
        """Pattern of where what a job prints, or costs, is kept: "results/digits/logs/train/{row}-seed{seed}.log"."""
        record = Path(self.pattern(preset, self.record))
        wildcards = [part for part in record.parts if "{" in part]
        names = [self.name] if not wildcards else [self.name, "-".join(wildcards).removesuffix(record.suffix)]
        return f"{preset.results}/{folder}/{'/'.join(names)}{ending}"


@dataclass(frozen=True)
class Job:
    """One step for one set of wildcards in one study."""

    step: Step
    preset: Preset
    wildcards: Wildcards

    def __str__(self) -> str:
        return f"{self.step.name} {in_words(self.wildcards)}".rstrip()

    @property
    def place(self) -> str:
        """What it is of, in words: "pd_b_resnet18 seed0"; the step's name where there is nothing to tell apart."""
        return in_words(self.wildcards) or self.step.name

    @cached_property
    def record(self) -> Path:
        return self._path(self.step.record)

    @cached_property
    def outputs(self) -> list[Path]:
        """All its files, the record last."""
        return [*map(self._path, self.step.outputs), self.record]

    @cached_property
    def inputs(self) -> dict[str, Path]:
        return self.step.inputs(self.preset, self.wildcards)

    @cached_property
    def needs(self) -> list[Path]:
        """The files that must be there before it begins."""
        made = [path for name, path in self.inputs.items() if name not in self.step.beside]
        return [*self.step.waits_for(self.preset, self.wildcards), *made]

    @cached_property
    def vouched(self) -> dict[str, Path]:
        """The files whose hashes are its record's `outputs`."""
        if self.step.vouches_for is not None:
            return self.step.vouches_for(self.preset, self.wildcards)
        return {path.name: path for path in map(self._path, self.step.outputs)}

    @cached_property
    def settings(self) -> dict[str, Any]:
        return self.step.settings(self.preset, self.wildcards)

    @cached_property
    def code(self) -> dict[str, str]:
        """Its fingerprint, by module."""
        return fingerprint(*self.step.entries(self.preset, self.wildcards))

    def _path(self, pattern: str) -> Path:
        return Path(pattern.format(**places(self.preset), **self.wildcards))


class _Open(dict[str, str]):
    """Values for a pattern in which what has none stays as it is."""

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"


def in_words(wildcards: Wildcards) -> str:
    """What wildcards mean: "pd_b_resnet18 seed0"."""
    return " ".join(f"seed{value}" if key == "seed" else value for key, value in wildcards.items())


def all_steps() -> dict[str, Step]:
    """Every step by its name."""
    steps: dict[str, Step] = STEPS.all()
    return steps


def places(preset: Preset) -> dict[str, str]:
    """What the places in patterns are called in a study."""
    detection = preset.detection.folder if preset.detection else "none"
    return {"results": str(preset.results), "data": preset.data.folder, "detection": detection}


def row_of(wildcards: Wildcards) -> Row:
    """The classification row that wildcards mean."""
    return Row.parse(wildcards["row"])


def detector_of(wildcards: Wildcards) -> DetectorRow:
    """The detection row that wildcards mean."""
    return DetectorRow.parse(wildcards["detector"])


def run_from(wildcards: Wildcards) -> Run:
    """The run of a row or a detector that wildcards mean."""
    row = detector_of(wildcards) if "detector" in wildcards else row_of(wildcards)
    name = wildcards.get("run", f"seed{wildcards.get('seed')}")
    return Run(row, None if name == IMPORTED else int(name.removeprefix("seed")))


def manifest(preset: Preset) -> dict[str, Path]:
    """The list of a study's images, as an input."""
    return {"manifest.csv": Path(preset.data.folder, "manifest.csv")}


def weights_of(preset: Preset, run: Run) -> Path:
    """The trained weights of a run."""
    return run.folder(preset.results) / "weights.safetensors"


def network_modules(*rows: Row) -> list[str]:
    """The modules that these rows' networks are found in."""
    return sorted({f"paradise.models.{row.kind}" for row in rows})


def view_modules(preset: Preset) -> list[str]:
    """The modules that what a view shows comes from, beside its own: it names all that there is, and judges it."""
    named = [*map(TABLES.module, TABLES.names()), *map(EVIDENCE.module, EVIDENCE.names())]
    named += [*map(DETECTORS.module, DETECTORS.names()), DATASETS.module(preset.data.dataset)]
    if preset.detection is not None:
        named.append(DETECTION_SETS.module(preset.detection.dataset))
    return [*named, "paradise.study.data.manifest", "paradise.study.evidence.starts", "paradise.study.tables"]


def image_modules(dataset: str, loader: str) -> list[str]:
    """The modules that a study's images come from."""
    return [DATASETS.module(dataset), LOADERS.module(loader)]
