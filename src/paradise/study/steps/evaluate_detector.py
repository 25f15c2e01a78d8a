"""evaluate_detector: AP of both forms of a detector."""

from pathlib import Path
from typing import Annotated

import typer

from paradise.study.agreement import check_detections
from paradise.study.preset import Preset
from paradise.study.records import EvaluatedDetector
from paradise.study.rows import DetectorRow
from paradise.study.steps import Step, Wildcards, detector_of, run_from, weights_of
from paradise.study.steps.prepare_detection import STEP as PREPARE
from paradise.study.steps.prepare_detection import annotations
from paradise.study.steps.train_detector import PACKAGES, detector_modules, settings
from paradise.study.steps.train_detector import STEP as TRAIN
from paradise.study.terminal.options import Gpus, Threads, detection_of, require_mmdetection, reserve


def entries(row: DetectorRow, dataset: str) -> list[str]:
    """The modules that decide the AP of `row` on these images."""
    return ["paradise.study.detection.evaluate", *detector_modules(row, dataset)]


def _inputs(preset: Preset, wildcards: Wildcards) -> dict[str, Path]:
    return {
        "annotations of val": annotations(preset, wildcards)["annotations of val"],
        "weights.safetensors": weights_of(preset, run_from(wildcards)),
    }


STEP = Step(
    name="evaluate_detector",
    about="AP of both forms of a detector",
    schema=EvaluatedDetector,
    record="{results}/detection/{detector}/seed{seed}/evaluation.json",
    outputs=("{results}/detection/{detector}/seed{seed}/metrics.json",),
    jobs=TRAIN.jobs,
    entries=lambda preset, wildcards: entries(detector_of(wildcards), detection_of(preset).dataset),
    inputs=_inputs,
    waits_for=lambda preset, wildcards: [PREPARE.job(preset).record, TRAIN.job(preset, **wildcards).record],
    beside=("annotations of val",),
    settings=settings,
    packages=PACKAGES,
    imports=("mmdet",),
    in_git=("metrics.json",),
    check=check_detections,
)


def command(
    folder: Annotated[Path, typer.Argument(help="A folder that `paradise detection train` wrote.")],
    threads: Threads = 1,
    gpus: Gpus = None,
) -> None:
    """Evaluate the trained and the fused form of a detector: evaluation.json, metrics.json."""
    require_mmdetection()
    reserve(gpus)
    from paradise.study.detection.evaluate import evaluate_detector

    evaluate_detector(folder, threads, gpus)
