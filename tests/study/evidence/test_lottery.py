"""What a lottery's start is made of, and its trainings and their curves."""

import contextlib

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, changed, make_preset, scramble
from torch import nn

from paradise import fuse
from paradise.errors import UserError
from paradise.models import create_model
from paradise.study.evidence.measures.lottery import measure
from paradise.study.evidence.networks import Networks, branch_kernels
from paradise.study.evidence.starts import STARTS
from paradise.study.evidence.train_start import set_kernels, ticket, train_start
from paradise.study.records import Trained, read_record
from paradise.study.rows import Row, Run
from paradise.study.stale import Survey
from paradise.study.steps.train_start import STEP
from paradise.study.training.loop import train
from paradise.study.training.state import States


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(1)
    return scramble(create_model("pd_a_resnet18", 10, width=8)).eval()


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
    fresh = create_model("resnet18", 10, width=8)
    torch.manual_seed(0)
    model = create_model("resnet18", 10, width=8)
    set_kernels(model, source, start)
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
def test_starts_are_trained_and_their_curves_collected(digits, tmp_path):
    preset = changed(make_preset(digits, epochs=2), rows=["pd_a_resnet18"], evidence={"seeds": [4]})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "paper").symlink_to(REPOSITORY / "data" / "paper")
    source, folder = Run(Row("pd_a", 18), 0), tmp_path / preset.results
    with contextlib.chdir(tmp_path):
        for start in ("random", "fused"):
            with pytest.raises(UserError) as caught:
                train_start(start, preset, 4, 1, 0)
            assert str(caught.value) == "no run at results/test/pd_a_resnet18/seed0/run.json; train the row first"
        train(source, preset, 1, source.folder(preset.results), 0)
        for start in STARTS:
            train_start(start, preset, 4, 1, 0)
        other = STEP.job(preset, start="fused", seed="4").record.parent / "state"
        States(other, {"row": "resnet50"}, "").save(1, {})
        with pytest.raises(UserError, match=r"row was resnet50 .*; `paradise evidence train --restart` deletes it and"):
            train_start("fused", preset, 4, 1, 0)
        train_start("fused", preset, 4, 1, 0, restart=True)
        survey = Survey(preset)
        assert [survey.why_stale(job) for job in STEP.of(preset)] == [()] * len(STARTS), "a record is not as declared"
        made = measure(Networks(preset, 1, torch.device("cpu")))
        # From random weights it is the training of any plain row with that seed, to the bit.
        train(Run(Row("plain", 18), 4), preset, 1, tmp_path / "plain", 0)
    record = read_record(folder / "evidence/lottery/fused/seed4/run.json", Trained)
    trained = read_record(folder / "pd_a_resnet18/seed0/run.json", Trained)
    assert (record.start, record.inputs["source"]) == ("fused", trained.outputs["weights.safetensors"])
    assert list(made["curves"]) == list(STARTS)
    assert all(list(of) == ["4"] and len(of["4"]) == 2 for of in made["curves"].values())
    assert made["curves"]["fused"]["4"][record.best.epoch - 1] == record.best.val_top1
    assert made["images"] == 80
    weights = [
        (place / "weights.safetensors").read_bytes()
        for place in (folder / "evidence/lottery/random/seed4", tmp_path / "plain")
    ]
    assert weights[0] == weights[1]
