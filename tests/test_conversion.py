import copy

import pytest
import torch
import torch.nn.functional as F
from conftest import scramble
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paradise import calibrate, convert, create_model, fuse
from paradise.block import PDABlock, PDBBlock
from paradise.conversion import BLOCK_CLASSES, SharedNorm
from paradise.dynamic import DynamicConv2d
from paradise.errors import UserError
from paradise.names import BLOCKS

both = pytest.mark.parametrize("kind", BLOCKS)


class Pyramid(nn.Module):
    """Small and foreign: a stem with BatchNorm, a lateral and an output convolution with biases, a shared head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.lateral = nn.Conv2d(64, 128, 1)
        self.output = nn.Conv2d(128, 128, 3, padding=1)
        self.extra = nn.Conv2d(128, 128, 3, (2, 1), 1)
        tower = nn.Conv2d(128, 40, 3, padding=1)
        self.head = nn.ModuleDict({"small": tower, "large": tower})

    def forward(self, x):
        fine = self.output(self.lateral(self.stem(x)))
        return self.head["small"](fine), self.head["large"](3 + self.extra(fine))


class Before(nn.Module):
    """Pre-activation: its BatchNorm has the name and channels of one that follows, but comes before."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(64, 64, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(64)

    def forward(self, x):
        return self.conv1(F.relu(self.bn1(x)))


class Twice(nn.Module):
    """One convolution with two BatchNorms, as a head has that keeps each level's statistics apart."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(64, 64, 3, padding=1)
        self.first, self.second = nn.BatchNorm2d(64), nn.BatchNorm2d(64)

    def forward(self, x):
        return self.first(self.conv(x)), self.second(self.conv(x + 1))


def outputs(model: nn.Module, seed: int = 0) -> list[torch.Tensor]:
    channels = 3 if hasattr(model, "stem") or hasattr(model, "fc") else 64
    x = torch.randn(2, channels, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        result = model(x)
    return list(result) if isinstance(result, tuple) else [result]


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for x, y in zip(outputs(a), outputs(b), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9 * float(x.abs().max()))


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = {"Pyramid": Pyramid, "Before": Before, "Twice": Twice}.get(name, lambda: create_model(name, 10))()
    return scramble(model).double().eval()


@both
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "ge_resnet18", "Pyramid", "Before", "Twice"])
def test_the_moment_of_conversion_changes_nothing_and_fusing_turns_it_all_back(name, kind):
    model = make(name)
    before = copy.deepcopy(model)
    convolutions = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    names = convert(model, kind, where=lambda name, conv: conv.kernel_size == (3, 3) and conv.groups == 1)
    assert names and all(type(model.get_submodule(name)) is BLOCK_CLASSES[kind] for name in names)
    assert_same(before, model)
    scramble(model)  # as training would leave it: every branch does something
    if kind == "pd_b":
        for block in model.modules():
            if isinstance(block, PDBBlock):
                nn.init.normal_(block.gate.expand.weight)
    fused = fuse(model)
    assert_same(model, fused)
    assert not any(isinstance(module, PDABlock) for module in fused.modules())
    if kind == "pd_a":
        for name in names:
            plain, was = fused.get_submodule(name), convolutions[name]
            assert type(plain) is nn.Conv2d and plain.bias is not None
            assert (plain.stride, plain.padding, plain.weight.shape) == (was.stride, was.padding, was.weight.shape)
    else:
        assert sum(isinstance(m, DynamicConv2d) for m in fused.modules()) == len(names)


@both
def test_a_converted_resnet_is_the_model_of_that_name(kind):
    plain = create_model("resnet18", 10)
    names = convert(plain, kind, "layer?.*", preserve=False)
    assert len(names) == 16 and "conv1" not in names
    ours = create_model(f"{kind}_resnet18", 10)
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in ours.state_dict().items()}
    assert [type(m) for m in plain.modules()] == [type(m) for m in ours.modules()]
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(plain.eval()(x), ours.eval()(x))


def test_batchnorms_are_told_by_what_is_called_not_by_names():
    for name, absorbed in (("Before", False), ("Twice", False), ("Pyramid", True)):
        model = make(name)
        convert(model, "pd_a", "stem" if name == "Pyramid" else "*")
        norms = [m for m in model.modules() if type(m) is nn.BatchNorm2d]
        shared = [m for m in model.modules() if isinstance(m, SharedNorm)]
        assert bool(shared) != absorbed
        assert len(norms) == {"Before": 1, "Twice": 2, "Pyramid": 5}[name]


@both
def test_what_is_shared_stays_shared(kind):
    model = make("Pyramid")
    assert convert(model, kind, "head") == ["head.small"]
    assert model.head["small"] is model.head["large"]
    fused = fuse(model)
    assert fused.head["small"] is fused.head["large"]
    model.train()
    model(torch.randn(2, 3, 16, 16, dtype=torch.float64))
    assert model.head["small"].standard1.bn.num_batches_tracked == 2


@both
@pytest.mark.parametrize(("bias", "norm"), [(True, True), (True, False), (False, True), (False, False)])
def test_biases_and_batchnorms_in_every_combination(kind, bias, norm):
    torch.manual_seed(0)
    layers = [nn.Conv2d(64, 36, 3, 2, 1, bias=bias)] + [nn.BatchNorm2d(36)] * norm
    model = scramble(nn.Sequential(*layers)).double().eval()
    before = copy.deepcopy(model)
    convert(model, kind)
    assert_same(before, model)
    assert_same(before, fuse(model))


@both
def test_training_steps_move_every_branch(kind):
    """Branches that begin at zero must not stay there."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1)).double()
    convert(model, kind)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 64, 8, 8, dtype=torch.float64)).square().mean().backward()
        optimizer.step()
    still = [key for key, value in model.state_dict().items() if torch.equal(value, before[key])]
    assert still == []


