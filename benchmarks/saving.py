"""What it costs to save the state that a run goes on from: `python benchmarks/saving.py [ROW …] [--rounds 7]`."""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from common import interleaved, seconds, spread, write

from paradise.study.data.prepare import prepare
from paradise.study.device import pick_device
from paradise.study.preset import Preset
from paradise.study.rows import Row, Run
from paradise.study.terminal.options import SAVE_MINUTES
from paradise.study.training.loop import Training
from paradise.study.training.processes import Processes

ROWS = ["resnet18", "pd_a_resnet18", "pd_b_resnet18", "resnet50", "pd_a_resnet50", "pd_b_resnet50"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", default=ROWS)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    preset = Preset.load(Path("config/smoke.yaml"))
    prepare(preset.data, preset.name)
    with tempfile.TemporaryDirectory() as folder:
        alone, trainings = Processes(0, 1, pick_device()), {}
        for row in arguments.rows:
            training = Training(Run(Row.parse(row), 0), preset, 1, Path(folder, row), alone)
            training.resume()
            training.train_step()
            trainings[row] = training
        saves = {row: lambda training=training: seconds(training.save) for row, training in trainings.items()}
        values = interleaved(saves, arguments.rounds)
        sizes = {row: training.states.newest().stat().st_size for row, training in trainings.items()}
    lines = [
        {
            "row": row,
            "state MB": f"{sizes[row] / 1e6:.0f}",
            "seconds": spread(values[row], 2),
            "of a run's time %": f"{100 * statistics.median(values[row]) / (60 * SAVE_MINUTES):.3f}",
        }
        for row in arguments.rows
    ]
    write(
        "saving",
        "Saving the state",
        lines,
        [
            f"Median (range) of {arguments.rounds} interleaved rounds, on this machine's disk; a state is saved every "
            f"{SAVE_MINUTES:g} minutes, so the share is the same however long a run is.",
        ],
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
