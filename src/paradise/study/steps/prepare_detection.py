"""prepare_detection: the detection data set in COCO's format."""

import sys
from pathlib import Path

from paradise.study.preset import Preset
from paradise.study.records import PreparedDetection
from paradise.study.registry import DETECTION_SETS
from paradise.study.steps import Step, Wildcards
from paradise.study.terminal.options import DIGITS, PresetPath, detection_of


def annotations(preset: Preset, wildcards: Wildcards) -> dict[str, Path]:
    """The annotations of both splits, by what records call them."""
    section = detection_of(preset)
    files: dict[str, Path] = DETECTION_SETS.get(section.dataset).annotation_files(section)
    return files


STEP = Step(
    name="prepare_detection",
    about="the detection data set, in COCO's format",
    schema=PreparedDetection,
    record="{detection}/detection.json",
    jobs=lambda preset: [{}] if preset.detection else [],
    entries=lambda preset, wildcards: [
        "paradise.study.detection.data",
        DETECTION_SETS.module(detection_of(preset).dataset),
    ],
    settings=lambda preset, wildcards: {"detection": detection_of(preset).prepared()},
    vouches_for=annotations,
    packages=(),
    local=True,
)


def command(preset: PresetPath = DIGITS) -> None:
    """Compose the embedded detection set, or check COCO and write its annotations anew: detection.json beside them."""
    study = Preset.load(preset)
    section = detection_of(study)
    from paradise.study.detection.data import prepare

    for split, counts in prepare(section, study.name).items():
        listed = ", ".join(f"{count} {what}" for what, count in counts.items())
        print(f"{section.folder}, {split}: {listed}", file=sys.stderr)
