"""The BatchNorms of several branches and the weighted sum of their outputs, in few passes over memory."""

from typing import Any

import torch
from torch import Tensor, nn

from paradise.calls import is_bare, is_ordinary


def serves(norms: list[nn.BatchNorm2d], x: Tensor, weights: Tensor | None = None) -> bool:
    """Whether `norm_sum` does all that the BatchNorms do when they are called one after the other.

    Args:
        norms: The BatchNorms of a block's branches.
        x: The block's input.
        weights: As `norm_sum` takes them.

    Returns:
        False also on a GPU, where `torch.compile` does the work of `norm_sum`.
    """
    if not is_ordinary(x) or x.dtype not in (torch.float32, torch.float64) or x.dim() != 4 or x.numel() == 0:
        return False
    if weights is not None and weights.dtype != x.dtype:
        return False
    return all(is_bare(norm, nn.BatchNorm2d) and _is_usual(norm, x.dtype) for norm in norms)


def _is_usual(norm: nn.BatchNorm2d, dtype: torch.dtype) -> bool:
    """Whether it takes the batch's statistics and keeps running ones, and all its tensors are of that type."""
    if not norm.training or not norm.track_running_stats or norm.momentum is None:
        return False
    tensors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return all(tensor is not None and tensor.dtype == dtype for tensor in tensors)


def norm_sum(outputs: list[Tensor], norms: list[nn.BatchNorm2d], weights: Tensor | None = None) -> Tensor:
    """Σ_i w_i · norm_i(output_i) by batch statistics, as BatchNorms compute it in training.

    Equal to the branches one by one but for rounding. No branch's normalised or weighted output is written to memory or
    kept for the gradient: for each image y = Σ a_i z_i + c, where a_i [B, C] and c [B, C] hold statistics, affine
    parameters and weights.

    It runs none of the BatchNorms: `serves` says where that may be.

    Args:
        outputs: The branches' convolutions, n of [B, C, H, W].
        norms: Their BatchNorms; the running statistics follow.
        weights: Of each branch for each image, [B, n]; all 1 by default.

    Returns:
        [B, C, H, W].

    Raises:
        ValueError: There is one value a channel: a BatchNorm raises the same.
    """
    if outputs[0].numel() == outputs[0].shape[1]:
        raise ValueError(f"Expected more than 1 value per channel when training, got {tuple(outputs[0].shape)}")
    for norm in norms:
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
    affine = torch.stack([torch.stack((norm.weight, norm.bias)) for norm in norms])
    return _NormSum.apply(affine, weights, norms, *outputs)  # type: ignore[no-untyped-call]  # torch gives it no types


class _NormSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, affine: Tensor, weights: Tensor | None, norms: list[nn.BatchNorm2d], *outputs: Tensor
    ) -> Tensor:
        statistics = [
            torch.batch_norm_update_stats(z, norm.running_mean, norm.running_var, norm.momentum or 0.0)
            for z, norm in zip(outputs, norms)
        ]
        mean = torch.stack([mean for mean, _ in statistics])  # [n, C], as all that follows unless it is said
        inverse = torch.stack([(var + norm.eps).rsqrt() for (_, var), norm in zip(statistics, norms)])
        gamma, beta = affine.unbind(1)
        scale = gamma * inverse
        shift = beta - mean * scale
        if weights is None:
            scales, constant = scale[None], shift.sum(0, keepdim=True)  # [1, n, C], [1, C]
        else:
            scales, constant = weights[:, :, None] * scale, weights @ shift  # [B, n, C], [B, C]
        y = torch.addcmul(constant[:, :, None, None], outputs[0], scales[:, 0, :, None, None])
        for i, z in enumerate(outputs[1:], start=1):
            y.addcmul_(z, scales[:, i, :, None, None])
        ctx.save_for_backward(affine, weights, mean, inverse, *outputs)
        ctx.eps = [norm.eps for norm in norms]
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        affine, weights, mean, inverse, *outputs = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient is itself differentiated: through the statistics as well
            statistics = [torch.var_mean(z, (0, 2, 3), correction=0) for z in outputs]
            mean = torch.stack([mean for _, mean in statistics])
            inverse = torch.stack([(var + eps).rsqrt() for (var, _), eps in zip(statistics, ctx.eps)])
        gamma, beta = affine.unbind(1)
        total = gradient.sum((2, 3))  # [B, C]
        # Σ over each image's map of gradient · (z − μ)/σ, [B, n, C]
        products = torch.stack([(gradient * z).sum((2, 3)) for z in outputs], 1)
        normalised = (products - mean * total[:, None]) * inverse
        if weights is None:
            d_gamma, d_beta, d_weights = normalised.sum(0), total.sum(0).expand_as(mean), None
            scales = (gamma * inverse)[None]
        else:
            d_gamma = (weights[:, :, None] * normalised).sum(0)
            d_beta = weights.T @ total
            d_weights = (gamma * normalised + beta * total[:, None]).sum(2)
            scales = weights[:, :, None] * (gamma * inverse)
        # The gradient of z through BatchNorm: w γ/σ g − γ/σ (Σ w g + (z − μ)/σ Σ w g (z − μ)/σ) / N
        count = gradient.shape[0] * gradient.shape[2] * gradient.shape[3]
        slope = -gamma * inverse.square() * d_gamma / count
        constant = -gamma * inverse * d_beta / count - slope * mean
        d_outputs = [
            torch.addcmul(constant[i, :, None, None], z, slope[i, :, None, None]).addcmul_(
                gradient, scales[:, i, :, None, None]
            )
            for i, z in enumerate(outputs)
        ]
        return torch.stack((d_gamma, d_beta), 1), d_weights, None, *d_outputs
