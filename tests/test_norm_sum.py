"""The BatchNorms and the sum in few passes against one BatchNorm after the other, float64."""

import copy

import pytest
import torch
from conftest import scramble
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrize, prune
from torch.utils.checkpoint import checkpoint

from paradise import block as blocks
from paradise.block import PDABlock, PDBBlock
from paradise.norm_sum import norm_sum
from paradise.small_maps import TapConv2d


def one_by_one(outputs, norms, weights=None):
    return sum(
        norm(z) if weights is None else weights[:, i, None, None, None] * norm(z)
        for i, (z, norm) in enumerate(zip(outputs, norms))
    )


def make_norms(count: int, channels: int, momentum: float) -> list[nn.BatchNorm2d]:
    norms = nn.ModuleList(nn.BatchNorm2d(channels, momentum=momentum) for _ in range(count))
    return list(scramble(norms).double())


@given(
    count=st.integers(1, 5),
    shape=st.tuples(st.integers(2, 4), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5)),
    weighted=st.booleans(),
    last=st.booleans(),
    momentum=st.sampled_from([0.1, 0.5]),
    seed=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_output_gradients_and_statistics(count, shape, weighted, last, momentum, seed):
    torch.manual_seed(seed)
    layout = torch.channels_last if last else torch.contiguous_format
    norms = make_norms(count, shape[1], momentum)
    others = copy.deepcopy(norms)
    outputs = [(torch.randn(shape).double() * (i + 1) + i).contiguous(memory_format=layout) for i in range(count)]
    weights = torch.rand(shape[0], count).double() if weighted else None
    direction = torch.randn(shape).double()
    results = []
    for function, these in ((norm_sum, norms), (one_by_one, others)):
        inputs = [z.clone().requires_grad_() for z in outputs]
        shares = weights.clone().requires_grad_() if weighted else None
        y = function(inputs, these, shares)
        (y * direction).sum().backward()
        gradients = [leaf.grad for leaf in inputs + ([shares] if weighted else [])]
        affine = [parameter.grad for norm in these for parameter in (norm.weight, norm.bias)]
        statistics = [buffer for norm in these for buffer in norm.buffers()]
        results.append([y.detach(), *gradients, *affine, *statistics])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_gradcheck():
    norms = make_norms(3, 2, 0.1)
    outputs = [torch.randn(3, 2, 2, 3, dtype=torch.float64, requires_grad=True) for _ in norms]
    weights = torch.rand(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda weights, *outputs: norm_sum(list(outputs), norms, weights), (weights, *outputs)
    )


@pytest.mark.parametrize("kind", [PDABlock, PDBBlock])
@pytest.mark.parametrize(("side", "stride"), [(9, 1), (9, 2), (2, 2), (1, 1), (1, 2)])
def test_a_blocks_training_step_is_that_of_its_branches(monkeypatch, kind, side, stride):
    """Also where the map is so small that it is convolved tap by tap."""
    torch.manual_seed(0)
    block = scramble(kind(64, 128, stride)).double()
    x, results = torch.randn(3, 64, side, side, dtype=torch.float64), []
    for fast in (True, False):
        one = copy.deepcopy(block)
        if not fast:
            monkeypatch.setattr(blocks, "serves", lambda *_: False)
            monkeypatch.setattr(TapConv2d, "forward", nn.Conv2d.forward)
        leaf = x.clone().requires_grad_()
        y = one(leaf)
        y.square().sum().backward()
        results.append([y.detach(), leaf.grad, *(p.grad for p in one.parameters()), *one.buffers()])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_it_is_used_in_training_and_keeps_no_more_than_the_convolutions_outputs():
    """For the gradient a block keeps its input and what the convolutions gave; beside them only small things."""
    block, x = PDBBlock(64, 64), torch.randn(4, 64, 16, 16, requires_grad=True)
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.setdefault(tensor.untyped_storage().data_ptr(), tensor), lambda tensor: tensor
    ):
        block(x).sum().backward()
    assert sum(tensor.numel() >= x.numel() for tensor in kept.values()) == 1 + 5


def norms_of(block: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]


def test_gradients_of_gradients():
    norms = make_norms(2, 2, 0.1)
    outputs = [torch.randn(2, 2, 2, 2, dtype=torch.float64, requires_grad=True) for _ in norms]
    weights = torch.rand(2, 2, dtype=torch.float64, requires_grad=True)
    for shares in ((), (weights,)):
        assert torch.autograd.gradgradcheck(
            lambda a, b, *shares: norm_sum([a, b], norms, *shares), (*outputs, *shares), nondet_tol=1e-12
        )


