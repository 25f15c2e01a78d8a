"""Diversity and pruning against computations of another kind."""

import copy

import numpy as np
import pytest
import torch
from conftest import make_preset, scramble
from torch import nn

from paradise import fuse
from paradise.models import create_model
from paradise.study.evidence.measures import diversity, pruning
from paradise.study.evidence.networks import Networks, blocks


@pytest.fixture(scope="module")
def networks(digits):
    return Networks(make_preset(digits), 1, torch.device("cpu"))


def network(name: str) -> nn.Module:
    torch.manual_seed(2)
    model = scramble(create_model(name, 10, width=16), 2).double().eval()
    for module in model.modules():
        # Gates that tell images apart, where fresh ones hardly do.
        if isinstance(module, nn.Linear) and module is not model.fc:
            module.weight.data.mul_(5)
    return model


@pytest.fixture
def images():
    return torch.randn(6, 3, 32, 32, dtype=torch.float64)


@pytest.mark.parametrize("name", ["pd_a_resnet18", "pd_b_resnet18"])
@pytest.mark.parametrize("branch", ["standard1", "standard2", "skeleton", "group", None])
def test_a_pruned_branch_gives_nothing_and_the_rest_what_it_did(images, name, branch):
    model = network(name)
    pruned = pruning.without(model, branch)
    expected = copy.deepcopy(model)
    if branch:
        for block in blocks(expected).values():
            getattr(block, branch).register_forward_hook(lambda module, inputs, y: torch.zeros_like(y))
    with torch.no_grad():
        assert torch.allclose(pruned(images), expected(images), atol=1e-9)
        assert torch.allclose(fuse(model)(images), model(images), atol=1e-9), "the model itself was changed"


def test_a_frozen_gate_has_its_weights_whatever_the_image(images):
    model = network("pd_b_resnet18")
    weights = {name: torch.rand(4, dtype=torch.float64).softmax(0) for name in blocks(model)}
    frozen = diversity.freeze(model, weights)
    expected = copy.deepcopy(model)
    for name, block in blocks(expected).items():
        block.gate.register_forward_hook(lambda gate, inputs, y, name=name: weights[name].expand_as(y))
    with torch.no_grad():
        assert torch.allclose(frozen(images), expected(images), atol=1e-9)
        assert not torch.allclose(frozen(images), model(images), atol=1e-2)
    assert all(type(frozen.get_submodule(name)) is nn.Conv2d for name in weights)


def test_likeness_of_kernels_is_the_cosine():
    block = network("pd_a_resnet18").layer1[0].conv1
    block.standard2 = copy.deepcopy(block.standard1)
    block.standard2.bn.weight.data.neg_()
    record = diversity.compare_kernels(block)
    assert record["kernel_similarity"][0][1] == pytest.approx(-1)
    dense = np.zeros((2, 16, 16, 3, 3))
    for i, part in enumerate((block.standard1, block.skeleton.vertical)):
        scale = (part.bn.weight / (part.bn.running_var + 1e-5).sqrt()).detach().numpy()
        kernel = part.conv.weight.detach().numpy() * scale[:, None, None, None]
        if i:
            dense[1, :, :, :, 1:2] += kernel
            other = block.skeleton.horizontal
            scale = (other.bn.weight / (other.bn.running_var + 1e-5).sqrt()).detach().numpy()
            dense[1, :, :, 1:2, :] += other.conv.weight.detach().numpy() * scale[:, None, None, None]
        else:
            dense[0] = kernel
    a, b = dense.reshape(2, -1)
    assert record["kernel_similarity"][0][2] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-4)
    assert max(record["histograms"][3]) < 0.3, "the zeros outside of the group's diagonal count as its entries"


def test_likeness_of_outputs_is_their_correlation(networks):
    model = network("pd_a_resnet18").float()
    block = model.layer1[0].conv1
    products = diversity.output_products(networks, model, {"layer1.0.conv1": block})["layer1.0.conv1"]
    likeness = np.array(diversity.cosines(products))
    seen = []
    hook = block.register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for x, _ in networks.images():
            model(x)
        hook.remove()
        outputs = [torch.stack([branch(x) for branch in block.branches()]) for x in seen]
    centred = [(y - y.mean((1, 3, 4), keepdim=True)).flatten(1) for y in outputs]
    expected = torch.corrcoef(torch.cat(centred, 1)).numpy()
    assert np.allclose(likeness, expected, atol=1e-3)
    assert np.allclose(likeness.diagonal(), 1)
