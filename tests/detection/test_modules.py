"""The backbone and the converted detector, named in mmdetection's own configurations and run by its own runner."""

import copy
import json
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, scramble
from mmdet.models import ResNet
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import nn

from paradise import convert, create_model, fuse, load_weights
from paradise import preset as presets
from paradise.block import PDABlock, PDBBlock
from paradise.conversion import SharedNorm
from paradise.detection.config import detector_config
from paradise.detection.evaluate import build_detector
from paradise.detection.modules import ParaDiseResNet
from paradise.detection.outputs import head_outputs, some_boxes
from paradise.errors import UserError
from paradise.weights import save_weights

init_default_scope("mmdet")
MMLogger.get_instance("paradise", log_level="ERROR")
pytestmark = pytest.mark.slow
ROWS = [
    f"{detector}-{backbone}"
    for detector in ("retinanet", "cascade_rcnn")
    for backbone in ("resnet50", "pd_a_resnet50", "pd_b_resnet50", "pd_b_resnet50-inside")
]


@pytest.fixture(params=ROWS)
def row(request) -> str:
    return request.param


@torch.no_grad()
def assert_equal_heads(a: nn.Module, b: nn.Module, tolerance: float = 1e-4) -> None:
    a.eval(), b.eval()
    for batch in (1, 3):
        x = torch.randn(batch, 3, 64, 64)
        boxes = some_boxes(10, 64)
        for u, v in zip(head_outputs(a, x, boxes), head_outputs(b, x, boxes), strict=True):
            assert float((u - v).abs().max()) < tolerance * float(u.abs().max())


def test_a_training_step_a_prediction_and_the_fused_form(row, detectors, backbones):
    detection = presets.detection(detectors, row)
    config = detector_config(row, detection, backbones / row.split("-")[1] / "weights.safetensors")
    detector = MODELS.build(config.model).train()
    detector.init_weights()
    data = DATASETS.build(config.train_dataloader.dataset)
    batch = detector.data_preprocessor(pseudo_collate([data[0], data[1]]), True)
    losses = detector(**batch, mode="loss")
    total, _ = detector.parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()
    blocks = [module for module in detector.modules() if isinstance(module, PDABlock)]
    kind = {"resnet50": None, "pd_a_resnet50": PDABlock, "pd_b_resnet50": PDBBlock}[row.split("-")[1]]
    pyramid = {"retinanet": 5 + 8, "cascade_rcnn": 4 + 1}[row.split("-")[0]] if row.endswith("inside") else 0
    assert len(blocks) == (16 if kind else 0) + pyramid
    assert all(type(block) is kind for block in blocks)
    assert all(
        conv.weight.grad is not None for block in blocks for conv in block.modules() if isinstance(conv, nn.Conv2d)
    )

    scramble(detector)
    fused = fuse(detector)
    assert not any(isinstance(module, (PDABlock, SharedNorm)) for module in fused.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert_equal_heads(detector, fused)
    held_out = DATASETS.build(config.val_dataloader.dataset)
    batch = detector.data_preprocessor(pseudo_collate([held_out[0], held_out[1]]), False)
    with torch.no_grad():
        for sample in fused(**batch, mode="predict"):
            assert sample.pred_instances.bboxes.shape[1] == 4


def unscoped(node):
    """Without mmengine's marks of which package a part was inherited from."""
    if isinstance(node, dict):
        return {key: unscoped(value) for key, value in node.items() if key != "_scope_"}
    return [unscoped(value) for value in node] if isinstance(node, list) else node


def test_only_the_backbones_lines_differ_from_mmdetections(row):
    """Of a row of the paper; of a new one also what is converted."""
    ours = unscoped(Config.fromfile(REPOSITORY / "src/paradise/detection/configs" / f"{row}.py").to_dict())
    base = {
        "retinanet": "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
        "cascade_rcnn": "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
    }[row.split("-")[0]]
    theirs = get_config(base).to_dict()
    backbone = ours["model"].pop("backbone")
    was = theirs["model"].pop("backbone")
    assert ours.pop("custom_imports")["imports"] == ["paradise.detection.modules"]
    if row.endswith("inside"):
        assert ours["model"].pop("type") == "ParaDiseDetector"
        assert ours["model"].pop("of") == theirs["model"].pop("type")
        del ours["model"]["kind"], ours["model"]["where"], ours["model"]["preserve"]
    assert ours == theirs
    assert backbone.pop("type") == "ParaDiseResNet" and was.pop("type") == "ResNet"
    assert backbone.pop("init_cfg")["checkpoint"].endswith("seed0/weights.safetensors") and was.pop("init_cfg")
    assert {key: value for key, value in backbone.items() if key != "kind"} == was


def test_the_plain_backbone_is_mmdetections():
    ours, theirs = ParaDiseResNet(50), ResNet(50)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}


