"""The command line: one thin command per step of the pipeline."""

import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from paradise import preset as presets
from paradise.errors import INTERRUPTED, Interrupted, UserError, nearest
from paradise.evidence import NAMES, STARTS
from paradise.names import backbone_of
from paradise.training import SAVE_MINUTES

app = typer.Typer(
    help="Reproduce the ParaDise paper, step by step; `snakemake` runs all steps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
detection = typer.Typer(help="Table 3, step by step, in mmdetection.", no_args_is_help=True)
app.add_typer(detection, name="detection")
evidence = typer.Typer(help="Why the method may work, piece by piece.", no_args_is_help=True)
app.add_typer(evidence, name="evidence")
Table = StrEnum("Table", ["imagenet", "ablation", "detection", "claims"])
Evidence = StrEnum("Evidence", list(NAMES))
Start = StrEnum("Start", list(STARTS))
Preset = Annotated[Path, typer.Option(help="The study's YAML file.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads.")]
Folder = Annotated[Path, typer.Argument(help="A folder that `paradise train` wrote.")]
Gpus = Annotated[int | None, typer.Option(min=0, help="How many to use; where there is one, 1 by default.")]
DIGITS = Path("config/digits.yaml")


@app.command()
def prepare(preset: Preset = DIGITS, threads: Threads = 1):
    """Check the preset's data set and write its manifest, and its images where they do not come as files."""
    from paradise.data.prepare import prepare

    data = presets.load(preset)["data"]
    counts = prepare(data, threads)
    listed = ", ".join(f"{count} {split} images" for split, count in counts.items())
    print(f"{data['folder']}: {listed}", file=sys.stderr)


@app.command()
def train(
    row: Annotated[str, typer.Argument(help="A row, such as pd_b_resnet18 or pd_b_resnet18-standard1-skeleton.")],
    preset: Preset = DIGITS,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    threads: Threads = 1,
    output: Annotated[Path | None, typer.Option(help="Folder; results/PRESET/ROW/seedSEED by default.")] = None,
    gpus: Gpus = None,
    processes: Annotated[int | None, typer.Option(min=1, help="One a GPU by default; torchrun starts them.")] = None,
    save_minutes: Annotated[float, typer.Option(min=0, help="Time between saved states.")] = SAVE_MINUTES,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, and delete saved states.")] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on, though code or recipe changed since the state was saved.")
    ] = False,
):
    """Train one row: weights.safetensors, log.csv, run.json. Goes on where an earlier call was ended."""
    settings = presets.load(preset)
    presets.parse_row(row)
    count = processes or gpus or 1
    if gpus and count != gpus:
        raise UserError(f"--gpus {gpus} and --processes {count}: each process has one GPU, so leave one of them away")
    _reserve(gpus, count)
    if count > 1 and "RANK" not in os.environ:
        from paradise.data.loaders import share_batch
        from paradise.training.processes import launch

        recipe = presets.recipe(settings, row)
        share_batch(recipe, recipe["batch_size"], 0, count)  # before hundreds of processes find that it does not divide

        sys.exit(launch(count, sys.argv[1:]))
    from paradise.training.loop import train

    output = output or Path("results", preset.stem, row, f"seed{seed}")
    train(row, settings, preset.stem, seed, threads, output, gpus, save_minutes, restart, accept_changes)


@app.command()
def recipes(preset: Preset = DIGITS):
    """Write what each row of a preset is trained with: recipes.json."""
    from paradise.causes import write_recipes

    write_recipes(presets.load(preset), Path("results", preset.stem))


@app.command()
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="The authors' .pth.tar, or ResNet weights in torchvision's format.")],
    model: Annotated[str, typer.Option(help="The row that it is of, such as pd_b_resnet18.")],
    preset: Preset = DIGITS,
    output: Annotated[Path | None, typer.Option(help="Folder; results/PRESET/MODEL/imported by default.")] = None,
):
    """Turn a checkpoint of others into a run of the preset: weights.safetensors, run.json."""
    settings = presets.load(preset)
    presets.parse_row(model)
    from paradise.checkpoints import import_checkpoint

    import_checkpoint(file, model, settings, preset.stem, output or Path("results", preset.stem, model, "imported"))


@app.command()
def fuse(folder: Folder):
    """Fuse the trained weights of a folder: fused.safetensors."""
    from paradise.runs import write_fused

    write_fused(folder)


