"""Lottery ticket: a plain ResNet18 trained from kernels that a trained PD-A's branches hold, and from random ones.

Only the 3×3 kernels inside the residual blocks differ between the starts, but for "random", where all weights are
fresh; the stem, the shortcuts and the classifier are the trained network's. Every BatchNorm is reset. The kernels are
the branches' with their BatchNorms folded in, which makes their sizes comparable.
"""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from paradise.causes import code
from paradise.evidence import SOURCE, STARTS, seeds
from paradise.evidence.networks import branch_kernels
from paradise.names import plain_of
from paradise.runs import read_run, trained_model
from paradise.training.loop import Run, train


def train_start(start: str, preset: dict, preset_name: str, seed: int, threads: int, results: Path, gpus: int | None):
    """Trains from `start` (a key of `STARTS`) by the recipe of the plain network, as any row is trained.

    Writes `weights.safetensors`, `log.csv` and `run.json`, which names the start, into the folder of start and seed;
    goes on from a state there. Raises UserError where the source has not been trained.
    """
    source = results / SOURCE / f"seed{preset['seeds'][0]}"

    def begin(run: Run) -> None:
        weights = read_run(source)["files"]["weights.safetensors"]
        run.record |= {"code": code("train_start"), "start": start, "source": weights}
        if start != "random":
            plant(run.model, trained_model(source), start)

    output = results / "evidence" / "lottery" / start / f"seed{seed}"
    train(plain_of(SOURCE), preset, preset_name, seed, threads, output, gpus, begin=begin)


@torch.no_grad()
def plant(model: nn.Module, source: nn.Module, start: str) -> None:
    """Puts the kernels of `start`, and all weights that are no BatchNorm's, from `source` into the plain `model`."""
    kernels = {
        f"{name}.weight": ticket(branch_kernels(block), start)
        for name, block in source.named_modules()
        if hasattr(block, "branch_names")
    }
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    others = source.state_dict()
    for name, parameter in model.named_parameters():
        if name in kernels:
            if start != "rest":
                parameter.copy_(kernels[name])
        elif name.rpartition(".")[0] not in norms:
            parameter.copy_(others[name])


def ticket(kernels: list[Tensor], start: str) -> Tensor:
    """One kernel of the branches' [C_out, C_in, 3, 3]: their element-wise maximum, largest magnitude, or sum."""
    stacked = torch.stack(kernels)
    if start == "maximum":
        return stacked.amax(0)
    if start == "magnitude":
        return stacked.gather(0, stacked.abs().argmax(0, keepdim=True))[0]
    return stacked.sum(0)


def collect(preset: dict, results: Path) -> tuple[dict, dict[str, str]]:
    """The validation accuracy after each epoch, start → seed → accuracies; and the weights' hashes by run."""
    curves, weights = {}, {}
    for start in STARTS:
        curves[start] = {}
        for seed in seeds(preset):
            place = f"evidence/lottery/{start}/seed{seed}"
            run = read_run(results / place)
            weights[place] = run["files"]["weights.safetensors"]
            curves[start][str(seed)] = pd.read_csv(results / place / "log.csv")["val_top1"].tolist()
    return {"curves": curves, "images": run["data"]["val"]}, weights