def set_all(name, value):
    return lambda block: [setattr(norm, name, value) for norm in norms_of(block)]


def hooked(register, *modules):
    """What registers a hook, which counts its calls, on the modules of some kinds."""

    def change(block):
        block.calls = []
        for module in block.modules():
            if isinstance(module, modules):
                getattr(module, register)(lambda *_: block.calls.append(register) and None)

    return change


class Doubled(nn.BatchNorm2d):
    def forward(self, x):
        return 2 * super().forward(x)


class Scaled(nn.Module):
    def forward(self, weight):
        return 3 * weight


def subclass(block):
    for norm in norms_of(block):
        norm.__class__ = Doubled


def own_forward(block):
    for norm in norms_of(block):
        norm.forward = lambda x, norm=norm: 2 * nn.BatchNorm2d.forward(norm, x)


def without(name):
    return lambda block: [norm.register_parameter(name, None) for norm in norms_of(block)]


def wrap_a_branch(block):
    block.standard1 = nn.Sequential(block.standard1, nn.ReLU())


def share_one(block):
    block.group.bn = block.standard1.bn


# What hangs on a block's BatchNorms (or its other parts), and whether `norm_sum` may still do their work.
VARIANTS = {
    "nothing": (lambda block: None, True),
    "momentum 0": (set_all("momentum", 0.0), True),
    "no count": (set_all("num_batches_tracked", None), True),
    "frozen": (lambda block: block.requires_grad_(False), True),
    "frozen affine": (lambda block: [norm.requires_grad_(False) for norm in norms_of(block)], True),
    "shared": (share_one, True),
    "one frozen affine": (lambda block: block.group.bn.requires_grad_(False), True),
    "eval": (lambda block: [norm.eval() for norm in norms_of(block)], False),
    "one eval": (lambda block: block.skeleton.horizontal.bn.eval(), False),
    "track_running_stats": (set_all("track_running_stats", False), False),
    "no statistics": (lambda block: [set_all(name, None)(block) for name in ("running_mean", "running_var")], False),
    "momentum None": (set_all("momentum", None), False),
    "no weight": (without("weight"), False),
    "no bias": (without("bias"), False),
    "not affine": (lambda block: [without(name)(block) for name in ("weight", "bias")], False),
    "subclass": (subclass, False),
    "own forward": (own_forward, False),
    "branch wrapped": (wrap_a_branch, False),
    "pruned": (lambda block: [prune.l1_unstructured(norm, "weight", 0.5) for norm in norms_of(block)], False),
    "pruned kernels": (lambda b: [prune.l1_unstructured(part.conv, "weight", 0.5) for part in b.parts()], True),
    "parametrised": (
        lambda block: [parametrize.register_parametrization(norm, "weight", Scaled()) for norm in norms_of(block)],
        False,
    ),
    "weight_norm of kernels": (
        lambda b: [nn.utils.parametrizations.weight_norm(part.conv) for part in b.parts()],
        True,
    ),
    **{
        f"{register} of {kind.__name__}": (hooked(register, kind), kind is nn.Conv2d)
        for register in ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook")
        for kind in (nn.BatchNorm2d, blocks.ConvBN, blocks.Skeleton, nn.Conv2d)
    },
    "register_full_backward_pre_hook": (hooked("register_full_backward_pre_hook", nn.BatchNorm2d), False),
}


def step(block, x, result=lambda block, x: block(x)):
    """A training step's outputs, gradients, statistics and calls of hooks."""
    leaf = x.clone().requires_grad_()
    y = result(block, leaf)
    y.square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in block.named_parameters()}
    return {"y": y.detach(), "x": leaf.grad, **gradients, **dict(block.named_buffers())}, getattr(block, "calls", [])


def assert_as_one_by_one(monkeypatch, block, other, x, served, result=lambda block, x: block(x)):
    """Steps of two equal blocks, with `norm_sum` and without; `served`: whether it did the work of the first."""
    called = []
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "norm_sum", lambda *given: called.append(1) or norm_sum(*given))
        ours = [step(block, x, result) for _ in range(2)]
        patch.setattr(blocks, "serves", lambda *_: False)
        theirs = [step(other, x, result) for _ in range(2)]
    assert bool(called) == served
    for (values, calls), (expected, expected_calls) in zip(ours, theirs):
        assert calls == expected_calls
        assert values.keys() == expected.keys()
        for name, value in values.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-8, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("side", [4, 1])
