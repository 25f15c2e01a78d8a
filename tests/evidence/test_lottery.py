"""What a lottery's start is made of."""

import json

import numpy as np
import pytest
import torch
from conftest import make_preset, scramble
from torch import nn

from paradise import fuse
from paradise.errors import UserError
from paradise.evidence import STARTS
from paradise.evidence.lottery import collect, plant, ticket, train_start
from paradise.evidence.networks import branch_kernels
from paradise.models import create_model
from paradise.training.loop import train


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(1)
    return scramble(create_model("pd_a_resnet18", 10)).eval()


def test_tickets_are_element_wise_over_the_branches():
    kernels = [torch.randn(3, 2, 3, 3, dtype=torch.float64) for _ in range(4)]
    stacked = np.stack([kernel.numpy() for kernel in kernels])
    assert np.array_equal(ticket(kernels, "maximum").numpy(), stacked.max(0))
    largest = np.take_along_axis(stacked, np.abs(stacked).argmax(0)[None], 0)[0]
    assert np.array_equal(ticket(kernels, "magnitude").numpy(), largest)
    assert np.allclose(ticket(kernels, "fused").numpy(), stacked.sum(0))


def test_the_branches_kernels_sum_to_the_fused_kernel(source):
    block, fused = source.layer2[0].conv1, fuse(source).layer2[0].conv1
    assert torch.allclose(sum(branch_kernels(block)).float(), fused.weight, atol=1e-6)


@pytest.mark.parametrize("start", [start for start in STARTS if start != "random"])
def test_only_the_3x3_kernels_are_the_tickets_and_every_batchnorm_is_as_new(source, start):
    torch.manual_seed(0)
    fresh = create_model("resnet18", 10)
    torch.manual_seed(0)
    model = create_model("resnet18", 10)
    plant(model, source, start)
    for (name, module), other in zip(model.named_modules(), fresh.modules()):
        if isinstance(module, nn.BatchNorm2d):
            for key, value in module.state_dict().items():
                assert torch.equal(value, other.state_dict()[key]), name
        elif isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            expected = ticket(branch_kernels(source.get_submodule(name)), start).float()
            assert torch.equal(module.weight, other.weight if start == "rest" else expected), name
        elif isinstance(module, nn.Conv2d | nn.Linear):
            assert torch.equal(module.weight, source.get_submodule(name).weight), name
    assert torch.equal(model.fc.bias, source.fc.bias)


@pytest.mark.slow
def test_starts_are_trained_and_collected(digits, tmp_path):
    preset = make_preset(digits, epochs=2) | {"evidence": {"seeds": [4]}}
    with pytest.raises(UserError, match="train the row first"):
        train_start("fused", preset, "test", 4, 1, tmp_path, None)
    train("pd_a_resnet18", preset, "test", 0, 1, tmp_path / "pd_a_resnet18" / "seed0")
    for start in STARTS:
        train_start(start, preset, "test", 4, 1, tmp_path, None)
    made, weights = collect(preset, tmp_path)
    assert set(weights) == {f"evidence/lottery/{start}/seed4" for start in STARTS}
    assert list(made["curves"]) == list(STARTS)
    assert all(len(curve) == 2 for of in made["curves"].values() for curve in of.values())
    assert made["images"] == 80
    record = json.loads((tmp_path / "evidence/lottery/fused/seed4/run.json").read_text())
    source = json.loads((tmp_path / "pd_a_resnet18/seed0/run.json").read_text())
    assert (record["start"], record["source"]) == ("fused", source["files"]["weights.safetensors"])
    # From random weights it is the training of any plain row with that seed, to the bit.
    train("resnet18", preset, "test", 4, 1, tmp_path / "plain")
    weights = [
        (folder / "weights.safetensors").read_bytes()
        for folder in (tmp_path / "evidence/lottery/random/seed4", tmp_path / "plain")
    ]
    assert weights[0] == weights[1]
