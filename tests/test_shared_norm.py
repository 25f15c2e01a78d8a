"""A SharedNorm under the tools that handle BatchNorms."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from paradise import convert
from paradise.conversion import SharedNorm


def test_update_bn_gives_the_mean_of_what_is_seen():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1))
    convert(model, "pd_a")
    averaged = AveragedModel(model)
    images = [torch.randn(4, 3, 6, 6) + i for i in range(5)]
    update_bn(images, averaged)
    branch = averaged.module[0].standard1
    seen = torch.cat([branch.conv(x) for x in images])
    torch.testing.assert_close(branch.bn.running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(branch.bn.running_var, seen.var((0, 2, 3), correction=0))
    assert branch.bn.momentum == 0.1


def test_without_tracking_its_statistics_stay():
    norm = SharedNorm(4)
    norm.track_running_stats = False
    norm(torch.randn(2, 4, 3, 3) + 5)
    assert not norm.running_mean.any() and norm.num_batches_tracked == 0
