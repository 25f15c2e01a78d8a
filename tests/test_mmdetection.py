"""The backbone, named in mmdetection's own configurations and run by its own runner."""

import json
import math
import textwrap
from pathlib import Path
from types import SimpleNamespace

import mmdet
import pytest
import torch
from conftest import scramble
from mmdet.models import ResNet
from mmdet.registry import HOOKS
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import nn
from uncompiled import copy_mmcv, run_with

from paradise import create_model, fuse
from paradise.conversion import SharedNorm
from paradise.errors import UserError
from paradise.mmdetection import ParaDiseResNet
from paradise.study.detection.compose import write_digits
from paradise.weights import save_weights

init_default_scope("mmdet")
MMLogger.get_instance("paradise", log_level="ERROR")
pytestmark = pytest.mark.slow


def test_statistics_are_kept_in_training():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), SharedNorm(4), nn.Dropout()).train()
    HOOKS.build({"type": "KeepStatistics"}).before_train_iter(SimpleNamespace(model=network), 0)
    assert [part.training for part in network] == [True, False, False, True]


def test_the_plain_backbone_is_mmdetections():
    ours, theirs = ParaDiseResNet(50), ResNet(50)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "kind", "depth"),
    [
        ("resnet18", None, 18),
        ("pd_a_resnet18", "pd_a", 18),
        ("pd_b_resnet18", "pd_b", 18),
        ("pd_b_resnet50", "pd_b", 50),
    ],
)
@torch.no_grad()
def test_features_are_the_classifications(name, kind, depth, tmp_path):
    """Both forms, from this project's weights: the last map's mean, through the classifier, is the logits."""
    model = scramble(create_model(name, 10)).eval()
    x = torch.randn(2, 3, 64, 64)
    for fused, network in ((False, model), (True, fuse(model))):
        path = tmp_path / f"{fused}.safetensors"
        save_weights(network, path)
        checkpoint = {"type": "Pretrained", "checkpoint": str(path)}
        backbone = ParaDiseResNet(depth, kind, fused=fused, init_cfg=checkpoint)
        backbone.init_weights()
        backbone.eval()
        features = backbone(x)
        assert len(features) == 4
        logits = network.fc(features[-1].mean((2, 3)))
        torch.testing.assert_close(logits, network(x), rtol=1e-4, atol=1e-4 * float(network(x).abs().max()))


@torch.no_grad()
def test_a_backbone_alone_can_be_fused():
    backbone = scramble(ParaDiseResNet(50, "pd_a"))
    backbone.eval()
    x = torch.randn(1, 3, 64, 64)
    for a, b in zip(backbone(x), fuse(backbone)(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()))


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        (
            "pd_a_resnet50",
            None,
            "lacks layer1.0.bn2.bias, layer1.0.bn2.num_batches_tracked, layer1.0.bn2.running_mean and 93 more keys and "
            "has layer1.0.conv2.group.bn.bias, layer1.0.conv2.group.bn.num_batches_tracked, "
            "layer1.0.conv2.group.bn.running_mean and 477 more keys",
        ),
        (
            "resnet50",
            "pd_a",
            "lacks layer1.0.conv2.group.bn.bias, layer1.0.conv2.group.bn.num_batches_tracked, "
            "layer1.0.conv2.group.bn.running_mean and 477 more keys and has layer1.0.bn2.bias, "
            "layer1.0.bn2.num_batches_tracked, layer1.0.bn2.running_mean and 93 more keys",
        ),
        (
            "pd_a_resnet50",
            "pd_b",
            "lacks layer1.0.conv2.gate.expand.bias, layer1.0.conv2.gate.expand.weight, layer1.0.conv2.gate.reduce.bias "
            "and 61 more keys",
        ),
    ],
)
def test_weights_of_another_backbone_are_refused(name, kind, said, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(create_model(name, 10), path)
    backbone = ParaDiseResNet(50, kind, init_cfg={"type": "Pretrained", "checkpoint": str(path)})
    with pytest.raises(UserError) as raised:
        backbone.init_weights()
    assert str(raised.value) == f"{path} is of another model: it {said}"


def test_missing_weights_are_one_line():
    missing = ParaDiseResNet(50, init_cfg={"type": "Pretrained", "checkpoint": "nowhere.safetensors"})
    with pytest.raises(UserError, match=r"^no weights at nowhere\.safetensors$"):
        missing.init_weights()


def test_settings_mean_what_they_mean_in_mmdetection():
    x = torch.randn(1, 3, 64, 64)
    backbone = ParaDiseResNet(50, "pd_b", out_indices=(1, 3), frozen_stages=2, norm_eval=True, style="caffe")
    backbone.train()
    plain = ResNet(50, out_indices=(1, 3), style="caffe")
    assert [y.shape for y in backbone(x)] == [y.shape for y in plain(x)]
    # "caffe" has the stride in the first 1×1 convolution, so the block's is 1
    assert backbone.layer2[0].conv1.stride == (2, 2) and backbone.layer2[0].conv2.standard1.conv.stride == (1, 1)
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad != name.startswith(("conv1", "bn1", "layer1", "layer2")), name
    assert not any(module.training for module in backbone.modules() if isinstance(module, nn.BatchNorm2d))
    free = ParaDiseResNet(50, "pd_b", frozen_stages=-1, norm_eval=False)
    free.train()
    assert all(module.training for module in free.modules() if isinstance(module, nn.BatchNorm2d))
    assert all(parameter.requires_grad for parameter in free.parameters())


@pytest.fixture(scope="module")
def uncompiled(tmp_path_factory) -> Path:
    """An mmcv that was not compiled, with this project's operators."""
    mmcv = copy_mmcv(tmp_path_factory.mktemp("uncompiled"))
    installed = run_with(mmcv, "-m", "paradise.mmcv_operators")
    assert installed.returncode == 0, installed.stderr
    return mmcv


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder, {"train": 20, "val": 20})
    return folder


