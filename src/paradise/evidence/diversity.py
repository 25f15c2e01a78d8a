"""Diversity: how alike the branches of trained networks are, and what their gates do.

Kernels are compared as the dense 3×3 ones that fusion makes of them, by the cosine of the angle between them; outputs,
on validation images, by their correlation over images, channels (each about its own mean) and positions.
"""

from functools import partial

import torch
from torch import Tensor, nn

from paradise.evidence.networks import FOUR_BRANCHES, Networks, blocks, branch_kernels, some
from paradise.fusion import fuse
from paradise.kernels import conv_of, embed
from paradise.structure import replace, slots

IMAGES = 200  # for the outputs
GATE_IMAGES = 5_000  # of the training set, for the mean that a gate is frozen at
EDGES = torch.linspace(-4, 4, 33).tolist()  # of histograms, in root mean squares of the layer's kernels


def make(networks: Networks) -> dict:
    """For each network with four branches: by layer, the branches' likeness; and for PD-B, its gates."""
    rows = [row for row in FOUR_BRANCHES if row in networks.rows]
    return {"edges": EDGES, "classes": networks.classes(), "rows": {row: _row(networks, row) for row in rows}}


@torch.no_grad()
def _row(networks: Networks, row: str) -> dict:
    model = networks.trained(row)
    within = blocks(model)
    outputs = _output_products(networks, model, within)
    record = {
        "branches": list(next(iter(within.values())).branch_names),
        "layers": {
            name: _kernels(block) | {"output_similarity": _normalised(outputs[name])} for name, block in within.items()
        },
    }
    return record | ({"gate": _gates(networks, model)} if "pd_b" in row else {})


def _kernels(block: nn.Module) -> dict:
    kernels = [kernel.cpu() for kernel in branch_kernels(block)]
    flat = torch.stack([kernel.flatten() for kernel in kernels])
    scale = flat.square().mean().sqrt()
    histograms = []
    for i, kernel in enumerate(kernels):
        values = kernel[_places(block, i).cpu()] / scale
        counts = torch.histogram(values, torch.tensor(EDGES, dtype=values.dtype))[0]
        histograms.append(_rounded(counts / len(values)))
    return {
        "kernel_similarity": _normalised(flat @ flat.T),
        "kernel_norms": _rounded(flat.norm(dim=1)),
        "histograms": histograms,
    }


def _places(block: nn.Module, branch: int) -> Tensor:
    """Where in the dense kernel a branch has weights at all."""
    parts = [part for part, owner in zip(block.parts(), block.owners()) if owner == branch]
    return sum(embed(torch.ones_like(part.conv.weight), part.conv.groups) for part in parts) > 0


def _output_products(networks: Networks, model: nn.Module, within: dict) -> dict[str, Tensor]:
    """For each block the inner products [n, n] of its branches' centred outputs."""
    products = {name: 0.0 for name in within}

    def look(name: str, block: nn.Module, inputs: tuple) -> None:
        outputs = torch.stack([branch(*inputs) for branch in block.branches()])
        outputs = (outputs - outputs.mean((1, 3, 4), keepdim=True)).flatten(1).double()
        products[name] = products[name] + outputs @ outputs.T

    hooks = [block.register_forward_pre_hook(partial(look, name)) for name, block in within.items()]
    for x, _ in networks.images(some(networks.manifest.val, IMAGES)):
        model(x)
    for hook in hooks:
        hook.remove()
    return products


def _normalised(products: Tensor) -> list[list[float]]:
    """Cosines from inner products."""
    norms = products.diagonal().sqrt()
    return _rounded(products / norms.outer(norms))


def _rounded(values: Tensor) -> list:
    """As many places as mean anything here: a record of fifty layers has many."""
    return (values.double() * 1e4).round().div(1e4).tolist()


def _gates(networks: Networks, model: nn.Module) -> dict:
    """The gates' weights over the validation set, and accuracy with each frozen at its mean over training images."""
    held_out = _gate_weights(networks, model, None)
    frozen_at = {
        name: weights.mean(0)
        for name, weights in _gate_weights(networks, model, some(networks.manifest.train, GATE_IMAGES)).items()
    }
    labels = torch.tensor(networks.manifest.val.labels)
    hits, frozen = networks.hits(fuse(model)), networks.hits(freeze(model, frozen_at))
    return {
        "layers": {
            name: {
                "mean": _rounded(weights.mean(0)),
                "std": _rounded(weights.std(0)),
                "by_class": [
                    _rounded(weights[labels == label].mean(0)) for label in range(networks.manifest.num_classes)
                ],
                "frozen_at": _rounded(frozen_at[name]),
            }
            for name, weights in held_out.items()
        },
        "accuracy": 100 * float(hits.double().mean()),
        "accuracy_frozen": 100 * float(frozen.double().mean()),
        "right_only_with_gate": int((hits & ~frozen).sum()),
        "right_only_frozen": int((frozen & ~hits).sum()),
        "images": len(hits),
    }


def _gate_weights(networks: Networks, model: nn.Module, split) -> dict[str, Tensor]:
    """Each block's weights [N, n] for the images of `split`, the validation set by default."""
    seen = {name: [] for name in blocks(model)}
    hooks = [
        block.gate.register_forward_hook(lambda gate, inputs, weights, name=name: seen[name].append(weights.cpu()))
        for name, block in blocks(model).items()
    ]
    for x, _ in networks.images(split):
        model(x)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(weights).double() for name, weights in seen.items()}


def freeze(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """The fused `model` with each gate frozen at its `weights` [n]: static convolutions, as a fused PD-A has."""
    fused = fuse(model)
    for name, weight in weights.items():
        block = fused.get_submodule(name)
        weight = weight.to(block.biases)
        static = conv_of(block.kernel(weight), weight @ block.biases, block.standards)
        replace(slots(fused)[block], static.to(memory_format=torch.channels_last))
    return fused
