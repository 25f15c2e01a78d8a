import copy

import pytest
import torch

from paradise.errors import UserError
from paradise.models import create_model
from paradise.study.preset import Recipe
from paradise.study.training.optimizer import create_optimizer

RECIPE = Recipe(
    epochs=1,
    batch_size=16,
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=1e-4,
    warmup_epochs=0.0,
    schedule="cosine",
    precision="float32",
)
APEX = RECIPE.model_copy(update={"optimizer": "apex"})
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def has_apex() -> bool:
    try:
        from apex.optimizers import FusedSGD

        return FusedSGD([torch.zeros(1, device="cuda", requires_grad=True)], lr=1.0) is not None
    except (ImportError, RuntimeError):
        return False


@pytest.mark.parametrize("recipe", [RECIPE, RECIPE.model_copy(update={"optimizer": "sgd"})])
def test_plain_sgd_is_pytorchs_with_the_recipes_settings(recipe):
    optimizer = create_optimizer(torch.nn.Linear(2, 2), recipe)
    assert type(optimizer) is torch.optim.SGD
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 1e-4)
    assert len(group["params"]) == 2


def test_apex_needs_a_gpu():
    with pytest.raises(UserError, match=r"'training.optimizer: apex' needs a GPU; choose 'sgd'"):
        create_optimizer(torch.nn.Linear(2, 2), APEX)


@GPU
@pytest.mark.skipif(torch.cuda.is_available() and has_apex(), reason="Apex is installed here")
def test_apex_that_is_not_installed_is_named():
    with pytest.raises(UserError, match=r"needs NVIDIA's Apex with its CUDA extensions .* or choose 'sgd'"):
        create_optimizer(torch.nn.Linear(2, 2).cuda(), APEX)


@pytest.mark.skipif(not torch.cuda.is_available() or not has_apex(), reason="no GPU, or no Apex, here")
def test_apex_makes_pytorchs_steps():
    torch.manual_seed(0)
    models = [create_model("pd_b_resnet18", 10).cuda()]
    models.append(copy.deepcopy(models[0]))
    optimizers = [create_optimizer(model, recipe) for model, recipe in zip(models, (RECIPE, APEX))]
    for step in range(5):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = 0.1 / (step + 1)
        for a, b in zip(*(model.parameters() for model in models)):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(*(model.parameters() for model in models)):
        torch.testing.assert_close(a, b, rtol=2e-7, atol=1e-8)
