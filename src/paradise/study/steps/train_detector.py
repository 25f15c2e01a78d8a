"""train_detector: a detector's weights, its log of iterations and its record."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from paradise.study.agreement import check_detector
from paradise.study.preset import Preset
from paradise.study.records import TrainedDetector
from paradise.study.registry import DETECTION_SETS, DETECTORS
from paradise.study.rows import DetectorRow, Run
from paradise.study.steps import Step, Wildcards, detector_of, weights_of
from paradise.study.steps.prepare_detection import STEP as PREPARE
from paradise.study.steps.prepare_detection import annotations
from paradise.study.terminal.options import (
    ACCEPT_CHANGES,
    DIGITS,
    RESTART,
    SAVE_MINUTES,
    AcceptChanges,
    Gpus,
    PresetPath,
    Restart,
    SaveMinutes,
    Seed,
    Threads,
    detection_of,
    detector_named,
    require_mmdetection,
    reserve,
)

PACKAGES = ("torch", "onedl-mmdetection", "onedl-mmcv")


def detector_modules(row: DetectorRow, dataset: str) -> list[str]:
    """The modules that a detector and its images are found in."""
    return [DETECTORS.module(row.detector), DETECTION_SETS.module(dataset), "paradise.mmdetection"]


def entries(row: DetectorRow, dataset: str) -> list[str]:
    """The modules that decide what a training of `row` on these images gives."""
    return ["paradise.study.detection.train", *detector_modules(row, dataset)]


def settings(preset: Preset, wildcards: Wildcards) -> dict[str, Any]:
    """The data and the recipe of a detector."""
    return {"detection": preset.detection_of(detector_of(wildcards)).trained()}


def _inputs(preset: Preset, wildcards: Wildcards) -> dict[str, Path]:
    source = Run(detector_of(wildcards).backbone, int(wildcards["seed"]))
    return annotations(preset, wildcards) | {"backbone": weights_of(preset, source)}


STEP = Step(
    name="train_detector",
    about="a detector's weights, its log of iterations and its record",
    schema=TrainedDetector,
    record="{results}/detection/{detector}/seed{seed}/run.json",
    outputs=(
        "{results}/detection/{detector}/seed{seed}/weights.safetensors",
        "{results}/detection/{detector}/seed{seed}/log.csv",
    ),
    jobs=lambda preset: [{"detector": run.row.id, "seed": str(run.seed)} for run in preset.detector_runs],
    entries=lambda preset, wildcards: entries(detector_of(wildcards), detection_of(preset).dataset),
    inputs=_inputs,
    waits_for=lambda preset, wildcards: [PREPARE.job(preset).record],
    beside=("annotations of train", "annotations of val"),
    settings=settings,
    packages=PACKAGES,
    imports=("mmdet",),
    weights=("weights.safetensors",),
    check=check_detector,
)


def command(
    row: Annotated[str, typer.Argument(help="A row, such as retinanet-pd_b_resnet50.")],
    preset: PresetPath = DIGITS,
    seed: Seed = 0,
    threads: Threads = 1,
    backbone: Annotated[
        Path | None, typer.Option(help="The backbone's run; results/PRESET/BACKBONE/seedSEED by default.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder; results/PRESET/detection/ROW/seedSEED by default.")
    ] = None,
    gpus: Gpus = None,
    save_minutes: SaveMinutes = SAVE_MINUTES,
    restart: Restart = RESTART,
    accept_changes: AcceptChanges = ACCEPT_CHANGES,
) -> None:
    """Train one detector: weights.safetensors, log.csv, run.json. Goes on where an earlier call was ended."""
    study = Preset.load(preset)
    wanted = detector_named(row, study)
    reserve(gpus)
    if (gpus or 1) > 1 and "RANK" not in os.environ:
        from paradise.study.training.processes import launch

        sys.exit(launch(gpus or 1, sys.argv[1:]))
    require_mmdetection()
    from paradise.study.detection.train import train_detector

    run, source = Run(wanted, seed), backbone or Run(wanted.backbone, seed).folder(study.results)
    train_detector(
        run, study, threads, source, output or run.folder(study.results), save_minutes, restart, accept_changes
    )
