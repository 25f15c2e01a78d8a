"""Parameters and operations of the paper's networks: 1000 classes, one 3×224×224 image.

The paper counts the *plain network*: every ParaDise block as one 3×3 convolution and its BatchNorm (and PD-B's gate),
nothing folded. Its operations are the multiply-accumulates of convolutions (plus their biases) and Linear layers
(without), 2 per element of a BatchNorm, 1 per output of a ReLU module and 1 per input of a pooling module. What is no
module counts nothing: additions, sigmoids, up-sampling, the ReLUs inside GE, the mean and softmax of PD-B's gate.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from paradise.block import PDABlock, PDBBlock
from paradise.dynamic import DynamicConv2d
from paradise.fusion import fuse
from paradise.resnet import plain_conv3x3
from paradise.study.provenance import begin_record
from paradise.study.records import Complexity, write_record
from paradise.study.rows import Row
from paradise.study.steps.complexity import entries

IMAGE_SIZE = 224
CLASSES = 1000


class PlainBlock(nn.Module):
    """A ParaDise block as the paper counts it: one convolution, one BatchNorm, and PD-B's gate."""

    def __init__(self, block: PDABlock):
        super().__init__()
        self.conv, self.bn = plain_conv3x3(block.in_channels, block.out_channels, block.stride)
        self.gate = block.gate if isinstance(block, PDBBlock) else None

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is not None:
            self.gate(x)
        y: Tensor = self.bn(self.conv(x))
        return y


def plain_network(model: nn.Module) -> nn.Module:
    """`model`, changed in place to what the paper counts."""
    for name, module in list(model.named_modules()):
        if isinstance(module, PDABlock):
            model.set_submodule(name, PlainBlock(module))
    return model


def operations(module: nn.Module, x: Tensor, y: Tensor) -> tuple[int, int]:
    """Multiply-accumulates, and all operations as the paper counts, of one module that made `y` from `x`, batch 1."""
    match module:
        case nn.Conv2d():
            macs = y.numel() * module.weight[0].numel()
            return macs, macs + (0 if module.bias is None else y.numel())
        case DynamicConv2d():
            # The one convolution with the kernel that was mixed, and mixing it.
            kernels = [conv.weight for conv in (module.standards, *module.others)]
            mixed = sum(kernel.numel() for kernel in kernels) + module.biases.numel()
            macs = y.numel() * module.standards.weight[0].numel() + mixed
            return macs, macs + y.numel()
        case nn.Linear():
            return module.weight.numel(), module.weight.numel()
        case nn.BatchNorm2d():
            return 0, 2 * x.numel()
        case nn.ReLU():
            return 0, y.numel()
        case nn.MaxPool2d() | nn.AdaptiveAvgPool2d():
            return 0, x.numel()
    return 0, 0


@torch.no_grad()
def count(model: nn.Module, forward: Callable[[nn.Module], object]) -> tuple[int, int]:
    """The sums of `operations` over every module that runs in `forward(model)`, a pass of one image in eval mode."""
    counted: list[tuple[int, int]] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, y: counted.append(operations(module, inputs[0], y)))
        for module in model.modules()
    ]
    forward(model.eval())
    for hook in hooks:
        hook.remove()
    return sum(macs for macs, _ in counted), sum(all_operations for _, all_operations in counted)


def profile(row: Row) -> dict[str, int]:
    """What the paper counts of a model, and what its fused form stores.

    Returns:
        `params`, `flops` and `macs` by the paper's convention, and `deploy_params`.
    """
    model = row.build(CLASSES)
    stored = sum(parameter.numel() for parameter in fuse(model).parameters())
    network = plain_network(model)
    macs, flops = count(network, lambda model: model(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE)))
    params = sum(parameter.numel() for parameter in network.parameters())
    return {"params": params, "flops": flops, "macs": macs, "deploy_params": stored}


def write_complexity(models: list[Row], preset: str, output: Path) -> None:
    """The `profile` of each model, as a record of the study `preset`, into `output`."""
    settings = {"models": [row.id for row in models]}
    record = begin_record("complexity", preset, {}, settings, {}, entries(models))
    write_record(output, Complexity, record | {"outputs": {}, "rows": {row.id: profile(row) for row in models}})