@pytest.mark.parametrize("name", ["resnet18", "pd_a_resnet18", "pd_b_resnet18", "pd_b_resnet50"])
@torch.no_grad()
def test_features_are_the_classifications(name, tmp_path):
    """Both forms, from this project's weights: the last map's mean, through the classifier, is the logits."""
    model = scramble(create_model(name, 10)).eval()
    kind, depth = name.rpartition("_")[0] or None, int(name[-2:])
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


def test_weights_of_another_backbone_are_refused(backbones):
    for name, kind in (("pd_a_resnet50", None), ("resnet50", "pd_a"), ("pd_a_resnet50", "pd_b")):
        path = backbones / name / "weights.safetensors"
        backbone = ParaDiseResNet(50, kind, init_cfg={"type": "Pretrained", "checkpoint": str(path)})
        with pytest.raises(UserError, match=rf"^{path} is of another model: it (lacks|has) "):
            backbone.init_weights()
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


@pytest.mark.parametrize("kind", ["pd_a", "pd_b"])
@pytest.mark.parametrize("detector", ["retinanet", "cascade_rcnn"])
def test_a_trained_detector_can_be_converted(detector, kind, detectors):
    """Its pyramid and heads: at that moment nothing changes, heads stay one for all levels, fusing turns it back."""
    row = f"{detector}-resnet50"
    model = scramble(build_detector(row, presets.detection(detectors, row)))
    before = copy.deepcopy(model)
    where = ["neck.fpn_convs", "bbox_head" if detector == "retinanet" else "rpn_head.rpn_conv"]
    names = convert(model, kind, where)
    # The prediction layers are 3×3 as well; 90 and 36 channels, that 64 does not divide, get fewer groups.
    assert len(names) == {"retinanet": 5 + 8 + 2, "cascade_rcnn": 4 + 1}[detector]
    assert_equal_heads(before, model)
    assert_equal_heads(before, fuse(model))
    count = sum(isinstance(module, PDABlock) for module in model.modules())
    assert count == len(names)  # five levels call the same blocks
    if kind == "pd_a":
        plain, fused = fuse(before), fuse(model)
        assert {k: v.shape for k, v in plain.state_dict().items()} == {
            k: v.shape for k, v in fused.state_dict().items()
        }


def test_a_users_configuration_runs_through_mmdetections_runner(detectors, tmp_path):
    """One file, written as a user would: the backbone's lines, and where the data are."""
    folder = detectors["detection"]["folder"]
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(f"""
            _base_ = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
            custom_imports = dict(imports=["paradise.detection.modules"])
            # Without weights the BatchNorms have no statistics to go by.
            model = dict(
                backbone=dict(type="ParaDiseResNet", kind="pd_a", init_cfg=None, norm_eval=False, frozen_stages=-1),
                bbox_head=dict(num_classes=10),
            )

            classes = tuple("0123456789")
            data = dict(data_root="{folder}/", metainfo=dict(classes=classes))
            train_dataloader = dict(
                num_workers=0, persistent_workers=False,
                dataset=dict(**data, ann_file="annotations/instances_train.json", data_prefix=dict(img="train/")),
            )
            val_dataloader = dict(
                num_workers=0, persistent_workers=False,
                dataset=dict(**data, ann_file="annotations/instances_val.json", data_prefix=dict(img="val/")),
            )
            val_evaluator = dict(ann_file="{folder}/annotations/instances_val.json")
            test_dataloader, test_evaluator = val_dataloader, val_evaluator
            train_cfg = dict(max_epochs=1)
            work_dir = "{tmp_path}/work"
        """)
    )
    import mmdet

    tool = Path(mmdet.__file__).parent / ".mim" / "tools" / "train.py"
    # After one epoch no score is above mmdetection's threshold.
    small = [
        "model.test_cfg.score_thr=0.0",
        "train_dataloader.dataset.pipeline.2.scale=(64,64)",
        "val_dataloader.dataset.pipeline.1.scale=(64,64)",
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, tool, tmp_path / "mine.py", "--cfg-options", *small],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    scalars = next((tmp_path / "work").glob("*/vis_data/scalars.json")).read_text().splitlines()
    logged = [json.loads(line) for line in scalars]
    assert all(math.isfinite(line["loss"]) for line in logged if "loss" in line)
    assert any("coco/bbox_mAP" in line for line in logged)
    saved = torch.load(tmp_path / "work" / "epoch_1.pth", weights_only=False)["state_dict"]
    assert "backbone.layer4.1.conv2.group.conv.weight" in saved


def test_fused_detectors_weights_can_be_stored(detectors, tmp_path):
    row = "retinanet-pd_b_resnet50-inside"
    fused = fuse(build_detector(row, presets.detection(detectors, row)))
    save_weights(fused, tmp_path / "fused.safetensors")
    again = fuse(build_detector(row, presets.detection(detectors, row)))
    load_weights(again, tmp_path / "fused.safetensors")
    assert_equal_heads(fused, again, 1e-9)
