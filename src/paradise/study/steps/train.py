"""train: a row's weights, its log of epochs and its record."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from paradise.errors import UserError
from paradise.study.agreement import check_training
from paradise.study.preset import Preset
from paradise.study.records import Trained
from paradise.study.rows import Row, Run
from paradise.study.steps import Step, Wildcards, image_modules, manifest, network_modules, row_of
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
    reserve,
)


def entries(row: Row, dataset: str, loader: str) -> list[str]:
    """The modules that decide what a training of `row` on these images gives."""
    return ["paradise.study.training.loop", *network_modules(row), *image_modules(dataset, loader)]


def _settings(preset: Preset, wildcards: Wildcards) -> dict:
    return {"recipe": preset.recipe(row_of(wildcards)).values(), "data": preset.data.seen()}


STEP = Step(
    name="train",
    about="a row's weights, its log of epochs and its record",
    schema=Trained,
    record="{results}/{row}/seed{seed}/run.json",
    outputs=("{results}/{row}/seed{seed}/weights.safetensors", "{results}/{row}/seed{seed}/log.csv"),
    jobs=lambda preset: [
        {"row": row.id, "seed": str(seed)} for row in preset.classifiers for seed in preset.seeds_of(row)
    ],
    entries=lambda preset, wildcards: entries(row_of(wildcards), preset.data.dataset, preset.data.loader),
    inputs=lambda preset, wildcards: manifest(preset),
    settings=_settings,
    packages=("torch", "nvidia-dali-cuda130"),
    weights=("weights.safetensors",),
    check=check_training,
)


def command(
    row: Annotated[str, typer.Argument(help="A row, such as pd_b_resnet18 or pd_b_resnet18-standard1-skeleton.")],
    preset: PresetPath = DIGITS,
    seed: Seed = 0,
    threads: Threads = 1,
    output: Annotated[Path | None, typer.Option(help="Folder; results/PRESET/ROW/seedSEED by default.")] = None,
    gpus: Gpus = None,
    processes: Annotated[int | None, typer.Option(min=1, help="One a GPU by default; torchrun starts them.")] = None,
    save_minutes: SaveMinutes = SAVE_MINUTES,
    restart: Restart = RESTART,
    accept_changes: AcceptChanges = ACCEPT_CHANGES,
) -> None:
    """Train one row: weights.safetensors, log.csv, run.json. Goes on where an earlier call was ended."""
    study, wanted = Preset.load(preset), Row.parse(row)
    count = processes or gpus or 1
    if gpus and count != gpus:
        raise UserError(f"--gpus {gpus} and --processes {count}: each process has one GPU, so leave one of them away")
    reserve(gpus, count)
    if count > 1 and "RANK" not in os.environ:
        from paradise.study.data.loaders import share_batch
        from paradise.study.training.processes import launch

        recipe = study.recipe(wanted)
        share_batch(recipe, recipe.batch_size, 0, count)  # before hundreds of processes find that it does not divide
        sys.exit(launch(count, sys.argv[1:]))
    from paradise.study.training.loop import train

    run = Run(wanted, seed)
    train(run, study, threads, output or run.folder(study.results), gpus, save_minutes, restart, accept_changes)