@app.command()
def evaluate(folder: Folder, threads: Threads = 1, gpus: Gpus = None):
    """Evaluate the trained and the fused form in a folder: evaluation.json, metrics.json, predictions.csv."""
    _reserve(gpus)
    from paradise.evaluate import evaluate

    evaluate(folder, threads, gpus)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="The row that the weights are of, such as pd_b_resnet18.")],
    weights: Annotated[Path, typer.Argument(help="Its weights.safetensors, or fused.safetensors.")],
    output: Annotated[Path, typer.Option(help="The file to write: .onnx, or .pt2 for torch.export's format.")],
    image_size: Annotated[int, typer.Option(min=1, help="Height and width of the images.")] = 224,
    opset: Annotated[int, typer.Option(help="ONNX's version of operators, 18 to 23.")] = 20,
):
    """Write a row's fused network as one file, for any batch size, and check it."""
    presets.parse_row(model)
    from paradise.export import check_options, export, load

    check_options(output, opset)
    network, fused_here = load(model, weights)
    if fused_here:
        print(f"{weights} is the trained form: fused before it is exported", file=sys.stderr)
    print(f"{output}: tracing, writing and checking, which takes about a minute", file=sys.stderr)
    differences = export(network, output, image_size, opset)
    kind = f"ONNX, opset {opset}" if output.suffix == ".onnx" else "torch.export"
    listed = ", ".join(f"{difference:.0e} at batch {batch}" for batch, difference in differences.items())
    print(
        f"{output}: {kind}, images [batch, 3, {image_size}, {image_size}] to logits [batch, classes]; it differs from "
        f"the network by {listed}, of the largest logit",
        file=sys.stderr,
    )


Models = Annotated[list[str], typer.Argument(help="Models, such as resnet18 pd_b_resnet18.")]
Output = Annotated[Path, typer.Option(help="The JSON file to write.")]


@app.command()
def complexity(models: Models, output: Output):
    """Count parameters and operations of models (1000 classes, 224×224)."""
    _check_models(models)
    from paradise.profiling.complexity import write_complexity

    write_complexity(models, output)


@app.command()
def latency(
    models: Models,
    output: Output,
    rounds: Annotated[int, typer.Option(min=1, help="Timed runs of every model.")] = 100,
    threads: Threads = 1,
):
    """Time the fused models on the CPU (1000 classes, 224×224, batch 1), interleaved."""
    _check_models(models)
    from paradise.profiling.latency import write_latency

    write_latency(models, rounds, threads, output)


@app.command()
def tables(
    which: Annotated[list[Table] | None, typer.Argument(help="All by default.")] = None,
    preset: Preset = DIGITS,
):
    """Write the tables of a preset from what has been measured so far."""
    from paradise.tables import write_tables

    settings = presets.load(preset)
    if "detection" in (which or []):
        _detection(settings, preset)
    write_tables(which or presets.tables(settings), settings, preset.stem, Path("results", preset.stem))


@app.command()
def report(preset: Preset = DIGITS):
    """Write report.html and figures/ of a preset from what has been measured so far."""
    settings = presets.load(preset)
    from paradise.report import write_report

    write_report(settings, preset, Path("results", preset.stem))
    print(f"results/{preset.stem}/report.html", file=sys.stderr)


@app.command()
def crate(preset: Preset = DIGITS):
    """Pack workflow, records, tables and report of a preset as a Workflow Run RO-Crate: study.crate.zip."""
    settings = presets.load(preset)
    from paradise.crate import write_crate

    print(write_crate(settings, preset, Path("results", preset.stem)), file=sys.stderr)


@app.command()
def pull():
    """Fetch the shared studies, and let Snakemake know what of them is done."""
    from paradise.share import pull

    pull()


@app.command()
def push(
    preset: Annotated[Path | None, typer.Option(help="Another study than dvc.yaml's, shared as a folder.")] = None,
):
    """Record in dvc.lock what Snakemake made of the study in dvc.yaml, and share it."""
    from paradise.share import described, push, push_folder

    if preset is None or preset.resolve() == described().resolve():
        push()
    else:
        push_folder(preset)


@evidence.command("make")
def make_evidence(
    name: Annotated[Evidence, typer.Argument(help="Which.")],
    preset: Preset = DIGITS,
    threads: Threads = 1,
    gpus: Gpus = None,
):
    """Measure one piece of evidence on what has been trained: evidence/NAME.json."""
    settings = presets.load(preset)
    _reserve(gpus)
    from paradise.evidence.make import make_evidence

    make_evidence(name, settings, preset.stem, Path("results", preset.stem), threads, gpus)