def run_tool(mmcv: Path, tool: str, folder: Path, *arguments: object) -> None:
    """Runs one of mmdetection's own tools with the configuration `mine.py` in `folder`."""
    path = Path(mmdet.__file__).parent / ".mim" / "tools" / tool
    done = run_with(mmcv, path, folder / "mine.py", *arguments, cwd=folder)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for path in folder.glob("*/vis_data/scalars.json") for line in path.open()]


def write_configuration(folder: Path, base: str, images: Path, settings: str) -> None:
    """One file as a user would write it: the backbone's lines, and where the data are."""
    (folder / "mine.py").write_text(
        textwrap.dedent(f"""
            _base_ = "mmdet::{base}"
            custom_imports = dict(imports=["paradise.mmdetection"])
            classes = tuple("01")
            data = dict(data_root="{images}/", metainfo=dict(classes=classes))
            train_dataloader = dict(
                num_workers=0, persistent_workers=False,
                dataset=dict(**data, ann_file="annotations/instances_train.json", data_prefix=dict(img="train/")),
            )
            val_dataloader = dict(
                num_workers=0, persistent_workers=False,
                dataset=dict(**data, ann_file="annotations/instances_val.json", data_prefix=dict(img="val/")),
            )
            val_evaluator = dict(ann_file="{images}/annotations/instances_val.json")
            test_dataloader, test_evaluator = val_dataloader, val_evaluator
            train_cfg = dict(max_epochs=1)
            work_dir = "{folder}/work"
        """)
        + textwrap.dedent(settings)
    )


SMALL = ["train_dataloader.dataset.pipeline.2.scale=(64,64)", "val_dataloader.dataset.pipeline.1.scale=(64,64)"]


def test_a_users_retinanet_is_trained_and_tested_by_mmdetections_tools(images, uncompiled, tmp_path):
    """Without mmcv's compiled operators. `test.py` needs them before it reads what the configuration imports."""
    # Without weights the BatchNorms have no statistics to go by. After one epoch no score is above the threshold.
    write_configuration(
        tmp_path,
        "retinanet/retinanet_r18_fpn_1x_coco.py",
        images,
        """
        model = dict(
            backbone=dict(type="ParaDiseResNet", kind="pd_a", init_cfg=None, norm_eval=False, frozen_stages=-1),
            bbox_head=dict(num_classes=2),
            test_cfg=dict(score_thr=0.0),
        )
        """,
    )
    run_tool(uncompiled, "train.py", tmp_path, "--cfg-options", *SMALL)
    lines = logged(tmp_path / "work")
    assert all(math.isfinite(line["loss"]) for line in lines if "loss" in line)
    trained = next(line["coco/bbox_mAP"] for line in lines if "coco/bbox_mAP" in line)
    weights = tmp_path / "work" / "epoch_1.pth"
    assert "backbone.layer4.1.conv2.group.conv.weight" in torch.load(weights, weights_only=False)["state_dict"]
    run_tool(
        uncompiled,
        "test.py",
        tmp_path,
        weights,
        "--work-dir",
        tmp_path / "tested",
        "--cfg-options",
        SMALL[1].replace("val", "test"),
    )
    (tested,) = (json.loads(path.read_text()) for path in (tmp_path / "tested").glob("*/*.json"))
    assert tested["coco/bbox_mAP"] == trained


def test_a_users_cascade_rcnn_is_trained_with_a_spawned_worker(images, uncompiled, tmp_path):
    """The worker begins as a Python of its own, which has read no configuration when it is given the images."""
    write_configuration(
        tmp_path,
        "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
        images,
        """
        model = dict(
            backbone=dict(
                type="ParaDiseResNet", depth=18, kind="pd_b", init_cfg=None, norm_eval=False, frozen_stages=-1
            ),
            neck=dict(in_channels=[64, 128, 256, 512]),
            train_cfg=dict(rpn_proposal=dict(max_per_img=20)),
            test_cfg=dict(rpn=dict(max_per_img=20)),
        )
        env_cfg = dict(mp_cfg=dict(mp_start_method="spawn"))
        """,
    )
    stages = [f"model.roi_head.bbox_head.{stage}.num_classes=2" for stage in range(3)]
    sampled = [f"model.train_cfg.rcnn.{stage}.sampler.num=16" for stage in range(3)]
    spawned = ["train_dataloader.num_workers=1"]
    run_tool(uncompiled, "train.py", tmp_path, "--cfg-options", *SMALL, *stages, *sampled, *spawned)
    lines = logged(tmp_path / "work")
    losses = [line for line in lines if "loss" in line]
    assert all(math.isfinite(line["loss"]) and line["s2.loss_cls"] > 0 for line in losses) and losses
    assert any("coco/bbox_mAP" in line for line in lines)
