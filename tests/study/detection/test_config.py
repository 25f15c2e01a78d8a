"""The rows' configurations: what differs from mmdetection's own, and that its own tools train by them."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from mmengine.config import Config
from mmengine.hub import get_config
from projects import ended, start, write_project

from paradise.study.detection.config import published_config, study_config
from paradise.study.paper import read_paper
from paradise.study.preset import Preset
from paradise.study.rows import DetectorRow

pytestmark = pytest.mark.slow
WEIGHTS = Path("results/imagenet/BACKBONE/seed0/weights.safetensors")
BASES = {
    "retinanet": "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
    "cascade_rcnn": "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
}
TYPES = {"retinanet": "RetinaNet", "cascade_rcnn": "CascadeRCNN"}
KINDS = {"plain": {}, "pd_a": {"kind": "pd_a"}, "pd_b": {"kind": "pd_b"}}
INSIDE = {
    "retinanet": ["neck.fpn_convs", "bbox_head.cls_convs", "bbox_head.reg_convs"],
    "cascade_rcnn": ["neck.fpn_convs", "rpn_head.rpn_conv"],
}


@pytest.fixture(params=[row.id for row in read_paper().detectors])
def row(request) -> DetectorRow:
    return DetectorRow.parse(request.param)


def test_only_the_blocks_lines_differ_from_mmdetections(row):
    """Of a row of the paper those of the backbone; of a new one also what is converted. Nothing is left out."""
    theirs = get_config(BASES[row.detector]).to_dict()
    was = theirs["model"]
    assert was["type"] == TYPES[row.detector] and was["backbone"].pop("type") == "ResNet"
    assert was["backbone"].pop("init_cfg") == {"type": "Pretrained", "checkpoint": "torchvision://resnet50"}
    backbone = was["backbone"] | {"type": "ParaDiseResNet"} | KINDS[row.backbone.kind]
    backbone["init_cfg"] = {"type": "Pretrained", "checkpoint": str(WEIGHTS)}
    model = was | {"backbone": backbone}
    if row.inside:
        model |= {"type": "ParaDiseDetector", "of": was["type"], "kind": "pd_b", "preserve": True}
        model |= {"where": INSIDE[row.detector]}
    expected = theirs | {"model": model, "custom_imports": {"imports": ["paradise.mmdetection"]}}
    assert published_config(row, WEIGHTS).to_dict() == expected


def test_without_weights_the_backbone_begins_fresh(row):
    assert published_config(row, None).model.backbone.init_cfg is None


def test_a_recipe_sets_anchors_and_numbers_of_boxes(detectors):
    retinanet = DetectorRow.parse("retinanet-resnet50")
    model = study_config(retinanet, detectors.detection_of(retinanet), None).model
    assert model.bbox_head.anchor_generator.octave_base_scale == 2
    assert model.bbox_head.num_classes == 2
    cascade = DetectorRow.parse("cascade_rcnn-resnet50")
    model = study_config(cascade, detectors.detection_of(cascade), None).model
    assert model.rpn_head.anchor_generator.scales == [4]
    for part in (model.train_cfg.rpn_proposal, model.test_cfg.rpn):
        assert (part.nms_pre, part.max_per_img) == (16, 8)
    assert [stage.sampler.num for stage in model.train_cfg.rcnn] == [8, 8, 8]
    assert [head.num_classes for head in model.roi_head.bbox_head] == [2, 2, 2]


def test_a_recipe_is_another_schedule(row, detectors):
    config = study_config(row, detectors.detection_of(row), None)
    assert config.train_cfg == {"type": "IterBasedTrainLoop", "max_iters": 3, "val_interval": 4}
    assert [schedule["end"] for schedule in config.param_scheduler] == [2, 3]
    assert config.optim_wrapper.optimizer == {"type": "AdamW", "lr": 1e-4, "weight_decay": 0.01}
    assert config.optim_wrapper.clip_grad == {"max_norm": 1.0}
    assert config.model.data_preprocessor.mean == [76.5] * 3 and config.model.data_preprocessor.std == [94.35] * 3
    assert (config.model.backbone.frozen_stages, config.model.backbone.norm_eval) == (-1, True)
    assert config.custom_hooks == [{"type": "KeepStatistics"}]
    section = detectors.detection_of(row)
    free = section.model_copy(update={"recipe": section.recipe.model_copy(update={"norm_eval": False})})
    assert "custom_hooks" not in study_config(row, free, None)
    assert not config.auto_scale_lr.enable
    folder = detectors.detection.folder
    for loader, split in ((config.train_dataloader, "train"), (config.val_dataloader, "val")):
        assert (loader.batch_size, loader.num_workers, loader.persistent_workers) == (2, 0, False)
        assert [step["type"] for step in loader.dataset.pipeline].count("RandomFlip") == 0
        assert [step["scale"] for step in loader.dataset.pipeline if step["type"] == "Resize"] == [(64, 64)]
        assert loader.dataset.ann_file == f"{folder}/annotations/instances_{split}.json"
        assert loader.dataset.data_prefix == {"img": f"{folder}/{split}"}
        assert loader.dataset.metainfo == {"classes": tuple("01")}
    assert config.test_dataloader == config.val_dataloader and config.test_evaluator == config.val_evaluator
    assert config.val_evaluator.ann_file == f"{folder}/annotations/instances_val.json"


@pytest.fixture(scope="module")
def project(tmp_path_factory, detectors) -> Path:
    return write_project(tmp_path_factory.mktemp("project"), detectors)


def test_mmdetections_own_tool_trains_by_a_written_configuration(project, tmp_path):
    row = "cascade_rcnn-pd_b_resnet50-inside"
    path = tmp_path / "mine.py"
    code, said = ended(start(project, "config", row, "--preset", "config/small.yaml", "--output", path))
    assert (code, said) == (0, f"{path}\n")
    preset = Preset.load(project / "config" / "small.yaml")
    detector = DetectorRow.parse(row)
    weights = Path("results/small/pd_b_resnet50/seed0/weights.safetensors")
    expected = study_config(detector, preset.detection_of(detector), weights)
    assert Config.fromfile(path).to_dict() == expected.to_dict()

    import mmdet

    tool = Path(mmdet.__file__).parent / ".mim" / "tools" / "train.py"
    # After three iterations no score is above mmdetection's threshold.
    options = ["model.test_cfg.rcnn.score_thr=0.0", "default_hooks.logger.interval=1"]
    done = subprocess.run(
        [sys.executable, tool, path, "--work-dir", tmp_path / "work", "--cfg-options", *options],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "CUDA_VISIBLE_DEVICES": ""},
        cwd=project,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    logged = [
        json.loads(line) for line in next((tmp_path / "work").glob("*/vis_data/scalars.json")).read_text().splitlines()
    ]
    losses = [line["loss"] for line in logged if "loss" in line]
    assert len(losses) == 3 and all(map(math.isfinite, losses))
    assert any("coco/bbox_mAP" in line for line in logged)
    saved = torch.load(next((tmp_path / "work").glob("*.pth")), weights_only=False)["state_dict"]
    assert "rpn_head.rpn_conv.group.conv.weight" in saved and "backbone.layer4.1.conv2.gate.reduce.weight" in saved


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("retinanet-pd_c_resnet50",),
            "config/small.yaml has no detector 'retinanet-pd_c_resnet50'; did you mean 'retinanet-pd_b_resnet50'?",
        ),
        (
            ("retinanet-pd_b_resnet50", "--output", "mine.yaml"),
            "mine.yaml is no .py file, as mmdetection's configurations are; choose another name",
        ),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(project, arguments, said):
    before = sorted(project.iterdir())
    assert ended(start(project, "config", *arguments, "--preset", "config/small.yaml")) == (2, f"error: {said}\n")
    assert sorted(project.iterdir()) == before