@evidence.command("train")
def train_start(
    start: Annotated[Start, typer.Argument(help="What the plain ResNet18 starts from.")],
    preset: Preset = DIGITS,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    threads: Threads = 1,
    gpus: Gpus = None,
):
    """Train a plain ResNet18 into evidence/lottery/START/seedSEED. Goes on where an earlier call was ended."""
    settings = presets.load(preset)
    _reserve(gpus)
    from paradise.evidence.lottery import train_start

    train_start(start, settings, preset.stem, seed, threads, Path("results", preset.stem), gpus)


@detection.command("prepare")
def prepare_detection(preset: Preset = DIGITS):
    """Compose the embedded detection set, or check COCO: detection.json in the preset's folder."""
    settings = _detection(presets.load(preset), preset)
    from paradise.detection.data import prepare

    for split, counts in prepare(settings).items():
        listed = ", ".join(f"{count} {what}" for what, count in counts.items())
        print(f"{settings['folder']}, {split}: {listed}", file=sys.stderr)


@detection.command("train")
def train_detector(
    row: Annotated[str, typer.Argument(help="A row, such as retinanet-pd_b_resnet50.")],
    preset: Preset = DIGITS,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    threads: Threads = 1,
    backbone: Annotated[
        Path | None, typer.Option(help="The backbone's run; results/PRESET/BACKBONE/seedSEED by default.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder; results/PRESET/detection/ROW/seedSEED by default.")
    ] = None,
    gpus: Gpus = None,
    save_minutes: Annotated[float, typer.Option(min=0, help="Time between saved states.")] = SAVE_MINUTES,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, and delete saved states.")] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on, though code or recipe changed since the state was saved.")
    ] = False,
):
    """Train one detector: weights.safetensors, log.csv, run.json. Goes on where an earlier call was ended."""
    settings = presets.load(preset)
    _detection(settings, preset)
    if row not in presets.detectors(settings):
        raise UserError(f"{preset} has no detector '{row}'{nearest(row, presets.detectors(settings))}")
    _reserve(gpus)
    if (gpus or 1) > 1 and "RANK" not in os.environ:
        from paradise.training.processes import launch

        sys.exit(launch(gpus, sys.argv[1:]))
    _require_mmdetection()
    from paradise.detection.train import train_detector

    results = Path("results", preset.stem)
    backbone = backbone or results / backbone_of(row) / f"seed{seed}"
    output = output or results / "detection" / row / f"seed{seed}"
    train_detector(row, settings, preset.stem, seed, threads, backbone, output, save_minutes, restart, accept_changes)


@detection.command("evaluate")
def evaluate_detector(
    folder: Annotated[Path, typer.Argument(help="A folder that `paradise detection train` wrote.")],
    threads: Threads = 1,
    gpus: Gpus = None,
):
    """Evaluate the trained and the fused form of a detector: evaluation.json, metrics.json."""
    _require_mmdetection()
    _reserve(gpus)
    from paradise.detection.evaluate import evaluate_detector

    evaluate_detector(folder, threads, gpus)


@detection.command("profile")
def profile_detectors(output: Output, preset: Preset = DIGITS):
    """Count and time the preset's detectors, trained and fused."""
    settings = presets.load(preset)
    _detection(settings, preset)
    _require_mmdetection()
    from paradise.detection.profile import profile_detectors

    profile_detectors(settings, output)


def _detection(settings: dict, preset: Path) -> dict:
    if "detection" not in settings:
        raise UserError(f"{preset} has no section 'detection'; config/digits.yaml shows one")
    return settings["detection"]


def _reserve(gpus: int | None, processes: int = 1) -> None:
    from paradise.device import reserve

    reserve(gpus, processes)


def _require_mmdetection() -> None:
    from paradise.detection import require_mmdetection

    require_mmdetection()


def _check_models(models: list[str]) -> None:
    from paradise.names import split_model

    for model in models:
        split_model(model)


def main() -> None:
    first = os.environ.get("RANK", "0") == "0"
    try:
        app()
    except UserError as error:
        if not first:
            # Where all processes of a run fail alike, torchrun ends the others before they repeat the first's words.
            time.sleep(2)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as ending:
        if first:
            print(ending, file=sys.stderr)
        sys.exit(INTERRUPTED)
