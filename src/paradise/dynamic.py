"""A fused PD-B block: a 3×3 convolution whose kernel and bias are mixed for each image (paper: refinement module)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paradise.calls import NoScript, is_recorded
from paradise.kernels import add_to

# Positions of the output map from which on a kernel for each image is faster on a processor than all branches.
MIN_POSITIONS = 128


class DynamicConv2d(NoScript, nn.Module):
    """K(x) = Σ w_i K_i and b(x) = Σ w_i b_i, with the gate's weights w of each image.

    Two exact forms. `mixed`: a kernel for each image, then one convolution; for one image, and on a processor for as
    many as there are where the maps are large. `separate`: every branch, then the mix of their outputs; for batches
    otherwise, and where operations are recorded, since it serves every batch. Kernels are stored as small as they are.

    The output has the memory format of x, whatever the kernels': operators that read memory as it lies rely on it.

    Args:
        standards: The standard branches' kernels, one below the other: [n_standard · C_out, C_in, 3, 3], no bias.
        others: The skeleton's two and the group's convolution, without biases.
        owners: For each of `others`, which of the gate's weights it has.
        biases: The branches' biases, [n, C_out].
        gate: x [B, C_in, H, W] → weights [B, n].
    """

    def __init__(
        self,
        standards: nn.Conv2d,
        others: list[nn.Conv2d],
        owners: list[int],
        biases: Tensor,
        gate: nn.Module,
    ):
        super().__init__()
        for conv in (
            standards,
            *others,
        ):  # channels innermost in memory: so a mixed kernel is laid out for channels_last
            conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types leave it out
        self.standards = standards
        self.others = nn.ModuleList(others)
        self.owners = owners
        self.biases = nn.Parameter(biases)
        self.gate = gate
        self.out_channels = biases.shape[1]
        self.dense = standards.out_channels // self.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] → [B, C_out, H/stride, W/stride]."""
        weights = self.gate(x)
        if is_recorded(x):
            return self.separate(x, weights).contiguous()
        y = self.mixed(x, weights) if self._mixes(x) else self.separate(x, weights)
        return y.contiguous() if x.is_contiguous() else y

    def mixed(self, x: Tensor, weights: Tensor) -> Tensor:
        """A kernel for each image, by its weights [B, n], then a convolution each."""
        images = [self.convolve(image, weight) for image, weight in zip(x.split(1), weights)]
        return images[0] if len(images) == 1 else torch.cat(images)

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """One convolution of all x, by the kernel and bias that one weight [n] mixes."""
        return F.conv2d(x, self.kernel(weight), weight @ self.biases, self.standards.stride, padding=1)

    def separate(self, x: Tensor, weights: Tensor) -> Tensor:
        """All branches for all images, then the mix of their outputs by weights [B, n]."""
        y = (weights @ self.biases)[:, :, None, None]
        dense = self.standards(x).chunk(self.dense, 1)
        outputs = [*(dense[i] for i in range(self.dense)), *(other(x) for other in self.others)]
        for output, owner in zip(outputs, [*range(self.dense), *self.owners]):
            y = torch.addcmul(y, output, weights[:, owner, None, None, None])
        return y

    def kernel(self, weight: Tensor) -> Tensor:
        """The dense kernel [C_out, C_in, 3, 3], channels innermost, of the branches' mix by weight [n]."""
        flat = self.standards.weight.permute(0, 2, 3, 1).reshape(self.dense, -1)
        kernel = (weight[: self.dense] @ flat).view(self.out_channels, 3, 3, -1)
        for other, owner in zip(self.convolutions(), self.owners):
            add_to(kernel, other.weight, other.groups, weight[owner])
        return kernel.permute(0, 3, 1, 2)

    def convolutions(self) -> list[nn.Conv2d]:
        """The skeleton's and the group's convolutions."""
        return [other for other in self.others if isinstance(other, nn.Conv2d)]

    def _mixes(self, x: Tensor) -> bool:
        if x.shape[0] == 1:
            return True
        stride = self.standards.stride[0]
        large = -(-x.shape[2] // stride) * -(-x.shape[3] // stride) >= MIN_POSITIONS
        # A compiled graph would be of one batch size.
        return large and x.shape[0] > 0 and x.device.type == "cpu" and not torch.compiler.is_compiling()
