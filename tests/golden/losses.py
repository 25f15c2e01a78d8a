"""The losses of three rows' first training steps, to the last bit: what a change of the code must not move.

`python tests/golden/losses.py --record NAME` adds tests/golden/NAME.json: where there is another processor or another
PyTorch, or where config/digits.yaml changed. Without it the same is printed. `ATEN_CPU_CAPABILITY=avx2
ONEDNN_MAX_CPU_ISA=AVX2` hold a processor to AVX2.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import torch
import yaml

from paradise.study.data.prepare import prepare
from paradise.study.preset import Preset
from paradise.study.rows import Row, Run
from paradise.study.training.loop import Training
from paradise.study.training.processes import joined

FOLDER = Path(__file__).parent
PRESET = Path("config/digits.yaml")
ROWS = ("resnet18", "pd_a_resnet18", "pd_b_resnet50")
STEPS = 20


def measure() -> dict:
    """What computes, and the losses of each row's steps as hexadecimal numbers."""
    with tempfile.TemporaryDirectory() as folder:
        values = yaml.safe_load(PRESET.read_text())
        values["data"]["folder"] = f"{folder}/images"
        preset = Preset.of(values, PRESET)
        prepare(preset.data, preset.name)
        losses = {row: first_losses(Run(Row.parse(row)), preset, Path(folder, row)) for row in ROWS}
    return {
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "processor": processor(),
        "losses": losses,
    }


def first_losses(run: Run, preset: Preset, output: Path) -> list[str]:
    """The losses of the run's first steps, in one thread of the processor."""
    losses = []
    with joined(0) as processes:
        training = Training(run, preset, 1, output, processes)
        training.resume()
        training.model.train()
        for _ in range(STEPS):
            training.train_step()
            losses.append(training.unseen[-1].item().hex())
    return losses


def processor() -> dict[str, str]:
    """The processor's vendor, family and model, by which libraries choose how they compute."""
    lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {key: said[name] for key, name in (("vendor", "vendor_id"), ("family", "cpu family"), ("model", "model"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", metavar="NAME", help="write tests/golden/NAME.json")
    name = parser.parse_args().record
    os.chdir(FOLDER.parent.parent)
    text = json.dumps(measure(), indent=2)
    if name is None:
        print(text)
    else:
        (FOLDER / f"{name}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    main()
