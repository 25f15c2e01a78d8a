"""Hours that all rows would take on ImageNet by the published recipe, from measured images a second.

    python benchmarks/projection.py [--devices 8] [--efficiency 0.9]

Reads `results/rows-224.csv` (images that lie on the device) and, for the rows that it has, `results/training.csv`
(JPEGs through DALI): run `rows.py --size 224 --batch 32` and `training.py` with all rows on the same machine before.
"""

import argparse

import pandas as pd
from common import IMAGENET, RESULTS, write

from paradise.study.preset import Preset

TRAIN, VALIDATION = 1_281_167, 50_000


def hours(images_per_second: float, epochs: int, devices: int, efficiency: float) -> float:
    """Of `epochs` over the training images, each with an evaluation, whose images cost a third of a training's."""
    return epochs * (TRAIN + VALIDATION / 3) / (images_per_second * devices * efficiency) / 3600


def projected(speeds: dict[str, pd.Series], preset: Preset, devices: int, efficiency: float) -> list[dict]:
    """A line for each row of `preset`, and their sums; `speeds` are images a second by row, for each way of reading."""
    lines, sums = [], dict.fromkeys(speeds, 0.0)
    for row in preset.classifiers:
        line = {"row": row.id}
        for way, speed in speeds.items():
            if row.id not in speed:
                line |= {f"images/s {way}": "–", f"hours {way}": "–"}
                sums[way] = float("nan")
                continue
            taken = hours(float(speed[row.id]), preset.recipe(row).epochs, devices, efficiency)
            line |= {f"images/s {way}": f"{speed[row.id]:.4g}", f"hours {way}": f"{taken:,.1f}"}
            sums[way] += taken
        lines.append(line)
    total = {"row": "all"}
    for way, taken in sums.items():
        total |= {f"images/s {way}": "", f"hours {way}": "–" if taken != taken else f"{taken:,.0f}"}
    return [*lines, total]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--efficiency", type=float, default=0.9, help="of many devices, as a part of perfect scaling")
    arguments = parser.parse_args()
    memory, dali = (RESULTS / name for name in ("rows-224.csv", "training.csv"))
    if not memory.exists():
        parser.error(f"{memory} is missing; run benchmarks/rows.py --size 224 --batch 32 first")
    speeds = {"from memory": pd.read_csv(memory, index_col="row")["images/s"]}
    if dali.exists():
        through = pd.read_csv(dali)
        speeds["through DALI"] = through[through["torch.compile"] == "no"].set_index("row")["images/s"]
    preset, efficiency = Preset.load(IMAGENET), arguments.efficiency
    write(
        "projection",
        "ImageNet, projected",
        projected(speeds, preset, arguments.devices, efficiency),
        [
            f"**Not measured: computed** from images a second of one device at 224×224 ([rows-224.md](rows-224.md), "
            f"[training.md](training.md)), for {arguments.devices} such devices.",
            f"hours = epochs × ({TRAIN:,} + {VALIDATION:,} ÷ 3) ÷ (images/s × {arguments.devices} × {efficiency:g}) ÷ "
            "3600: the published recipe's epochs, an evaluation after each at a third of a training step's cost, and "
            f"{efficiency:.0%} of perfect scaling, which is an assumption.",
        ],
    )


if __name__ == "__main__":
    main()
