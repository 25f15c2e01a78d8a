"""prepare: the data set's manifest, and its images where they do not come as files."""

import sys
from pathlib import Path

from paradise.study.agreement import check_prepared
from paradise.study.data.manifest import other_images, read_manifest
from paradise.study.preset import Preset
from paradise.study.records import Prepared
from paradise.study.registry import DATASETS
from paradise.study.steps import Job, Step
from paradise.study.terminal.options import DIGITS, PresetPath, Threads


def _check(job: Job, record: Prepared) -> str | None:
    """That an image which is here is not the manifest's. What lies elsewhere a loader reads, and names."""
    data = job.preset.data
    if (other := check_prepared(job, record)) or not DATASETS.get(data.dataset).embedded:
        return other
    wrong = other_images(read_manifest(Path(data.folder)))
    return f"{wrong[0]} is not the image that was prepared" if wrong else None


STEP = Step(
    name="prepare",
    about="the data set as image folders",
    schema=Prepared,
    record="{data}/prepared.json",
    outputs=("{data}/manifest.csv",),
    entries=lambda preset, wildcards: ["paradise.study.data.prepare", DATASETS.module(preset.data.dataset)],
    settings=lambda preset, wildcards: {"data": preset.data.prepared()},
    packages=(),
    local=True,
    check=_check,
)


def command(preset: PresetPath = DIGITS, threads: Threads = 1) -> None:
    """Check the preset's data set and write its manifest, and its images where they do not come as files."""
    from paradise.study.data.prepare import prepare

    study = Preset.load(preset)
    listed = ", ".join(f"{count} {split} images" for split, count in prepare(study.data, study.name, threads).items())
    print(f"{study.data.folder}: {listed}", file=sys.stderr)