# Where the levels' statistics are mixed.


def levels(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        scale * torch.randn(2, 64, side, side, dtype=torch.float64, generator=generator) + shift
        for scale, shift, side in ((1, 0, 16), (3, 2, 8), (0.2, -1, 4))
    ]


def test_in_training_every_level_is_computed_as_at_inference():
    """One kernel serves all levels, so what each is trained with must be what it is evaluated with."""
    norm = SharedNorm(64).double().train()
    for step in range(200):
        for x in levels(step):
            norm(x)
    trained = copy.deepcopy(norm)
    for x in levels(1000):
        y = trained(x)
        torch.testing.assert_close(y, copy.deepcopy(trained).eval()(x))
        ordinary = nn.BatchNorm2d(64).double().train()(x)
        assert (y - ordinary).abs().max() > 1


def test_running_statistics_begin_as_those_of_all_that_was_seen():
    norm = SharedNorm(64).double().train()
    seen = [torch.randn(2, 64, 8, 8, dtype=torch.float64) * scale + scale for scale in (1, 2, 5)]
    for x in seen:
        norm(x)
    together = torch.cat(seen)
    torch.testing.assert_close(norm.running_mean, together.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, together.var((0, 2, 3), correction=0))


def test_the_gradient_is_a_batchnorms():
    """No gradient along what normalisation takes away: the batch's mean and its scale."""
    norm = SharedNorm(8).double().train()
    x = torch.randn(4, 8, 5, 5, dtype=torch.float64, requires_grad=True)
    (norm(x) * torch.randn(4, 8, 5, 5, dtype=torch.float64)).sum().backward()
    torch.testing.assert_close(x.grad.sum((0, 2, 3)), torch.zeros(8, dtype=torch.float64))
    centred = x.detach() - x.detach().mean((0, 2, 3), keepdim=True)
    along = (x.grad * centred).sum((0, 2, 3))
    # ε keeps a trace of the scale's.
    assert along.abs().max() < 1e-3 < x.grad.abs().max()


