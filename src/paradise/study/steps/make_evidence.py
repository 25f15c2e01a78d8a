"""make_evidence: one piece of evidence, measured on what has been trained."""

from pathlib import Path
from typing import Annotated, Any

import typer

from paradise.study.agreement import check_evidence
from paradise.study.preset import Preset
from paradise.study.records import EvidenceRecord
from paradise.study.registry import EVIDENCE
from paradise.study.steps import Step, Wildcards, image_modules, manifest, network_modules
from paradise.study.terminal.options import DIGITS, Gpus, PresetPath, Threads, reserve


def _entries(preset: Preset, wildcards: Wildcards) -> list[str]:
    piece = EVIDENCE.get(wildcards["piece"])
    looked_at = piece.looks_at(preset)
    rows = [row for row in preset.classifiers if any(place.startswith(f"{row.place}/") for place in looked_at)]
    images = image_modules(preset.data.dataset, preset.data.loader)
    declared = EVIDENCE.module(wildcards["piece"])
    return ["paradise.study.evidence.make", declared, piece.measured_by, *network_modules(*rows), *images]


def _inputs(preset: Preset, wildcards: Wildcards) -> dict[str, Path]:
    looked_at = EVIDENCE.get(wildcards["piece"]).looks_at(preset)
    return manifest(preset) | {place: preset.results / place for place in looked_at}


def _settings(preset: Preset, wildcards: Wildcards) -> dict[str, Any]:
    seeds = {"seeds": preset.evidence_seeds} if EVIDENCE.get(wildcards["piece"]).trains else {}
    return {"data": preset.data.evaluated()} | seeds


STEP = Step(
    name="make_evidence",
    about="a piece of evidence",
    schema=EvidenceRecord,
    record="{results}/evidence/{piece}.json",
    jobs=lambda preset: [{"piece": name} for name in EVIDENCE.names()],
    entries=_entries,
    inputs=_inputs,
    settings=_settings,
    packages=("torch", "nvidia-dali-cuda130"),
    check=check_evidence,
)


def command(
    name: Annotated[str, typer.Argument(help=f"Which: {', '.join(EVIDENCE.names())}.")],
    preset: PresetPath = DIGITS,
    threads: Threads = 1,
    gpus: Gpus = None,
) -> None:
    """Measure one piece of evidence on what has been trained: evidence/NAME.json."""
    study = Preset.load(preset)
    EVIDENCE.module(name)
    reserve(gpus)
    from paradise.study.evidence.make import make_evidence

    make_evidence(name, study, threads, gpus)
