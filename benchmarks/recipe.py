"""Chooses a study's learning rate by training images that are held out of training, never by the test images.

    python benchmarks/recipe.py [--preset config/fashion-mnist.yaml] [--hold-out 5000] [--rates 0.05 0.1 0.2 0.4]

Trains each of `--rows` by the preset's recipe with each rate, and writes how it does on the held-out images. All rows
of a study share a recipe: take the rate that suits the plain networks, so that no other row is favoured. What has been
trained is kept in `results/<preset>-recipe/`, and not trained again.
"""

import argparse
import json
from pathlib import Path

import pandas as pd
from common import write

from paradise.study import preset as presets
from paradise.study.causes import other_settings
from paradise.study.data.prepare import prepare
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
    preset = presets.load(arguments.preset)
    preset["data"] |= {"hold_out": arguments.hold_out, "folder": f"data/{name}"}
    if arguments.per_class:
        preset["data"]["per_class"] = arguments.per_class
    if arguments.epochs:
        preset["training"]["epochs"] = arguments.epochs
    presets.check(preset, arguments.preset)
    counts = prepare(preset["data"], arguments.threads)
    accuracy = {}
    for row in arguments.rows:
        for rate in arguments.rates:
            preset["training"]["learning_rate"] = rate
            folder = Path("results", name, row, f"rate{rate:g}")
            record = folder / "run.json"
            if not record.exists() or other_settings(json.loads(record.read_text()), preset):
                train(row, preset, name, 0, arguments.threads, folder)
            accuracy[row, rate] = pd.read_csv(folder / "log.csv")["val_top1"].iloc[-1]
    lines = [
        {"row": row} | {f"learning rate {rate:g}": f"{accuracy[row, rate]:.2f}" for rate in arguments.rates}
        for row in arguments.rows
    ]
    write(f"recipe-{arguments.preset.stem}", f"Learning rates for {arguments.preset.stem}", lines, [
        f"Top-1 % after the last of {preset['training']['epochs']} epochs on {counts['train']:,} training images, of "
        f"{counts['val']:,} others of the training set; seed 0. The test images are not looked at.",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
