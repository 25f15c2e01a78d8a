import json

import pytest
import torch
from conftest import PAPER
from torch import nn

from paradise.block import PDBBlock
from paradise.models import create_model
from paradise.study.code import fingerprint
from paradise.study.paper import read_paper
from paradise.study.profiling.complexity import count, plain_network, profile, write_complexity
from paradise.study.rows import Row

PUBLISHED = read_paper(PAPER)

EXACT = {
    "resnet18": {"params": 11_689_512, "flops": 1_822_176_768},
    "resnet50": {"params": 25_557_032, "flops": 4_121_924_096},
}


def at(side: int):
    return lambda model: model(torch.zeros(1, 3, side, side))


@pytest.mark.parametrize("row,published", PUBLISHED.imagenet.items(), ids=str)
def test_every_row_of_the_first_table_comes_out_as_published(row, published):
    counted = profile(row)
    assert f"{counted['flops'] / 1e9:.3f}" == published["flops_g"]
    params = {"pd_b_resnet50": "25.637"}.get(row.id, published["params_m"])  # the paper prints 25.636
    assert f"{counted['params'] / 1e6:.{len(params.partition('.')[2])}f}" == params
    for key, value in EXACT.get(row.id, {}).items():
        assert counted[key] == value


@pytest.mark.parametrize("row", [row for row in PUBLISHED.rows if not row.whole], ids=str)
def test_ablation_rows_cost_what_the_resnet_costs(row):
    network, branches = plain_network(row.build(1000)), row.branches
    params = sum(parameter.numel() for parameter in network.parameters())
    if row.kind == "pd_a":
        assert params == EXACT["resnet18"]["params"]
        assert count(network, at(224))[1] == EXACT["resnet18"]["flops"]
    else:
        inputs = [64] * 4 + [64] + [128] * 3 + [128] + [256] * 3 + [256] + [512] * 3
        gates = sum(c * (c // 16) + c // 16 + (c // 16) * len(branches) + len(branches) for c in inputs)
        assert params == EXACT["resnet18"]["params"] + gates


def test_pure_macs_of_resnet18():
    """ptflops' "aten" backend, which counts nothing else, gives 1.8141 G."""
    assert profile(Row.parse("resnet18"))["macs"] == pytest.approx(1.8141e9, rel=1e-4)


def test_what_fused_networks_store():
    """PD-A what the ResNet does; PD-B two dense kernels, 3×1 and 1×3, one of 64 groups, four biases, and the gate."""
    rows = map(Row.parse, ("resnet18", "pd_a_resnet18", "pd_b_resnet18"))
    plain, summed, gated = (profile(row)["deploy_params"] for row in rows)
    biases = 64 + 64 * 4 + 3 * 128 + 4 * 128 + 128 + 4 * 256 + 256 + 4 * 512 + 512
    assert summed == plain
    assert plain < EXACT["resnet18"]["params"] + biases
    pairs = [(64, 64)] * 4
    for channels in (128, 256, 512):
        pairs += [(channels // 2, channels)] + [(channels, channels)] * 3
    kernels = sum(a * b * (2 * 9 + 6) + a * b * 9 // 64 for a, b in pairs)
    gates = profile(Row.parse("pd_b_resnet18"))["params"] - EXACT["resnet18"]["params"]
    assert gated - plain == kernels - sum(9 * a * b for a, b in pairs) + 3 * sum(b for _, b in pairs) + gates


def test_counting_counts_by_modules():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, groups=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    macs = 8 * 16 * 3 * 9 + 8 * 5
    assert count(model, at(8)) == (macs, macs + 8 * 16 + 2 * 8 * 16 + 8 * 16 + 8 * 16)
    grouped = nn.Conv2d(3, 6, 3, groups=3, bias=False)
    assert count(grouped, at(5)) == (6 * 9 * 9, 6 * 9 * 9)


def test_a_fused_pd_b_costs_one_convolution_and_the_mixing():
    block = PDBBlock(64, 128, stride=2)
    macs, flops = count(block.fuse(), lambda model: model(torch.zeros(1, 64, 8, 8)))
    convolution, mixing, gate = 128 * 16 * 64 * 9, 128 * 64 * (2 * 9 + 6) + 128 * 9 + 4 * 128, 64 * 4 + 4 * 4
    assert (macs, flops) == (convolution + mixing + gate, convolution + mixing + gate + 128 * 16 + 4)


def test_counting_leaves_no_hooks_behind():
    model = create_model("resnet18")
    count(model, at(32))
    assert not any(module._forward_hooks for module in model.modules())


def test_the_record(tmp_path):
    row = Row.parse("pd_b_resnet18")
    write_complexity([row], "test", tmp_path / "complexity.json")
    record = json.loads((tmp_path / "complexity.json").read_text())
    assert set(record) == {
        *("step", "preset", "of", "settings", "inputs", "outputs", "code", "seal"),
        *("time", "commit", "versions", "machine", "rows"),
    }
    assert (record["step"], record["preset"], record["of"]) == ("complexity", "test", {})
    assert (record["settings"], record["inputs"], record["outputs"]) == ({"models": ["pd_b_resnet18"]}, {}, {})
    assert record["code"] == fingerprint("paradise.study.profiling.complexity", "paradise.models.pd_b")
    assert record["versions"]["torch"] == torch.__version__
    assert record["rows"] == {"pd_b_resnet18": profile(row)}
    assert set(record["rows"]["pd_b_resnet18"]) == {"params", "flops", "macs", "deploy_params"}
