"""Convolutions tap by tap against `F.conv2d` in float64, and when they are taken."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paradise import small_maps
from paradise.small_maps import MAX_POSITIONS, TapConv2d


@pytest.fixture
def taps(monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of the kernels that were taken tap by tap since."""
    taken = []
    apply = small_maps._Taps.apply

    def watched(x, weight, *rest):
        taken.append(tuple(weight.shape))
        return apply(x, weight, *rest)

    monkeypatch.setattr(small_maps._Taps, "apply", watched)
    return taken


def as_torch(conv: TapConv2d) -> nn.Conv2d:
    """A float64 `nn.Conv2d` with the same parameters."""
    like = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        groups=conv.groups,
        bias=conv.bias is not None,
        dtype=torch.float64,
    )
    like.load_state_dict(conv.state_dict())
    return like


def results(conv: nn.Conv2d, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """The outgoing map, and the gradients of all that has one."""
    x = x.detach().clone().requires_grad_()
    y = conv(x)
    y.backward(gradient.to(y.dtype))
    return {"y": y.detach(), "x": x.grad} | {name: part.grad for name, part in conv.named_parameters()}


@settings(max_examples=150, deadline=None)
@given(
    kernel=st.tuples(st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 3, 5])),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    groups=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
    batch=st.integers(1, 3),
    channels_last=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_equal_to_a_convolution_in_float64(kernel, stride, size, groups, bias, batch, channels_last, seed):
    torch.manual_seed(seed)
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv = TapConv2d(8, 12, kernel, stride, padding, groups=groups, bias=bias)
    x = torch.randn(batch, 8, *size)
    if channels_last:
        conv.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(conv(x).shape, dtype=torch.float64)
    expected = results(as_torch(conv), x.double(), gradient)
    for name, value in results(conv, x, gradient).items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("groups", "stride", "size", "taken"),
    [
        (1, 1, (2, 2), True),
        (1, 1, (1, 4), True),
        (1, 1, (3, 2), False),
        (1, 2, (4, 4), True),
        (1, 2, (5, 4), False),
        (4, 1, (1, 1), True),
        (4, 2, (2, 2), True),
        (4, 1, (1, 2), False),
    ],
)
def test_the_outgoing_map_decides(taps, groups, stride, size, taken):
    conv = TapConv2d(8, 8, 3, stride, padding=1, groups=groups, bias=False)
    positions = conv(torch.randn(2, 8, *size))[0, 0].numel()
    assert bool(taps) == taken
    assert (positions <= (MAX_POSITIONS if groups == 1 else 1)) == taken


@pytest.mark.parametrize(
    "settings",
    [
        {"padding": 0},
        {"padding": 2},
        {"padding": (1, 0)},
        {"padding": "same"},
        {"padding": 1, "padding_mode": "reflect"},
        {"padding": 2, "dilation": 2},
        {"kernel_size": 2, "padding": 1},
    ],
    ids=str,
)
def test_another_kind_of_convolution_is_torchs(taps, settings):
    conv = TapConv2d(4, 4, **({"kernel_size": 3} | settings))
    small = nn.Conv2d(4, 4, **({"kernel_size": 3} | settings))
    small.load_state_dict(conv.state_dict())
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(conv(x), small(x))
    assert not taps


def test_calls_that_are_not_ordinary_are_torchs(taps):
    conv = TapConv2d(4, 4, 3, padding=1)
    x = torch.randn(2, 4, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(x).dtype == torch.bfloat16
    assert copy.deepcopy(conv).to(torch.bfloat16)(x.bfloat16()).dtype == torch.bfloat16
    assert copy.deepcopy(conv).to("meta")(x.to("meta")).shape == x.shape
    assert conv(x[:0]).shape == (0, 4, 2, 2)
    assert conv(x[0]).shape == (4, 2, 2)
    traced = torch.jit.trace(conv, x, check_trace=False)
    exported = torch.export.export(conv, (x,)).module()
    symbolic = torch.fx.symbolic_trace(nn.Sequential(conv))
    assert not taps
    for form in (traced, exported, symbolic):
        torch.testing.assert_close(form(x), F.conv2d(x, conv.weight, conv.bias, padding=1))
    with pytest.raises(RuntimeError, match=r"expected input.* to have 4 channels"):
        conv(torch.randn(2, 3, 2, 2))


def test_gradients_have_gradients(taps):
    torch.manual_seed(0)
    conv = TapConv2d(4, 4, 3, stride=2, padding=1, groups=2, dtype=torch.float64)
    x = torch.randn(2, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv, x)
    assert torch.autograd.gradgradcheck(conv, x)
    assert taps


def test_functions_of_functions_are_torchs(taps):
    torch.manual_seed(0)
    conv = TapConv2d(4, 4, 3, padding=1)
    x, direction = torch.randn(2, 2, 4, 2, 2).unbind()
    expected = conv(direction) - conv.bias[:, None, None]
    taps.clear()
    _, moved = torch.func.jvp(conv, (x,), (direction,))
    torch.testing.assert_close(moved, expected)
    each = torch.func.vmap(lambda image: conv(image[None])[0])(x)
    torch.testing.assert_close(each, conv(x))
    gradient = torch.func.grad(lambda x: conv(x).square().sum())(x)
    leaf = x.clone().requires_grad_()
    conv(leaf).square().sum().backward()
    torch.testing.assert_close(gradient, leaf.grad)


def test_only_wanted_gradients_are_made():
    conv = TapConv2d(4, 4, 3, padding=1, bias=False)
    conv(torch.randn(2, 4, 2, 2)).sum().backward()
    assert conv.weight.grad is not None
    frozen = TapConv2d(4, 4, 3, padding=1, bias=False).requires_grad_(False)
    x = torch.randn(2, 4, 2, 2, requires_grad=True)
    frozen(x).sum().backward()
    assert x.grad is not None and frozen.weight.grad is None


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_to_the_last_bit_each_time(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(0)
        conv = TapConv2d(256, 256, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
        x, gradient = torch.randn(2, 64, 256, 2, 2).unbind()
        first = results(conv, x, gradient)
        for _ in range(5):
            conv.zero_grad()
            for name, value in results(conv, x.clone(), gradient.clone()).items():
                assert torch.equal(value, first[name])
        with torch.no_grad():
            assert torch.equal(conv(x), first["y"])
    finally:
        torch.set_num_threads(before)
