import pytest
import torch
import torch.nn.functional as F
from torch import nn

from paradise.kernels import add_to, conv_of, embed, fold


def test_embedding_puts_narrow_kernels_in_the_middle():
    assert embed(torch.ones(1, 1, 3, 1))[0, 0].tolist() == [[0, 1, 0]] * 3
    assert embed(torch.ones(1, 1, 1, 3))[0, 0].tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    blocks = embed(torch.ones(4, 2, 3, 3), groups=2)[:, :, 0, 0]
    assert blocks.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("shape", "groups"), [((6, 8, 3, 1), 1), ((6, 8, 1, 3), 1), ((6, 8, 3, 3), 1), ((6, 4, 3, 3), 2), ((6, 2, 3, 1), 2)]
)
def test_a_convolution_by_the_dense_kernel_is_that_by_the_small_one(shape, groups):
    kernel, x = torch.randn(shape).double(), torch.randn(2, shape[1] * groups, 5, 5).double()
    padding = (shape[2] // 2, shape[3] // 2)
    expected = F.conv2d(x, kernel, padding=padding, groups=groups)
    torch.testing.assert_close(F.conv2d(x, embed(kernel, groups), padding=1), expected)
    dense = torch.randn(6, 3, 3, shape[1] * groups).double()
    before = dense.clone()
    add_to(dense, kernel, groups, torch.tensor(0.3).double())
    torch.testing.assert_close(dense, before + 0.3 * embed(kernel, groups).permute(0, 2, 3, 1))


@torch.no_grad()
def test_a_convolution_like_another_is_one_in_all_but_kernel_and_bias():
    like = nn.Conv2d(8, 8, 3, 2, 2, dilation=2, groups=4, padding_mode="reflect", dtype=torch.float64)
    conv = conv_of(like.weight, like.bias, like)
    x = torch.randn(2, 8, 9, 9, dtype=torch.float64)
    assert torch.equal(conv(x), like(x))


@torch.no_grad()
def test_folding_a_dilated_convolution():
    conv, bn = nn.Conv2d(4, 6, 3, padding=2, dilation=2).double(), nn.BatchNorm2d(6).double().eval()
    bn.running_mean.uniform_(-1, 1)
    bn.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    torch.testing.assert_close(conv_of(*fold(conv, bn), conv)(x), bn(conv(x)))
