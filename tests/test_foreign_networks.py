"""What `fuse`, `convert` and `calibrate` do with networks of others: exact, or left as it is, or refused by name."""

import copy
from collections.abc import Callable

import pytest
import torch
from conftest import scramble
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from paradise import UserError, calibrate, convert, fuse
from paradise.block import PDABlock
from paradise.conversion import SharedNorm

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, about the old weight_norm and spectral_norm
C = 4
Hang = Callable[[nn.Module], object]


class Custom(nn.Module):
    """A convolution and a BatchNorm, called by a forward."""

    def __init__(self, conv, bn):
        super().__init__()
        self.conv, self.bn = conv, bn

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Listed(nn.Module):
    def __init__(self, conv, bn):
        super().__init__()
        self.layers = nn.ModuleList([conv, bn])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


PLACES: dict[str, Callable[[nn.Module, nn.Module], nn.Module]] = {
    "top": nn.Sequential,
    "nested": lambda conv, bn: nn.Sequential(nn.Identity(), nn.Sequential(conv, bn), nn.ReLU()),
    "list": Listed,
    "forward": Custom,
    "deeper": lambda conv, bn: nn.Sequential(Custom(conv, bn), nn.ReLU()),
}


class Doubled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


class DoubledInside(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return 2 * super()._conv_forward(x, weight, bias)


class DoubledNorm(nn.BatchNorm2d):
    def forward(self, x):
        return 2 * super().forward(x)


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


class Tagged(torch.Tensor):
    pass


def double(module, args, output):
    return output * 2


def replace_forward(module):
    old = type(module).forward
    module.forward = lambda x: 2 * old(module, x)


def plainly(module):
    """Nothing is hung on it."""


def tag_parameter(module):
    module.weight.multiplier = 2


def subclass_parameter(module):
    module.weight = nn.Parameter(module.weight.detach().as_subclass(Tagged))


CONVS = {"plain": nn.Conv2d, "own forward": Doubled, "own _conv_forward": DoubledInside}
NORMS = {"plain": nn.BatchNorm2d, "own forward": DoubledNorm, "synchronised": nn.SyncBatchNorm}
HANGS: dict[str, Hang] = {
    "nothing": plainly,
    "forward hook": lambda m: m.register_forward_hook(double),
    "forward pre-hook": lambda m: m.register_forward_pre_hook(lambda module, args: (args[0] * 3,)),
    "hook with kwargs": lambda m: m.register_forward_hook(lambda m, a, k, y: y * 2, with_kwargs=True),
    "backward hook": lambda m: m.register_full_backward_hook(lambda module, inputs, outputs: None),
    "backward pre-hook": lambda m: m.register_full_backward_pre_hook(lambda module, outputs: None),
    "state-dict hook": lambda m: m.register_state_dict_post_hook(lambda *args: None),
    "state-dict pre-hook": lambda m: m.register_state_dict_pre_hook(lambda *args: None),
    "load hook": lambda m: m.register_load_state_dict_pre_hook(lambda *args: None),
    "load post-hook": lambda m: m.register_load_state_dict_post_hook(lambda *args: None),
    "parametrisation": lambda m: parametrize.register_parametrization(m, "weight", Halved()),
    "attribute": lambda m: setattr(m, "my_tag", 1),
    "buffer": lambda m: m.register_buffer("mine", torch.ones(1)),
    "fleeting buffer": lambda m: m.register_buffer("mine", torch.ones(1), persistent=False),
    "child": lambda m: m.add_module("mine", nn.Identity()),
    "instance's forward": replace_forward,
    "parameter's attribute": tag_parameter,
    "parameter's hook": lambda m: m.weight.register_hook(lambda gradient: gradient),
    "parameter's class": subclass_parameter,
}
CONV_HANGS: dict[str, Hang] = {
    "weight_norm": nn.utils.weight_norm,
    "weight_norm, parametrised": parametrizations.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "spectral_norm, parametrised": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "pruning": lambda m: prune.l1_unstructured(m, "weight", 0.5),
    "pruning of channels": lambda m: prune.ln_structured(m, "weight", 0.5, n=2, dim=0),
}
CASES = [
    *[("conv", name, hang) for name, hang in (HANGS | CONV_HANGS).items()],
    *[("bn", name, hang) for name, hang in HANGS.items()],
]


def make(place: str, conv: str = "plain", bn: str = "plain", bias: bool = False) -> nn.Module:
    torch.manual_seed(0)
    network = PLACES[place](CONVS[conv](3, C, 3, padding=1, bias=bias), NORMS[bn](C))
    return scramble(network).double().eval()


def find(network: nn.Module, which: str) -> nn.Module:
    kind = nn.Conv2d if which == "conv" else nn.modules.batchnorm._BatchNorm
    return next(module for module in network.modules() if isinstance(module, kind))


def images(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def step(network: nn.Module) -> None:
    """A forward, and then other weights, as a checkpoint or an optimizer's step brings them."""
    with torch.no_grad():
        network(images())
        for parameter in network.parameters():
            parameter.mul_(1.5)


def shown(module: nn.Module) -> dict[str, object]:
    """What a module carries, by name."""
    carried = {key: len(value) if isinstance(value, dict) else value for key, value in vars(module).items()}
    return {key: value for key, value in carried.items() if not isinstance(value, torch.Tensor)}


def assert_same(a: nn.Module, b: nn.Module) -> None:
    with torch.no_grad():
        torch.testing.assert_close(b(images()), a(images()), rtol=1e-10, atol=1e-10)


def folded(network: nn.Module) -> bool:
    return not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


# Each in one of the places, one after the other; hypothesis crosses them.
EVERYWHERE = [(list(PLACES)[i % len(PLACES)], *case) for i, case in enumerate(CASES)]
EVERYWHERE += [(place, *CASES[0]) for place in PLACES]
hung = pytest.mark.parametrize(
    ("place", "which", "name", "hang"),
    EVERYWHERE,
    ids=[f"{which}-{name}-{place}" for place, which, name, _ in EVERYWHERE],
)


@pytest.mark.parametrize("moved", [False, True], ids=["fresh", "moved"])
@hung
def test_what_is_hung_on_a_module_is_not_folded_away(place, which, name, hang, moved):
    network = make(place)
    hang(find(network, which))
    if moved:
        step(network)
    if name == "parameter's class":
        with pytest.raises(UserError, match=r"^'[\d.a-z]+\.weight' cannot be copied; take it off the network, then"):
            fuse(network)
        return
    before, state = copy.copy(network.state_dict()), torch.get_rng_state()
    carried = shown(find(network, which))
    fused = fuse(network)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(network, fused)
    # Gradients' hooks no copy has, and no inference needs.
    assert folded(fused) == (name in ("nothing", "parameter's hook"))
    if not folded(fused):
        assert shown(find(fused, which)).keys() == carried.keys()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(("conv", "bn"), [(c, "plain") for c in CONVS] + [("plain", n) for n in NORMS])
@pytest.mark.parametrize("place", PLACES)
def test_only_what_is_known_is_folded(place, conv, bn):
    network = make(place, conv, bn, bias=True)
    fused = fuse(network)
    assert_same(network, fused)
    assert folded(fused) == (conv == "plain" and bn != "own forward")


@hung
def test_what_is_hung_on_a_module_is_not_converted_away(place, which, name, hang):
    network = make(place)
    hang(find(network, which))
    before = copy.deepcopy(list(network.state_dict()))
    if name == "nothing":
        original = copy.deepcopy(network)
        convert(network, "pd_b")
        assert_same(original, network)
        assert not any(isinstance(module, SharedNorm) for module in network.modules())
        return
    (target,) = (name for name, module in network.named_modules() if module is find(network, which))
    with pytest.raises(UserError, match=r"^'[^']+' cannot become a ParaDise block: [^\n]+$") as raised:
        convert(network, "pd_b")
    assert f"'{target}'" in str(raised.value)
    assert list(network.state_dict()) == before


@pytest.mark.parametrize("place", PLACES)
def test_a_batchnorm_of_another_class_is_named_and_can_be_kept(place):
    network = make(place, bn="own forward")
    with pytest.raises(UserError, match=r"behind it is a DoubledNorm, not a plain BatchNorm2d; say `norms=") as raised:
        convert(network, "pd_a")
    original, conv = copy.deepcopy(network), str(raised.value).split("'")[1]
    convert(network, "pd_a", norms={conv: None})
    assert_same(original, network)
    assert_same(original, fuse(network))


@pytest.mark.parametrize("kind", ["pd_a", "pd_b"])
@pytest.mark.parametrize("preserve", [True, False])
def test_a_synchronised_batchnorm_gives_synchronised_branches(kind, preserve):
    network = make("forward", bn="synchronised", bias=True)
    plain = make("forward", bias=True)
    original = copy.deepcopy(network)
    for one in (network, plain):
        convert(one, kind, preserve=preserve)
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert all(type(part.bn) is nn.SyncBatchNorm for part in network.conv.parts())
    assert_same(network if not preserve else original, fuse(network))


@given(
    st.lists(st.tuples(st.sampled_from(CASES), st.sampled_from(list(PLACES)), st.booleans()), min_size=1, max_size=3),
    st.sampled_from(list(CONVS)),
    st.sampled_from(list(NORMS)),
    st.sampled_from(["fuse", "pd_a", "pd_b"]),
)
@settings(max_examples=30, deadline=None)
def test_exact_or_left_alone_or_refused_in_one_line(hung, conv, bn, how):
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for (which, _, hang), place, moved in hung:
        part = make(place, conv, bn) if not parts else PLACES[place](nn.Conv2d(C, C, 3, padding=1), nn.BatchNorm2d(C))
        hang(find(scramble(part).double(), which))
        parts.append(part)
        if moved:
            step(nn.Sequential(*parts).eval())
    network = nn.Sequential(*parts).eval()
    try:
        original = fuse(network)  # a copy that deepcopy alone cannot make
        result = original
        if how != "fuse":
            result = network
            convert(result, how)
    except UserError as error:
        assert "\n" not in str(error)
        assert any(f"'{name}" in str(error) for name, _ in network.named_modules() if name)
        return
    assert_same(network if how == "fuse" else original, result)


# Which path is followed.


class Flags(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, C, 3, padding=1), nn.BatchNorm2d(C)


class Detection(Flags):
    def forward(self, x):
        y = self.conv(x)
        return self.bn(y) if self.training else torch.cat([y, self.bn(y)], 1)


class OnlyInTraining(Flags):
    def forward(self, x):
        y = self.conv(x)
        return self.bn(y) if self.training else y


class OnlyAtInference(Flags):
    def forward(self, x):
        y = self.conv(x)
        return y if self.training else self.bn(y)


class Flag(Flags):
    def forward(self, x, norm=True):
        y = self.conv(x)
        return self.bn(y) if norm else y


class KeywordFlag(Flags):
    def forward(self, x, *, norm=True):
        return Flag.forward(self, x, norm)


class Optional(Flags):
    def forward(self, x, scale=None):
        y = self.conv(x)
        return self.bn(y) if scale is None else self.bn(y * scale)


class Both(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return torch.cat([self.part(x), self.part(x, norm=False)], 1)


class Once(Both):
    def forward(self, x):
        return self.part(x)


class Taps(nn.Module):
    """Calls the layers of a Sequential one by one, and keeps what it likes."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, C, 3, padding=1), nn.BatchNorm2d(C), nn.ReLU())

    def forward(self, x):
        kept = []
        for layer in self.features:
            x = layer(x)
            kept.append(x)
        return torch.cat(kept, 1)


class UnfollowableTaps(Taps):
    def forward(self, x):
        return super().forward(torch.stack([image for image in x]))


class Size(Flags):
    def forward(self, x):
        y = self.conv(x)
        return self.bn(y) if x.shape[-1] > 6 else y


class Kind(Flags):
    def forward(self, x):
        y = self.conv(x)
        return y if isinstance(x, torch.Tensor) else self.bn(y)


class Penalised(Flags):
    def forward(self, x):
        return self.bn(self.conv(x)) * self.conv.weight.norm()


class Statistics(Flags):
    def forward(self, x):
        return self.bn(self.conv(x)) - self.bn.running_mean[:, None, None]


class Reached(nn.Module):
    """Calls a part of a part, beside the whole of it."""

    def __init__(self):
        super().__init__()
        self.part = Custom(nn.Conv2d(3, C, 3, padding=1), nn.BatchNorm2d(C))

    def forward(self, x):
        return self.part(x) + self.part.conv(x)


class Hidden(Flags):
    def __init__(self):
        super().__init__()
        self.layers = [self.conv, self.bn]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Twice(Flags):
    def forward(self, x):
        return self.bn(self.conv(x)) + self.bn(self.conv(x + 1))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = (Custom(nn.Conv2d(3, C, 3, padding=1), nn.BatchNorm2d(C)) for _ in range(2))
        self.second.conv.weight = self.first.conv.weight

    def forward(self, x):
        return self.first(x) + self.second(x)


class Checked(Flags):
    def forward(self, x):
        assert x.shape[1] == 3, "three channels"
        if x.dim() != 4:
            raise ValueError("images")
        batch, _, height, width = x.shape
        return self.bn(self.conv(x)).reshape(batch, C, height, width)


class Checkpointed(Flags):
    def forward(self, x):
        def inside(x):
            return self.bn(self.conv(x))

        if x.requires_grad:
            return torch.utils.checkpoint.checkpoint(inside, x, use_reentrant=False)
        return inside(x)


class Remembering(Flags):
    """Keeps what it computed, and counts."""

    def __init__(self):
        super().__init__()
        self.seen, self.calls = [], 0

    def forward(self, x):
        self.calls += 1
        self.seen.append(self.bn(self.conv(x)))
        return self.seen.pop()


class Wrapped(nn.Module):
    """A BatchNorm inside of another module."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, C, 3, padding=1), Once(nn.BatchNorm2d(C))

    def forward(self, x):
        return self.norm(self.conv(x))


class Unfollowable(Flags):
    def forward(self, x):
        return torch.cat([self.bn(self.conv(image[None])) for image in x])


def never_folded() -> list[nn.Module]:
    flags = [Detection(), OnlyInTraining(), Flag(), KeywordFlag(), Both(Flag()), Size(), Kind(), Optional()]
    return [*flags, Taps(), UnfollowableTaps(), Penalised(), Statistics(), Reached(), Hidden(), Twice(), Tied(),
            Wrapped(), Unfollowable()]  # fmt: skip


def names(networks: list[nn.Module]) -> list[str]:
    return [type(network).__name__ for network in networks]


@pytest.mark.parametrize("network", never_folded(), ids=names(never_folded()))
@pytest.mark.parametrize("training", [True, False])
def test_what_may_go_another_way_is_not_folded(network, training):
    network = scramble(copy.deepcopy(network)).double().train(training)
    fused = fuse(network)
    assert not folded(fused)
    assert network.training == training
    assert_same(network.eval(), fused)


def always_folded() -> list[nn.Module]:
    return [OnlyAtInference(), Once(Flag()), Once(KeywordFlag()), Checked(), Checkpointed(), Remembering()]


@pytest.mark.parametrize("network", always_folded(), ids=names(always_folded()))
def test_what_always_goes_one_way_is_folded(network):
    network = scramble(copy.deepcopy(network)).double()
    fused = fuse(network)
    assert folded(fused)
    assert_same(network.eval(), fused)
    assert not any(isinstance(value, torch.fx.Proxy) for value in vars(fused).values())
    assert getattr(fused, "seen", []) == []


CONVERTED = {  # which BatchNorms are left, or what is said
    "Detection": 1,
    "Twice": 1,
    "Taps": 1,
    "OnlyInTraining": 1,
    "OnlyAtInference": 1,
    "Flag": "'bn' follows it only at times",
    "Both": "'part.bn' follows it only at times",
    "Size": "'bn' follows it only at times",
    "Unfollowable": "Unfollowable.forward cannot be followed",
    "UnfollowableTaps": "UnfollowableTaps.forward cannot be followed",
    "Penalised": "it has a parameter that another module's forward reads",
    "Hidden": "it is also in a list",
    "Tied": "it shares a parameter with another module",
    "Wrapped": "'norm' behind it is a Once, not a plain BatchNorm2d",
    "Once": 0,
    "Checked": 0,
    "Checkpointed": 0,
    "Remembering": 0,
}


@pytest.mark.parametrize("kind", ["pd_a", "pd_b"])
@pytest.mark.parametrize("name", CONVERTED)
def test_no_batchnorm_is_passed_over_without_a_word(name, kind):
    network = next(one for one in never_folded() + always_folded() if type(one).__name__ == name)
    network = scramble(network).double().eval()
    original, expected = copy.deepcopy(network), CONVERTED[name]
    if isinstance(expected, str):
        with pytest.raises(UserError, match=rf"^'[^']+' cannot become a ParaDise block: {expected}[^\n]*$"):
            convert(network, kind)
        assert not any(isinstance(module, PDABlock) for module in network.modules())
    else:
        convert(network, kind)
        inside = {m for block in network.modules() if isinstance(block, PDABlock) for m in block.modules()}
        assert sum(isinstance(m, nn.BatchNorm2d) and m not in inside for m in network.modules()) == expected
    assert_same(original, network)


def test_norms_say_what_cannot_be_followed():
    network = scramble(Unfollowable()).double().eval()
    original = copy.deepcopy(network)
    for norms, said in (
        ({"conv": "norm"}, "`norms` names 'norm', which is no module; did you mean|choose"),
        ({"cov": "bn"}, "`norms` names 'cov', which `where` does not mean; did you mean 'conv'"),
        ({"conv": "conv"}, "'conv' behind it is a Conv2d, not a plain BatchNorm2d"),
    ):
        with pytest.raises(UserError, match=said):
            convert(network, "pd_a", norms=norms)
    convert(network, "pd_a", norms={"conv": "bn"})
    assert isinstance(network.bn, nn.Identity)
    assert_same(original, network)
    with pytest.raises(UserError, match=r"^'bn' does not follow 'conv', as `norms` says"):
        convert(Detection(), "pd_a", norms={"conv": "bn"})


# The state of its parts.


@pytest.mark.parametrize("kind", ["pd_a", "pd_b"])
@pytest.mark.parametrize("preserve", [True, False])
def test_frozen_stays_frozen_and_trainable_stays_trainable(kind, preserve):
    network = make("forward", bias=True).train()
    network.conv.weight.requires_grad_(False)
    network.bn.eval()
    network.bn.bias.requires_grad_(False)
    network.bn.eps, network.bn.momentum = 1e-3, 0.03
    convert(network, kind, preserve=preserve)
    assert network.training and network.conv.training and not network.bn.training
    for part in network.conv.parts():
        assert not part.conv.weight.requires_grad and part.bn.weight.requires_grad and not part.bn.bias.requires_grad
        assert not part.bn.training and (part.bn.eps, part.bn.momentum) == (1e-3, 0.03)


@pytest.mark.parametrize("broken", [True, False])
def test_calibrate_leaves_every_mode_and_hook_as_it_was(broken):
    network = nn.Sequential(make("forward"), nn.Conv2d(C, C, 3, padding=1).double(), nn.BatchNorm2d(C), nn.Dropout())
    convert(network, "pd_a", "1", norms={"1": None})
    network.train()
    network[0].bn.eval()
    modes = [module.training for module in network.modules()]
    before = copy.deepcopy(network.state_dict())

    def forward(model):
        assert not any(module.training for module in model.modules())
        model[:2](images())
        if broken:
            raise KeyError("images")

    if broken:
        with pytest.raises(KeyError):
            calibrate(network, forward)
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    else:
        calibrate(network, forward)
        assert not torch.equal(network[1].standard1.bn.running_mean, before["1.standard1.bn.running_mean"])
    assert [module.training for module in network.modules()] == modes
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_named(number):
    for key in ("conv.weight", "bn.weight", "bn.running_var"):
        network = make("forward")
        network.state_dict()[key].view(-1)[1] = number
        for work in (fuse, lambda network: convert(network, "pd_a"), lambda network: calibrate(network, print)):
            with pytest.raises(UserError, match=rf"^'{key}' has numbers that are none \(NaN or infinity\); [^\n]+$"):
                work(network)
    network = nn.Sequential(nn.Conv2d(3, C, 3, padding=1))
    convert(network, "pd_a")
    with pytest.raises(UserError, match=r"^'0\.standard1\.bn' saw numbers that are none \(NaN or infinity\); [^\n]+$"):
        calibrate(network, lambda network: network(torch.full((1, 3, 4, 4), number)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("how", ["fuse", "pd_a", "pd_b"])
def test_number_types_and_memory_formats_stay(dtype, how):
    network = make("forward", bias=True).to(dtype).to(memory_format=torch.channels_last)
    network.conv.weight.requires_grad_(False)
    original = copy.deepcopy(network)
    if how == "fuse":
        result = fuse(network)
    else:
        convert(result := network, how)
    kernels = [module.weight for module in result.modules() if isinstance(module, nn.Conv2d)]
    assert {p.dtype for p in result.parameters()} == {dtype}
    assert all(
        kernel.is_contiguous(memory_format=torch.channels_last) and not kernel.requires_grad for kernel in kernels
    )
    x = images().to(dtype)
    with torch.no_grad():
        tolerance = 30 * torch.finfo(dtype).eps * float(original(x).abs().max())
        torch.testing.assert_close(result(x), original(x), rtol=0, atol=tolerance)


def test_what_half_precision_cannot_hold_is_left_as_it_is():
    network = make("forward").half()
    network.conv.weight.data.fill_(60000)
    network.bn.running_var.fill_(0.01)
    assert not folded(fuse(network))


@pytest.mark.parametrize("part", ["conv", "conv.standard1", "conv.standard1.conv", "conv.skeleton.vertical.bn"])
@pytest.mark.parametrize("name", [name for name, hang in HANGS.items() if "param" not in name and name != "nothing"])
def test_what_hangs_on_a_block_is_named(part, name):
    network = make("forward")
    convert(network, "pd_a")
    module = network.get_submodule(part)
    HANGS[name](module)
    with pytest.raises(UserError, match=rf"^'{part}' cannot be fused: it [^\n]+, which would be lost$"):
        fuse(network)


def test_what_cannot_be_copied_is_named():
    network = make("forward")
    network.conv.lock = __import__("threading").Lock()
    with pytest.raises(UserError, match=r"^'conv\.lock' cannot be copied; take it off the network, then fuse it$"):
        fuse(network)
