"""Over-parameterisation: two-layer perceptrons with plain, summed or gated parallel layers, fused to one size.

A layer is a linear map without bias and a BatchNorm, as the block's branches are; `PARALLEL` of them are summed, or
gated by a softmax on the layer's input. "wide" is the control: a plain perceptron with as many parameters as the summed
one has in training, all of which it keeps. Inputs are the images in grey at `SIDE`×`SIDE`.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paradise.study.data.manifest import Split
from paradise.study.evidence.networks import Networks, evenly_chosen

PERCEPTRONS = ("plain", "summed", "gated", "wide")
PARALLEL, HIDDEN, SIDE = 4, 64, 16
EPOCHS, BATCH, RATE = 15, 32, 0.02
LIMIT = 10_000  # images of each split
Examples = tuple[Tensor, Tensor]  # images [N, SIDE²] and labels [N]


class Parallel(nn.Module):
    """x [B, inputs] → [B, outputs]: `branches` linear maps with a BatchNorm each, summed or gated."""

    def __init__(self, inputs: int, outputs: int, branches: int, gated: bool):
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(inputs, outputs, bias=False) for _ in range(branches))
        self.norms = nn.ModuleList(nn.BatchNorm1d(outputs) for _ in range(branches))
        hidden = max(inputs // 16, 1)
        self.gate = (
            nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, branches), nn.Softmax(1))
            if gated
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        outputs = torch.stack([norm(linear(x)) for linear, norm in zip(self.linears, self.norms)], 1)
        if self.gate is None:
            return outputs.sum(1)
        weights: Tensor = self.gate(x)
        return (weights[:, :, None] * outputs).sum(1)

    @torch.no_grad()
    def fuse(self) -> nn.Module:
        """One linear map with a bias; a gated one mixes its maps for each input."""
        folded = [_fold(linear, norm) for linear, norm in zip(self.linears, self.norms)]
        weights, biases = (torch.stack(of_all) for of_all in zip(*folded))
        if self.gate is not None:
            return Mixed(weights, biases, self.gate)
        fused = nn.Linear(weights.shape[2], weights.shape[1], device=weights.device, dtype=weights.dtype)
        fused.weight.copy_(weights.sum(0))
        fused.bias.copy_(biases.sum(0))
        return fused


class Mixed(nn.Module):
    """A linear map whose weights [n, outputs, inputs] and biases [n, outputs] the gate mixes for each input."""

    def __init__(self, weights: Tensor, biases: Tensor, gate: nn.Module):
        super().__init__()
        self.weights, self.biases, self.gate = nn.Parameter(weights), nn.Parameter(biases), gate

    def forward(self, x: Tensor) -> Tensor:
        shares: Tensor = self.gate(x)
        mixed = torch.einsum("bn,noi->boi", shares, self.weights)
        return torch.einsum("boi,bi->bo", mixed, x) + shares @ self.biases


def measure(networks: Networks) -> dict[str, Any]:
    """Trains every perceptron with every seed: accuracy after each epoch, and of the fused form at the end."""
    train, val = (_read(networks, split) for split in (networks.manifest.train, networks.manifest.val))
    inputs, classes = train[0].shape[1], networks.manifest.num_classes
    kinds = {}
    for kind in PERCEPTRONS:
        runs = {}
        for seed in networks.preset.evidence_seeds:
            torch.manual_seed(seed)
            model = create_perceptron(kind, inputs, classes).to(networks.device)
            curve = _train(model, train, val, seed)
            fused = fuse_perceptron(model)
            runs[str(seed)] = {
                "accuracy": curve,
                "fused_accuracy": _accuracy(fused, val),
                "difference": _difference(model, fused, val[0]),
            }
        kinds[kind] = {"runs": runs, "params_training": count_params(model), "params_fused": count_params(fused)}
    return {"kinds": kinds, "hidden": HIDDEN, "branches": PARALLEL, "inputs": inputs, "images": len(val[1])}


def create_perceptron(kind: str, inputs: int, classes: int) -> nn.Sequential:
    """One of `PERCEPTRONS`, with fresh weights."""
    branches, hidden = (1 if kind in ("plain", "wide") else PARALLEL), HIDDEN
    if kind == "wide":
        target = count_params(create_perceptron("summed", inputs, classes))
        plain = count_params(create_perceptron("plain", inputs, classes))
        hidden = round(HIDDEN * target / plain)
    layers = [Parallel(inputs, hidden, branches, kind == "gated"), nn.ReLU()]
    return nn.Sequential(*layers, Parallel(hidden, classes, branches, kind == "gated"))


def fuse_perceptron(model: nn.Sequential) -> nn.Sequential:
    """A new perceptron that computes what `model.eval()` computes."""
    first, relu, second = copy.deepcopy(model).eval()
    assert isinstance(first, Parallel) and isinstance(second, Parallel)
    return nn.Sequential(first.fuse(), relu, second.fuse())


def count_params(model: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def _fold(linear: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear map and then its BatchNorm in eval mode."""
    assert isinstance(linear, nn.Linear) and isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return linear.weight * scale[:, None], norm.bias - norm.running_mean * scale


def _train(model: nn.Module, train: Examples, val: Examples, seed: int) -> list[float]:
    """Stochastic gradient descent with momentum along a cosine; the accuracy in % after each epoch."""
    images, labels = train
    steps = len(labels) // BATCH
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * steps)
    generator, curve = torch.Generator().manual_seed(seed), []
    for _ in range(EPOCHS):
        model.train()
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        for chosen in torch.split(order, BATCH)[:steps]:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[chosen]), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no types
            optimizer.step()
            schedule.step()
        curve.append(_accuracy(model.eval(), val))
    return curve


@torch.no_grad()
def _accuracy(model: nn.Module, examples: Examples) -> float:
    images, labels = examples
    return 100 * float((model(images).argmax(1) == labels).double().mean())


@torch.no_grad()
def _difference(model: nn.Module, fused: nn.Module, images: Tensor) -> float:
    """The largest difference of their outputs, as a part of the largest output."""
    expected = model(images)
    return float((expected - fused(images)).abs().max() / expected.abs().max())


def _read(networks: Networks, split: Split) -> Examples:
    batches = [
        (F.adaptive_avg_pool2d(x.mean(1, keepdim=True), SIDE).flatten(1), y)
        for x, y in networks.images(evenly_chosen(split, LIMIT))
    ]
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
