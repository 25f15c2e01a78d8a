"""train_start: a plain ResNet18 trained from one of the lottery's starts."""

from typing import Annotated, Any

import typer

from paradise.errors import UserError, nearest
from paradise.study.agreement import check_training
from paradise.study.evidence.starts import SOURCE, STARTS
from paradise.study.preset import Preset
from paradise.study.records import Trained
from paradise.study.rows import Run
from paradise.study.steps import Step, Wildcards, image_modules, manifest, network_modules, weights_of
from paradise.study.terminal.options import (
    ACCEPT_CHANGES,
    DIGITS,
    RESTART,
    AcceptChanges,
    Gpus,
    PresetPath,
    Restart,
    Seed,
    Threads,
    reserve,
)


def _entries(preset: Preset, wildcards: Wildcards) -> list[str]:
    images = image_modules(preset.data.dataset, preset.data.loader)
    return ["paradise.study.evidence.train_start", *network_modules(SOURCE, SOURCE.plain), *images]


def _settings(preset: Preset, wildcards: Wildcards) -> dict[str, Any]:
    return {"recipe": preset.recipe(SOURCE.plain).values(), "data": preset.data.seen(), "start": wildcards["start"]}


STEP = Step(
    name="train_start",
    about="a plain ResNet18 trained from a start of the lottery's",
    schema=Trained,
    record="{results}/evidence/lottery/{start}/seed{seed}/run.json",
    outputs=(
        "{results}/evidence/lottery/{start}/seed{seed}/weights.safetensors",
        "{results}/evidence/lottery/{start}/seed{seed}/log.csv",
    ),
    jobs=lambda preset: [{"start": start, "seed": str(seed)} for start in STARTS for seed in preset.evidence_seeds],
    entries=_entries,
    inputs=lambda preset, wildcards: (
        manifest(preset) | {"source": weights_of(preset, Run(SOURCE, preset.seeds_of(SOURCE)[0]))}
    ),
    settings=_settings,
    packages=("torch", "nvidia-dali-cuda130"),
    weights=("weights.safetensors",),
    check=check_training,
)


def command(
    start: Annotated[str, typer.Argument(help=f"What the plain ResNet18 starts from: {', '.join(STARTS)}.")],
    preset: PresetPath = DIGITS,
    seed: Seed = 0,
    threads: Threads = 1,
    gpus: Gpus = None,
    restart: Restart = RESTART,
    accept_changes: AcceptChanges = ACCEPT_CHANGES,
) -> None:
    """Train a plain ResNet18 into evidence/lottery/START/seedSEED. Goes on where an earlier call was ended."""
    study = Preset.load(preset)
    if start not in STARTS:
        raise UserError(f"unknown start '{start}'{nearest(start, STARTS)}")
    reserve(gpus)
    from paradise.study.evidence.train_start import train_start

    train_start(start, study, seed, threads, gpus, restart, accept_changes)
