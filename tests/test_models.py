import subprocess
import sys

import pytest
import torch
from torch import nn

from paradise import create_model, list_models
from paradise.block import PDABlock, PDBBlock
from paradise.errors import UserError


def torchvision_shapes(depth: int) -> dict[str, tuple]:
    """Keys and shapes of torchvision's resnet18 or resnet50 state dict, by its documented structure."""
    shapes = {}

    def conv(key, out_channels, in_channels, side):
        shapes[f"{key}.weight"] = (out_channels, in_channels, side, side)

    def norm(key, channels):
        shapes.update({f"{key}.{name}": (channels,) for name in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{key}.num_batches_tracked"] = ()

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    incoming = 64
    for stage, blocks in enumerate({18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth], start=1):
        width = 64 * 2 ** (stage - 1)
        outgoing = width if depth == 18 else 4 * width
        for i in range(blocks):
            key = f"layer{stage}.{i}"
            if depth == 18:
                layers = [(width, incoming, 3), (width, width, 3)]
            else:
                layers = [(width, incoming, 1), (width, width, 3), (outgoing, width, 1)]
            for number, layer in enumerate(layers, start=1):
                conv(f"{key}.conv{number}", *layer)
                norm(f"{key}.bn{number}", layer[0])
            if i == 0 and incoming != outgoing:
                conv(f"{key}.downsample.0", outgoing, incoming, 1)
                norm(f"{key}.downsample.1", outgoing)
            incoming = outgoing
    shapes |= {"fc.weight": (1000, incoming), "fc.bias": (1000,)}
    return shapes


@pytest.mark.parametrize("depth", [18, 50])
def test_plain_resnets_have_torchvisions_keys(depth):
    model = create_model(f"resnet{depth}")
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == torchvision_shapes(depth)


def test_strides_are_in_the_3x3_convolutions():
    """ "v1.5": of a bottleneck, the middle convolution carries the stride."""
    for name in ("resnet50", "pd_b_resnet50"):
        block = create_model(name, 10).layer2[0]
        assert block.conv1.stride == (1, 1)
        assert block.conv2.stride in ((2, 2), 2)
        assert block.conv3.stride == (1, 1)


@pytest.mark.parametrize("name", list_models())
def test_every_model_maps_images_to_logits_and_trains(name):
    torch.manual_seed(0)
    model = create_model(name, num_classes=7)
    logits = model(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    blocks = [module for module in model.modules() if isinstance(module, PDABlock)]
    assert len(blocks) == (0 if "pd_" not in name and "ac_" not in name else 8 * 2 if "18" in name else 16)
    assert all(isinstance(block, PDBBlock) == ("pd_b" in name) for block in blocks)
    assert not any(isinstance(bn, nn.BatchNorm2d) for block in blocks for bn in [_bn_after(model, block)])


def _bn_after(model: nn.Module, block: nn.Module) -> nn.Module:
    name = next(name for name, module in model.named_modules() if module is block)
    return model.get_submodule(name.replace("conv", "bn"))


def test_branches_choose_the_ablations_models():
    model = create_model("pd_b_resnet18", 10, branches=("skeleton", "standard1"))
    block = model.layer1[0].conv1
    assert block.branch_names == ("standard1", "skeleton")
    assert block.gate.expand.out_features == 2


def test_initialisation_is_kaiming_fan_out_without_zeroed_branches():
    torch.manual_seed(0)
    model = create_model("pd_a_resnet50")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[:, 0].numel()
            if module.weight.numel() > 20000:
                assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pd_b_resnet34",), "unknown model 'pd_b_resnet34'; did you mean 'pd_b_resnet50'?"),
        (("vgg",), f"unknown model 'vgg'; choose from {', '.join(list_models())}"),
        (
            ("pd_b_resnet18", 10, ("standard1", "groups")),
            "unknown branch 'groups' of 'pd_b_resnet18'; did you mean 'group'?",
        ),
        (
            ("pd_a_resnet18", 10, ("group",)),
            "'pd_a_resnet18' needs the branch 'standard1'; given: group",
        ),
        (
            ("pd_a_resnet18", 10, ("standard1", "group", "group")),
            "'pd_a_resnet18' was given a branch twice: standard1, group, group",
        ),
        (
            ("pd_b_resnet18", 10, ("standard1",)),
            "'pd_b_resnet18' needs two branches or more: over one, its gate is the constant 1",
        ),
        (
            ("se_resnet18", 10, ("standard1",)),
            "'se_resnet18' has no branches to choose; only pd_a_ and pd_b_ models do",
        ),
    ],
)
def test_wrong_names_are_refused(arguments, message):
    with pytest.raises(UserError) as error:
        create_model(*arguments)
    assert str(error.value) == message


def test_the_names_are_the_twelve_models_of_the_paper_plain_first():
    kinds = ("", "ac_", "ge_", "pd_a_", "pd_b_", "se_")
    assert list_models() == [f"{kind}resnet{depth}" for depth in (18, 50) for kind in kinds]


def test_names_are_listed_without_torch():
    code = "import sys, paradise; paradise.list_models(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_se_scales_the_residual_branch_before_the_addition():
    model = create_model("se_resnet18", 10).eval()
    block = model.layer1[0]
    block.attention.expand.weight.data.zero_()
    block.attention.expand.bias.data.fill_(-1000)
    x = torch.rand(2, 64, 8, 8)
    torch.testing.assert_close(block(x), x)


def test_ge_skips_stages_on_small_maps():
    gather = create_model("ge_resnet18", 10).layer1[0].attention.eval()
    for side, stages in ((1, 0), (3, 0), (4, 1), (7, 2), (8, 2), (14, 3), (56, 3)):
        ran: list[int] = []
        hooks = [stage.register_forward_hook(lambda *_, ran=ran: ran.append(1)) for stage in gather.gather]
        assert gather(torch.randn(1, 64, side, side)).shape == (1, 64, side, side)
        for hook in hooks:
            hook.remove()
        assert len(ran) == stages
