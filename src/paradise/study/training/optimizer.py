"""Stochastic gradient descent: PyTorch's, or Apex's fused kernels where they are asked for."""

import torch
from torch import nn

from paradise.errors import UserError
from paradise.study.preset import Recipe


def create_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Raises UserError where the recipe wants Apex and it is not installed, or has no GPU to run on."""
    rate, momentum, decay = recipe.learning_rate, recipe.momentum, recipe.weight_decay
    if recipe.optimizer in (None, "sgd"):
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, weight_decay=decay)
    if not next(model.parameters()).is_cuda:
        raise UserError("'training.optimizer: apex' needs a GPU; choose 'sgd'")
    try:
        from apex.optimizers import FusedSGD

        fused: torch.optim.Optimizer = FusedSGD(model.parameters(), lr=rate, momentum=momentum, weight_decay=decay)
        return fused
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"'training.optimizer: apex' needs NVIDIA's Apex with its CUDA extensions ({error}); build it from its "
            "repository (the 'apex' of PyPI is another project), or choose 'sgd'"
        ) from None