@both
def test_calibrated_weights_survive_training_mode(kind):
    model = make("Pyramid")
    before = copy.deepcopy(model)
    convert(model, kind, ["output", "extra", "head"])
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    calibrate(model, lambda network: network(x))
    assert_same(before, model)
    blocks = [module for module in model.modules() if isinstance(module, PDABlock)]
    for block in blocks:
        block.train()
    for a, b in zip(outputs(before), outputs(model)):
        # Of what is shared one level at a time moves the mean by a tenth.
        assert float((a - b).abs().max() / a.abs().max()) < 0.2
    uncalibrated = make("Pyramid")
    convert(uncalibrated, kind, ["output", "extra", "head"])
    for module in uncalibrated.modules():
        if isinstance(module, PDABlock):
            module.train()
    assert any(float((a - b).abs().max() / a.abs().max()) > 0.2 for a, b in zip(outputs(before), outputs(uncalibrated)))


# `where`


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("output", ["output"]),
        (["extra", "output"], ["output", "extra"]),
        ("*", ["stem.0", "output", "extra", "head.small"]),
        ("stem*", ["stem.0"]),
        ("head", ["head.small"]),
        (["stem", "e*"], ["stem.0", "extra"]),
        (lambda name, conv: conv.stride == (2, 1), ["extra"]),
        (lambda name, conv: False, []),
    ],
)
def test_where(where, names):
    assert convert(make("Pyramid"), "pd_a", where) == names


def test_what_is_converted_is_left_alone_the_second_time():
    model = make("Pyramid")
    convert(model, "pd_a", "output")
    assert convert(model, "pd_b", "*") == ["stem.0", "extra", "head.small"]
    assert type(model.output) is PDABlock


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("outptu", r"'outptu' is no module of Pyramid; the nearest: output, .*"),
        ("neck.*", r"'neck\.\*' is no module of Pyramid; the nearest: .*"),
        ("stem.1", r"'stem\.1' matches no 3×3 convolution of Pyramid, only stem\.1, say"),
        ("lateral", r"'lateral' cannot become a ParaDise block: its kernel is 1×1, not 3×3; leave it out of `where`"),
    ],
)
def test_wrong_patterns_are_named(where, said):
    model = make("Pyramid")
    with pytest.raises(UserError, match=f"^{said}$"):
        convert(model, "pd_a", ["output", where])
    assert type(model.output) is nn.Conv2d  # nothing was replaced


@pytest.mark.parametrize(
    ("conv", "why"),
    [
        (nn.Conv2d(64, 64, 5, padding=2), "its kernel is 5×5, not 3×3"),
        (nn.Conv2d(64, 64, 3, padding=1, groups=32), "it has 32 groups, not one"),
        (nn.Conv2d(64, 64, 3, padding=2, dilation=2), "its dilation is 2, not 1"),
        (nn.Conv2d(64, 64, 3), r"its padding is \(0, 0\) with zeros, not 1 with zeros"),
        (nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"), r"its padding is \(1, 1\) with reflect, .*"),
        (nn.LazyConv2d(64, 3, padding=1), "it is a LazyConv2d, not a plain Conv2d"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(64, 64, 3, padding=1)), "it is a Parametrized.*"),
    ],
)
def test_what_no_block_can_replace_is_refused_by_name(conv, why):
    with pytest.raises(UserError, match=f"^'0' cannot become a ParaDise block: {why}; leave it out of `where`$"):
        convert(nn.Sequential(conv), "pd_a", "0")


def test_unknown_kinds_and_branches():
    with pytest.raises(UserError, match=r"^unknown kind 'pd_c'; did you mean 'pd_"):
        convert(make("Pyramid"), "pd_c")
    with pytest.raises(UserError, match=r"^unknown branch 'skelton' of 'pd_a'; did you mean 'skeleton'"):
        convert(make("Pyramid"), "pd_a", branches=("standard1", "skelton"))


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([1, 2, (1, 2)]),
    st.booleans(),
    st.sampled_from(BLOCKS),
)
@settings(max_examples=30, deadline=None)
def test_any_number_of_channels(inputs, channels, stride, bias, kind):
    conv = nn.Conv2d(inputs, channels, 3, stride, 1, bias=bias)
    model = nn.Sequential(nn.Identity(), conv).double().eval()
    before = copy.deepcopy(model)
    convert(model, kind)
    x = torch.randn(2, inputs, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(model(x), before(x))
    torch.testing.assert_close(fuse(scramble(model))(x), model(x))
