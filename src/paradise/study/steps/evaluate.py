"""evaluate: accuracy of both forms of a run."""

from pathlib import Path

from paradise.study.agreement import check_evaluation
from paradise.study.preset import Preset
from paradise.study.records import PREDICTIONS, Evaluated
from paradise.study.rows import Row
from paradise.study.steps import Step, Wildcards, image_modules, manifest, network_modules, row_of, run_from
from paradise.study.steps.fuse import runs
from paradise.study.terminal.options import Gpus, RunFolder, Threads, reserve


def entries(row: Row, dataset: str, loader: str) -> list[str]:
    """The modules that decide the accuracy of `row` on these images."""
    return ["paradise.study.evaluate", *network_modules(row), *image_modules(dataset, loader)]


def _inputs(preset: Preset, wildcards: Wildcards) -> dict[str, Path]:
    folder = run_from(wildcards).folder(preset.results)
    return manifest(preset) | {name: folder / name for name in ("weights.safetensors", "fused.safetensors")}


def _waits_for(preset: Preset, wildcards: Wildcards) -> list[Path]:
    folder = run_from(wildcards).folder(preset.results)
    return [folder / "run.json", folder / "fused.json"]


STEP = Step(
    name="evaluate",
    about="accuracy of both forms",
    schema=Evaluated,
    record="{results}/{row}/{run}/evaluation.json",
    outputs=("{results}/{row}/{run}/metrics.json", f"{{results}}/{{row}}/{{run}}/{PREDICTIONS}"),
    jobs=runs,
    entries=lambda preset, wildcards: entries(row_of(wildcards), preset.data.dataset, preset.data.loader),
    inputs=_inputs,
    waits_for=_waits_for,
    settings=lambda preset, wildcards: {"data": preset.data.evaluated()},
    packages=("torch", "nvidia-dali-cuda130"),
    in_git=("metrics.json",),
    check=check_evaluation,
)


def command(folder: RunFolder, threads: Threads = 1, gpus: Gpus = None) -> None:
    """Evaluate the trained and the fused form in a folder: evaluation.json, metrics.json, predictions.csv.xz."""
    reserve(gpus)
    from paradise.study.evaluate import evaluate

    evaluate(folder, threads, gpus)
