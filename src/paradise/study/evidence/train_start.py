"""Lottery ticket: a plain ResNet18 trained from kernels that a trained PD-A's branches hold, and from random ones.

Only the 3×3 kernels inside the residual blocks differ between the starts, but for "random", where all weights are
fresh; the stem, the shortcuts and the classifier are the trained network's. Every BatchNorm is reset. The kernels are
the branches' with their BatchNorms folded in, which makes their sizes comparable.
"""

import torch
from torch import Tensor, nn

from paradise.study.evidence.networks import blocks, branch_kernels
from paradise.study.evidence.rows import first_run
from paradise.study.evidence.starts import SOURCE
from paradise.study.preset import Preset
from paradise.study.rows import Run
from paradise.study.runs import read_run, trained_model
from paradise.study.steps.train_start import STEP
from paradise.study.training.loop import Training, train


def train_start(
    start: str,
    preset: Preset,
    seed: int,
    threads: int,
    gpus: int | None = None,
    restart: bool = False,
    accept_changes: bool = False,
) -> None:
    """Trains from `start` by the recipe of the plain network, as any row is trained.

    Writes `weights.safetensors`, `log.csv` and `run.json` into the folder of start and seed, and goes on from a state
    there.

    Args:
        start: One of `STARTS`.
        preset: The study.
        seed: Of the order and the crops of the images, and of fresh weights.
        threads: Processor threads.
        gpus: How many may be used; see `device.pick_device`.
        restart: See `train`.
        accept_changes: See `train`.

    Raises:
        UserError: The source has not been trained.
    """
    job = STEP.job(preset, start=start, seed=str(seed))
    source = first_run(preset, SOURCE).folder(preset.results)

    def begin(training: Training) -> None:
        training.start = start
        training.states.command = "paradise evidence train"
        training.record |= {
            "step": STEP.name,
            "of": dict(job.wildcards),
            "settings": job.settings,
            "inputs": training.record["inputs"] | {"source": read_run(source).outputs["weights.safetensors"]},
            "code": job.code,
        }
        if start != "random":
            set_kernels(training.model, trained_model(source), start)

    run, folder = Run(SOURCE.plain, seed), job.record.parent
    train(run, preset, threads, folder, gpus, restart=restart, accept_changes=accept_changes, begin=begin)


@torch.no_grad()
def set_kernels(model: nn.Module, source: nn.Module, start: str) -> None:
    """Gives the plain `model` the kernels of `start`, and of `source` all other weights that are no BatchNorm's."""
    kernels = {f"{name}.weight": ticket(branch_kernels(block), start) for name, block in blocks(source).items()}
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
