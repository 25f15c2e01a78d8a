"""The command line: one thin command per step of the pipeline."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from paradise import preset as presets
from paradise.errors import UserError

app = typer.Typer(
    help="Reproduce the ParaDise paper, step by step; `snakemake` runs all steps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Table = StrEnum("Table", ["imagenet", "ablation"])
Preset = Annotated[Path, typer.Option(help="The study's YAML file.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads.")]
Folder = Annotated[Path, typer.Argument(help="A folder that `paradise train` wrote.")]
DIGITS = Path("config/digits.yaml")


@app.command()
def prepare(preset: Preset = DIGITS):
    """Write the preset's data set as image folders and a manifest."""
    from paradise.data.prepare import prepare

    data = presets.load(preset)["data"]
    counts = prepare(data)
    listed = ", ".join(f"{count} {split} images" for split, count in counts.items())
    print(f"{data['folder']}: {listed}", file=sys.stderr)


@app.command()
def train(
    row: Annotated[str, typer.Argument(help="A row, such as pd_b_resnet18 or pd_b_resnet18-standard1-skeleton.")],
    preset: Preset = DIGITS,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    threads: Threads = 1,
    output: Annotated[Path | None, typer.Option(help="Folder; results/PRESET/ROW/seedSEED by default.")] = None,
):
    """Train one row: weights.safetensors, log.csv, run.json."""
    settings = presets.load(preset)
    presets.parse_row(row)
    from paradise.training.loop import train

    train(row, settings, preset.stem, seed, threads, output or Path("results", preset.stem, row, f"seed{seed}"))


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
def evaluate(folder: Folder, threads: Threads = 1):
    """Evaluate the trained and the fused form in a folder: evaluation.json, metrics.json, predictions.csv."""
    from paradise.evaluate import evaluate

    evaluate(folder, threads)


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
    which: Annotated[list[Table] | None, typer.Argument(help="Both by default.")] = None,
    preset: Preset = DIGITS,
):
    """Write the tables of a preset from what has been measured so far."""
    from paradise.tables import write_tables

    write_tables(which or list(Table), presets.load(preset), preset.stem, Path("results", preset.stem))


@app.command()
def pull():
    """Fetch the study that dvc.yaml describes, and let Snakemake know what of it is done."""
    from paradise.share import pull

    pull()


@app.command()
def push():
    """Record in dvc.lock what Snakemake made of the study in dvc.yaml, and share it."""
    from paradise.share import push

    push()


def _check_models(models: list[str]) -> None:
    from paradise.names import split_model

    for model in models:
        split_model(model)


def main() -> None:
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