@pytest.mark.parametrize("kind", [PDABlock, PDBBlock])
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_hangs_on_its_modules_is_obeyed(monkeypatch, variant, kind, side):
    """A map of one pixel is convolved tap by tap as well."""
    torch.manual_seed(0)
    change, served = VARIANTS[variant]
    block = scramble(kind(8, 8)).double().train()
    x = torch.randn(4, 8, side, side, dtype=torch.float64)
    other = copy.deepcopy(block)
    change(block)
    change(other)
    assert_as_one_by_one(monkeypatch, block, other, x, served)
    if "register" in variant:
        assert block.calls


def test_a_hook_for_all_modules_is_called(monkeypatch):
    calls = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: calls.append(type(module)))
    PDABlock(8, 8)(torch.randn(2, 8, 4, 4))
    handle.remove()
    assert calls.count(nn.BatchNorm2d) == calls.count(TapConv2d) == 5
    assert calls.count(blocks.ConvBN) == 3 + 2 and calls.count(blocks.Skeleton) == 1


def in_autocast(block, x):
    with torch.autocast("cpu", torch.bfloat16):
        return block(x)


def penalised(block, x):
    (gradient,) = torch.autograd.grad(block(x).square().sum(), x, create_graph=True)
    return gradient


def forward_mode(block, x):
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(block(forward_ad.make_dual(x, torch.ones_like(x)))).tangent
    return x * tangent.detach()  # torch differentiates no softmax both ways


def func_grad(block, x):
    """Buffers must be given: torch lets none of others be changed."""

    def loss(z, buffers):
        return torch.func.functional_call(block, buffers, z).square().sum()

    return torch.func.grad(loss)(x, dict(block.named_buffers()))


def checkpointed(block, x):
    return checkpoint(block, x, use_reentrant=False)


CONTEXTS = {
    "autocast": (in_autocast, False),
    "a gradient's gradient": (penalised, True),
    "forward mode": (forward_mode, False),
    "torch.func.grad": (func_grad, False),
    "checkpointing": (checkpointed, True),
    "another's parameters": (lambda b, x: torch.func.functional_call(b, dict(b.named_parameters()), x), True),
    "a subclass of Tensor": (lambda block, x: block(x.as_subclass(Marked)).as_subclass(torch.Tensor), False),
}


class Marked(torch.Tensor):
    pass


@pytest.mark.parametrize("kind", [PDABlock, PDBBlock])
@pytest.mark.parametrize("context", CONTEXTS)
def test_what_is_asked_of_its_outputs_is_obeyed(monkeypatch, context, kind):
    torch.manual_seed(0)
    result, served = CONTEXTS[context]
    block = scramble(kind(8, 8)).train()
    x = torch.randn(4, 8, 3, 3)
    if context != "autocast":
        block, x = block.double(), x.double()
    assert_as_one_by_one(monkeypatch, block, copy.deepcopy(block), x, served, result)


@pytest.mark.parametrize("kind", [PDABlock, PDBBlock])
def test_an_ensemble_by_vmap(kind):
    block = scramble(kind(8, 8)).double().train()
    x = torch.randn(3, 4, 8, 3, 3, dtype=torch.float64)
    torch.func.replace_all_batch_norm_modules_(block)
    torch.testing.assert_close(torch.vmap(block)(x), torch.stack([block(one) for one in x]))


@pytest.mark.parametrize("kind", [PDABlock, PDBBlock])
@pytest.mark.parametrize("side", [3, 1])
def test_compiled_and_meta(kind, side):
    torch.manual_seed(0)
    block, x = scramble(kind(8, 8)).train(), torch.randn(4, 8, side, side)
    assert copy.deepcopy(block).to("meta")(x.to("meta")).shape == x.shape
    compiled = torch.compile(copy.deepcopy(block), backend="eager", fullgraph=True)
    ours, theirs = step(compiled._orig_mod, x, lambda _, z: compiled(z)), step(block, x)
    for name, value in ours[0].items():
        torch.testing.assert_close(value, theirs[0][name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_left_to_the_modules(monkeypatch, dtype):
    block = PDBBlock(8, 8).to(dtype).train()
    monkeypatch.setattr(blocks, "norm_sum", None)
    assert block(torch.randn(4, 8, 4, 4, dtype=dtype)).dtype == dtype


def test_one_value_a_channel_is_refused():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        PDABlock(64, 64)(torch.randn(1, 64, 1, 1))
