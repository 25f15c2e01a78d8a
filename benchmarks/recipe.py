"""Chooses a study's recipe by training images that are held out of training, never by the test images.

    python benchmarks/recipe.py [--preset config/fashion-mnist.yaml] [--hold-out 5000] [--tries learning_rate=0.1 …]

Trains each of `--rows` once with each of `--tries`: the preset, with these keys of its sections `training` and `data`
changed (`epochs=4,per_class=225`). All rows of a study share a recipe, so each gets the same tries. What has been
trained is kept in `results/<preset>-recipe/`, and not trained again.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from common import write

from paradise.errors import Interrupted, UserError
from paradise.study.data.prepare import prepare
from paradise.study.preset import Preset, Recipe
from paradise.study.records import Trained, read_record
from paradise.study.rows import Row, Run
from paradise.study.steps.train import STEP
from paradise.study.training.loop import train

RATES = ["learning_rate=0.05", "learning_rate=0.1", "learning_rate=0.2", "learning_rate=0.4"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", type=Path, default=Path("config/fashion-mnist.yaml"))
    parser.add_argument("--hold-out", type=int, default=5000)
    parser.add_argument("--tries", nargs="+", default=RATES)
    parser.add_argument("--rows", nargs="+", default=["resnet18", "resnet50", "pd_b_resnet18"])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    published = Preset.load(arguments.preset)
    lines, prepared = [], {}
    for changes in arguments.tries:
        study = _change(published, changes, arguments.hold_out)
        folder = study.data.folder
        if folder not in prepared:  # which tries of as many images share
            prepared[folder] = prepare(study.data, study.name, arguments.threads)
        images = f"{prepared[folder]['train']:,}"
        line = {"try": changes.replace(",", ", "), "images": images, "epochs": study.training.epochs}
        for row in map(Row.parse, arguments.rows):
            line[str(row)] = _train(study, row, changes, arguments.threads)
        lines.append(line)
    note = (
        f"Top-1 % after the last epoch, of {arguments.hold_out:,} images of the training set that were not trained on; "
        "seed 0. The test images are not looked at. What a try does not name is as the preset has it."
    )
    write(f"recipe-{arguments.preset.stem}", f"Recipes for {arguments.preset.stem}", lines, [note])


def _change(published: Preset, changes: str, hold_out: int) -> Preset:
    """The preset of a try."""
    name, values = f"{published.name}-recipe", published.values()
    values["data"]["hold_out"] = hold_out
    for key, value in (change.split("=", 1) for change in changes.split(",")):
        section: dict[str, Any] = values["training" if key in Recipe.model_fields else "data"]
        section[key] = yaml.safe_load(value)
    values["data"]["folder"] = f"data/{name}-{values['data'].get('per_class', 'all')}"
    return Preset.of(values, Path(f"{name}.yaml"))


def _train(study: Preset, row: Row, changes: str, threads: int) -> str:
    """The accuracy of a row by the recipe of a try, in %."""
    folder = study.results / row.place / changes
    record = read_record(folder / "run.json", Trained)
    if record is None or record.settings != STEP.job(study, row=row.id, seed="0").settings:
        train(Run(row, 0), study, threads, folder)
    return f"{pd.read_csv(folder / 'log.csv')['val_top1'].iloc[-1]:.2f}"


if __name__ == "__main__":
    try:
        main()
    except (Interrupted, UserError) as error:
        raise SystemExit(f"error: {error}") from None
