"""Stochastic gradient descent: PyTorch's, or Apex's fused kernels where they are asked for."""

import torch
from torch import nn

from paradise.errors import UserError


def create_optimizer(model: nn.Module, recipe: dict) -> torch.optim.Optimizer:
    """Raises UserError where the recipe wants Apex and it is not installed, or has no GPU to run on."""
    settings = {"lr": recipe["learning_rate"], "momentum": recipe["momentum"], "weight_decay": recipe["weight_decay"]}
    if recipe.get("optimizer", "sgd") == "sgd":
        return torch.optim.SGD(model.parameters(), **settings)
    if not next(model.parameters()).is_cuda:
        raise UserError("'training.optimizer: apex' needs a GPU; choose 'sgd'")
    try:
        from apex.optimizers import FusedSGD

        return FusedSGD(model.parameters(), **settings)
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"'training.optimizer: apex' needs NVIDIA's Apex with its CUDA extensions ({error}); build it from its "
            "repository (the 'apex' of PyPI is another project), or choose 'sgd'"
        ) from None
