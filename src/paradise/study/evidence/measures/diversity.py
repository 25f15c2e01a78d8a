"""Diversity: how alike the branches of trained networks are, and what their gates do.

Kernels are compared as the dense 3×3 ones that fusion makes of them, by the cosine of the angle between them; outputs,
on validation images, by their correlation over images, channels (each about its own mean) and positions.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from paradise.block import PDABlock, PDBBlock
from paradise.dynamic import DynamicConv2d
from paradise.fusion import fuse
from paradise.kernels import conv_of, embed, total
from paradise.structure import replace, slots
from paradise.study.data.manifest import Split
from paradise.study.evidence.networks import Networks, blocks, branch_kernels, evenly_chosen
from paradise.study.evidence.rows import rows_with_all_branches

IMAGES = 200  # for the outputs
GATE_IMAGES = 5_000  # of the training set, for the mean that a gate is frozen at
EDGES = torch.linspace(-4, 4, 33).tolist()  # of histograms, in root mean squares of the layer's kernels


def measure(networks: Networks) -> dict[str, Any]:
    """For each network with all branches: by layer, the branches' likeness; and for PD-B, its gates."""
    rows = rows_with_all_branches(networks.preset)
    measured = {row.id: _measure_network(networks, networks.trained(row)) for row in rows}
    return {"edges": EDGES, "classes": networks.classes(), "rows": measured}


@torch.no_grad()
def _measure_network(networks: Networks, model: nn.Module) -> dict[str, Any]:
    within = blocks(model)
    outputs = output_products(networks, model, within)
    first = next(iter(within.values()))
    record: dict[str, Any] = {
        "branches": list(first.branch_names),
        "layers": {
            name: compare_kernels(block) | {"output_similarity": cosines(outputs[name])}
            for name, block in within.items()
        },
    }
    return record | ({"gate": _measure_gates(networks, model)} if isinstance(first, PDBBlock) else {})


def compare_kernels(block: PDABlock) -> dict[str, Any]:
    """The cosines between a block's branches' kernels, their norms, and histograms of their entries."""
    kernels = [kernel.cpu() for kernel in branch_kernels(block)]
    flat = torch.stack([kernel.flatten() for kernel in kernels])
    scale = flat.square().mean().sqrt()
    histograms = []
    for kernel, branch in zip(kernels, block.branches()):
        ones = total(embed(torch.ones_like(part.conv.weight), part.conv.groups) for part in branch.parts())
        entries = kernel[ones.cpu() > 0] / scale
        counts = torch.histogram(entries, torch.tensor(EDGES, dtype=entries.dtype))[0]
        histograms.append(_rounded(counts / len(entries)))
    return {
        "kernel_similarity": cosines(flat @ flat.T),
        "kernel_norms": _rounded(flat.norm(dim=1)),
        "histograms": histograms,
    }


def output_products(networks: Networks, model: nn.Module, within: dict[str, PDABlock]) -> dict[str, Tensor]:
    """For each block the inner products [n, n] of its branches' centred outputs on validation images."""
    products: dict[str, Tensor] = {}

    def add_products(name: str, block: PDABlock, inputs: tuple[Tensor]) -> None:
        outputs = torch.stack([branch(*inputs) for branch in block.branches()])
        outputs = (outputs - outputs.mean((1, 3, 4), keepdim=True)).flatten(1).double()
        product = outputs @ outputs.T
        products[name] = products[name] + product if name in products else product

    hooks = [block.register_forward_pre_hook(partial(add_products, name)) for name, block in within.items()]
    for x, _ in networks.images(evenly_chosen(networks.manifest.val, IMAGES)):
        model(x)
    for hook in hooks:
        hook.remove()
    return products


def cosines(products: Tensor) -> list[list[float]]:
    """Cosines from inner products [n, n]."""
    norms = products.diagonal().sqrt()
    return _rounded(products / norms.outer(norms))


def _rounded(values: Tensor) -> list[Any]:
    """As many places as mean anything here: a record of fifty layers has many."""
    rounded: list[Any] = (values.double() * 1e4).round().div(1e4).tolist()
    return rounded


def _measure_gates(networks: Networks, model: nn.Module) -> dict[str, Any]:
    """The gates' weights over the validation set, and accuracy with each frozen at its mean over training images."""
    images = evenly_chosen(networks.manifest.train, GATE_IMAGES)
    held_out = _gate_weights(networks, model)
    frozen_at = {name: weights.mean(0) for name, weights in _gate_weights(networks, model, images).items()}
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


def _gate_weights(networks: Networks, model: nn.Module, split: Split | None = None) -> dict[str, Tensor]:
    """Each gate's weights [N, n] for the images of `split`, the validation set by default."""
    batches: dict[str, list[Tensor]] = {name: [] for name in blocks(model)}

    def keep(name: str, gate: nn.Module, inputs: tuple[Tensor], weights: Tensor) -> None:
        batches[name].append(weights.cpu())

    hooks = [
        block.gate.register_forward_hook(partial(keep, name))
        for name, block in blocks(model).items()
        if isinstance(block, PDBBlock)
    ]
    for x, _ in networks.images(split):
        model(x)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(weights).double() for name, weights in batches.items()}


def freeze(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """The fused `model` with each gate frozen at its `weights` [n]: static convolutions, as a fused PD-A has."""
    fused = fuse(model)
    for name, weight in weights.items():
        block = fused.get_submodule(name)
        assert isinstance(block, DynamicConv2d)
        weight = weight.to(block.biases)
        static = conv_of(block.kernel(weight), weight @ block.biases, block.standards)
        static.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types leave it out
        replace(slots(fused)[block], static)
    return fused
