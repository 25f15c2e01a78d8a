"""Diversity, pruning and Grad-CAM against computations of another kind."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_preset, scramble
from torch import nn

from paradise import fuse
from paradise.data.manifest import Split
from paradise.evidence import diversity, gradcam, pruning
from paradise.evidence.networks import Networks, blocks, some
from paradise.models import create_model


@pytest.fixture(scope="module")
def networks(digits, tmp_path_factory):
    return Networks(make_preset(digits), tmp_path_factory.mktemp("results"), 1, torch.device("cpu"))


def network(name: str) -> nn.Module:
    torch.manual_seed(2)
    model = scramble(create_model(name, 10), 2).double().eval()
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


def test_likeness_of_kernels_is_the_cosine(networks):
    block = network("pd_a_resnet18").layer1[0].conv1
    block.standard2 = copy.deepcopy(block.standard1)
    block.standard2.bn.weight.data.neg_()
    record = diversity._kernels(block)
    assert record["kernel_similarity"][0][1] == pytest.approx(-1)
    dense = np.zeros((2, 64, 64, 3, 3))
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
    blocks = {"layer1.0.conv1": model.layer1[0].conv1}
    products = diversity._output_products(networks, model, blocks)["layer1.0.conv1"]
    likeness = np.array(diversity._normalised(products))
    seen = []
    hook = blocks["layer1.0.conv1"].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for x, _ in networks.images():
            model(x)
        hook.remove()
        outputs = [torch.stack([branch(x) for branch in blocks["layer1.0.conv1"].branches()]) for x in seen]
    centred = [(y - y.mean((1, 3, 4), keepdim=True)).flatten(1) for y in outputs]
    expected = torch.corrcoef(torch.cat(centred, 1)).numpy()
    assert np.allclose(likeness, expected, atol=1e-3)
    assert np.allclose(likeness.diagonal(), 1)


def test_grad_cam_is_the_class_map_where_the_classifier_follows_the_mean():
    """There the gradients of the last stage are the classifier's weights over the positions (Zhou et al., 2016)."""
    torch.manual_seed(0)
    model = create_model("resnet18", 10).eval()
    images, labels = torch.randn(3, 3, 128, 128), torch.tensor([1, 7, 7])
    maps = gradcam.cam(model, "layer4", images, labels)
    seen = []
    model.layer4.register_forward_hook(lambda module, inputs, y: seen.append(y))
    with torch.no_grad():
        model(images)
    expected = torch.einsum("bc,bchw->bhw", model.fc.weight[labels], seen[0]).relu().detach()
    expected /= expected.amax((1, 2), keepdim=True).clamp(min=1e-12)
    assert maps.shape == (3, 4, 4)
    assert torch.allclose(maps, expected, atol=1e-4)


def test_the_stage_is_the_deepest_with_a_map_to_look_at():
    model = create_model("resnet18", 10).eval()
    assert gradcam._stage(model, torch.randn(1, 3, 32, 32)) == "layer2"
    assert gradcam._stage(model, torch.randn(1, 3, 224, 224)) == "layer4"


@pytest.mark.parametrize(("count", "wanted"), [(80, 20), (360, 200), (360, 359), (360, 360), (80, 10_000)])
def test_some_images_are_evenly_of_all_classes(count, wanted):
    labels = sorted(i % 10 for i in range(count))
    split = Split(Path(), [f"{i}.png" for i in range(count)], labels, [f"{i:x}" for i in range(count)])
    chosen = some(split, wanted)
    assert len(chosen) == min(wanted, count)
    assert [split.paths.index(path) for path in chosen.paths] == [int(hash_, 16) for hash_ in chosen.hashes]
    shares = [chosen.labels.count(label) for label in range(10)]
    assert max(shares) - min(shares) <= 1
    assert len(set(chosen.paths)) == len(chosen)
