"""Chooses a study's learning rate by training images that are held out of training, never by the test images.

    python benchmarks/recipe.py [--preset config/fashion-mnist.yaml] [--hold-out 5000] [--rates 0.05 0.1 0.2 0.4]

Trains each of `--rows` by the preset's recipe with each rate, and writes how it does on the held-out images. All rows
of a study share a recipe: take the rate that suits the plain networks, so that no other row is favoured. What has been
trained is kept in `results/<preset>-recipe/`, and not trained again.
"""

import argparse
from pathlib import Path

import pandas as pd
from common import write

from paradise.study.data.prepare import prepare
from paradise.study.preset import Preset
from paradise.study.records import Trained, read_record
from paradise.study.rows import Row, Run
from paradise.study.steps.train import STEP
from paradise.study.training.loop import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", type=Path, default=Path("config/fashion-mnist.yaml"))
    parser.add_argument("--hold-out", type=int, default=5000)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.4])
    parser.add_argument("--rows", nargs="+", default=["resnet18", "resnet50", "pd_b_resnet18"])
    parser.add_argument("--epochs", type=int, help="the preset's by default")
    parser.add_argument("--per-class", type=int, help="images of each class; all by default")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    name = f"{arguments.preset.stem}-recipe"
    values = Preset.load(arguments.preset).values()
    values["data"] |= {"hold_out": arguments.hold_out, "folder": f"data/{name}"}
    if arguments.per_class:
        values["data"]["per_class"] = arguments.per_class
    if arguments.epochs:
        values["training"]["epochs"] = arguments.epochs
    study = Preset.of(values, Path(f"{name}.yaml"))
    counts = prepare(study.data, name, arguments.threads)
    lines = []
    for row in map(Row.parse, arguments.rows):
        line = {"row": row.id}
        for rate in arguments.rates:
            values["training"]["learning_rate"] = rate
            study, folder = Preset.of(values, study.path), study.results / row.place / f"rate{rate:g}"
            record = read_record(folder / "run.json", Trained)
            if record is None or record.settings != STEP.job(study, row=row.id, seed="0").settings:
                train(Run(row, 0), study, arguments.threads, folder)
            line[f"learning rate {rate:g}"] = f"{pd.read_csv(folder / 'log.csv')['val_top1'].iloc[-1]:.2f}"
        lines.append(line)
    write(
        f"recipe-{arguments.preset.stem}",
        f"Learning rates for {arguments.preset.stem}",
        lines,
        [
            f"Top-1 % after the last of {study.training.epochs} epochs on {counts['train']:,} training images, of "
            f"{counts['val']:,} others of the training set; seed 0. The test images are not looked at.",
        ],
    )


if __name__ == "__main__":
    main()
