"""profile_detectors: operations, parameters and latency of the detectors in both forms."""

from typing import Any

from paradise.study.agreement import check_profiles
from paradise.study.preset import Preset
from paradise.study.records import DetectorProfiles
from paradise.study.steps import Step, Wildcards
from paradise.study.steps.prepare_detection import STEP as PREPARE
from paradise.study.steps.prepare_detection import annotations
from paradise.study.steps.train_detector import PACKAGES, detector_modules
from paradise.study.terminal.options import DIGITS, Output, PresetPath, detection_of, require_mmdetection


def _entries(preset: Preset, wildcards: Wildcards) -> list[str]:
    modules = {m for row in preset.detectors for m in detector_modules(row, detection_of(preset).dataset)}
    return ["paradise.study.detection.profile", *sorted(modules)]


def _settings(preset: Preset, wildcards: Wildcards) -> dict[str, Any]:
    detectors = {row.id: preset.detection_of(row).trained() for row in preset.detectors}
    return {"detectors": detectors, "latency": detection_of(preset).latency.values()}


STEP = Step(
    name="profile_detectors",
    about="operations, parameters and latency of the detectors",
    schema=DetectorProfiles,
    record="{results}/profile/detection.json",
    jobs=PREPARE.jobs,
    entries=_entries,
    inputs=lambda preset, wildcards: {"annotations of val": annotations(preset, wildcards)["annotations of val"]},
    waits_for=lambda preset, wildcards: [PREPARE.job(preset).record],
    beside=("annotations of val",),
    settings=_settings,
    packages=PACKAGES,
    imports=("mmdet",),
    check=check_profiles,
)


def command(preset: PresetPath = DIGITS, output: Output = None) -> None:
    """Count and time the preset's detectors, trained and fused."""
    study = Preset.load(preset)
    detection_of(study)
    require_mmdetection()
    from paradise.study.detection.profile import profile_detectors

    profile_detectors(study, output or STEP.job(study).record)
