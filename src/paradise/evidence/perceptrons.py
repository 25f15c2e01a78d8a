"""Over-parameterisation: two-layer perceptrons with plain, summed or gated parallel layers, fused to one size.

A layer is a linear map without bias and a BatchNorm, as the block's branches are; `BRANCHES` of them in parallel are
summed, or gated by a softmax on the layer's input. "wide" is the control: a plain perceptron with as many parameters as
the summed one has in training, all of which it keeps. Inputs are the images in grey at `SIDE`×`SIDE`.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paradise.evidence import seeds
from paradise.evidence.networks import Networks, some

BRANCHES, HIDDEN, SIDE = 4, 64, 16
EPOCHS, BATCH, RATE = 15, 32, 0.02
LIMIT = 10_000  # images of each split
KINDS = ("plain", "summed", "gated", "wide")


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
        return outputs.sum(1) if self.gate is None else (self.gate(x)[:, :, None] * outputs).sum(1)

    @torch.no_grad()
    def fuse(self) -> nn.Module:
        """One linear map with a bias; a gated one mixes its maps for each input."""
        scales = [norm.weight / (norm.running_var + norm.eps).sqrt() for norm in self.norms]
        weights = torch.stack([linear.weight * scale[:, None] for linear, scale in zip(self.linears, scales)])
        biases = torch.stack([norm.bias - norm.running_mean * scale for norm, scale in zip(self.norms, scales)])
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
        shares = self.gate(x)
        mixed = torch.einsum("bn,noi->boi", shares, self.weights)
        return torch.einsum("boi,bi->bo", mixed, x) + shares @ self.biases


def make(networks: Networks) -> dict:
    """Trains every kind with every seed: accuracy after each epoch, and of the fused form at the end."""
    train, val = (_read(networks, split) for split in (networks.manifest.train, networks.manifest.val))
    inputs, classes = train[0].shape[1], networks.manifest.num_classes
    kinds = {}
    for kind in KINDS:
        runs = {}
        for seed in seeds(networks.preset):
            torch.manual_seed(seed)
            model = _perceptron(kind, inputs, classes).to(networks.device)
            curve = _train(model, train, val, seed)
            fused = _fused(model)
            runs[str(seed)] = {
                "accuracy": curve,
                "fused_accuracy": _accuracy(fused, val),
                "difference": _difference(model, fused, val[0]),
            }
        kinds[kind] = {"runs": runs, "params_training": _count(model), "params_fused": _count(fused)}
    return {"kinds": kinds, "hidden": HIDDEN, "branches": BRANCHES, "inputs": inputs, "images": len(val[1])}


def _perceptron(kind: str, inputs: int, classes: int) -> nn.Sequential:
    branches, hidden = (1 if kind in ("plain", "wide") else BRANCHES), HIDDEN
    if kind == "wide":
        target = _count(_perceptron("summed", inputs, classes))
        plain = _count(_perceptron("plain", inputs, classes))
        hidden = round(HIDDEN * target / plain)
    layers = [Parallel(inputs, hidden, branches, kind == "gated"), nn.ReLU()]
    return nn.Sequential(*layers, Parallel(hidden, classes, branches, kind == "gated"))


def _fused(model: nn.Sequential) -> nn.Sequential:
    fused = copy.deepcopy(model).eval()
    return nn.Sequential(fused[0].fuse(), fused[1], fused[2].fuse())


def _train(model: nn.Module, train: tuple, val: tuple, seed: int) -> list[float]:
    """Stochastic gradient descent with momentum along a cosine; the accuracy in % after each epoch."""
    images, labels = train
    steps = len(labels) // BATCH
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * steps)
    generator, curve = torch.Generator().manual_seed(seed), []
    for _ in range(EPOCHS):
        model.train()
        for chosen in torch.randperm(len(labels), generator=generator).to(labels.device).split(BATCH)[:steps]:
            optimizer.zero_grad()
            F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
        curve.append(_accuracy(model.eval(), val))
    return curve


@torch.no_grad()
def _accuracy(model: nn.Module, data: tuple) -> float:
    images, labels = data
    return 100 * float((model(images).argmax(1) == labels).double().mean())


@torch.no_grad()
def _difference(model: nn.Module, fused: nn.Module, images: Tensor) -> float:
    """The largest difference of their outputs, as a part of the largest output."""
    expected = model(images)
    return float((expected - fused(images)).abs().max() / expected.abs().max())


def _read(networks: Networks, split) -> tuple[Tensor, Tensor]:
    """Images [N, SIDE²] and labels [N]."""
    batches = [
        (F.adaptive_avg_pool2d(x.mean(1, keepdim=True), SIDE).flatten(1), y)
        for x, y in networks.images(some(split, LIMIT))
    ]
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
