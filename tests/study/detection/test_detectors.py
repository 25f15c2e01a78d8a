"""Each detector with blocks in its backbone, or in all of it: built by mmdetection, trained a step, fused."""

import copy
import subprocess
import sys

import pytest
import torch
from conftest import scramble
from mmdet.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from projects import write_backbones
from torch import nn

from paradise import convert, fuse, load_weights
from paradise.block import PDABlock, PDBBlock
from paradise.conversion import SharedNorm
from paradise.study.detection.boxes import some_boxes
from paradise.study.detection.config import detector_config
from paradise.study.detection.detectors import Detector
from paradise.study.detection.evaluate import build_detector
from paradise.study.paper import read_paper
from paradise.study.registry import DETECTORS
from paradise.study.rows import DetectorRow
from paradise.weights import save_weights

init_default_scope("mmdet")
MMLogger.get_instance("paradise", log_level="ERROR")
pytestmark = pytest.mark.slow
BLOCKS = {"plain": None, "pd_a": PDABlock, "pd_b": PDBBlock}
PYRAMID_AND_TOWERS = {"retinanet": 5 + 8, "cascade_rcnn": 4 + 1}


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    return write_backbones(tmp_path_factory.mktemp("backbones"))


@pytest.fixture(params=[row.id for row in read_paper().detectors])
def row(request) -> DetectorRow:
    return DetectorRow.parse(request.param)


@torch.no_grad()
def assert_equal_heads(detector: Detector, a: nn.Module, b: nn.Module, tolerance: float = 1e-4) -> None:
    a.eval(), b.eval()
    for batch in (1, 3):
        x = torch.randn(batch, 3, 64, 64)
        boxes = some_boxes(10, 64)
        outputs = detector.head_outputs(a, x, boxes), detector.head_outputs(b, x, boxes)
        for u, v in zip(*outputs, strict=True):
            assert float((u - v).abs().max()) < tolerance * float(u.abs().max())


def test_the_registry_loads_no_library_that_computes():
    """Tables and presets name detectors and data sets, and must not wait for mmdetection."""
    code = (
        "import sys; from paradise.study.registry import DETECTION_SETS, DETECTORS; DETECTION_SETS.all(), "
        "DETECTORS.all(); heavy = ('torch', 'numpy', 'PIL', 'sklearn', 'mmengine', 'mmdet'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_training_step_a_prediction_and_the_fused_form(row, detectors, backbones):
    section = detectors.detection_of(row)
    config = detector_config(row, section, backbones / row.backbone.id / "seed0" / "weights.safetensors")
    detector = MODELS.build(config.model).train()
    detector.init_weights()
    data = DATASETS.build(config.train_dataloader.dataset)
    batch = detector.data_preprocessor(pseudo_collate([data[0], data[1]]), True)
    losses = detector(**batch, mode="loss")
    total, _ = detector.parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()
    blocks = [module for module in detector.modules() if isinstance(module, PDABlock)]
    kind = BLOCKS[row.backbone.kind]
    assert len(blocks) == (16 if kind else 0) + (PYRAMID_AND_TOWERS[row.detector] if row.inside else 0)
    assert all(type(block) is kind for block in blocks)
    assert all(
        conv.weight.grad is not None for block in blocks for conv in block.modules() if isinstance(conv, nn.Conv2d)
    )

    scramble(detector)
    fused = fuse(detector)
    assert not any(isinstance(module, (PDABlock, SharedNorm)) for module in fused.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert_equal_heads(DETECTORS.get(row.detector), detector, fused)
    held_out = DATASETS.build(config.val_dataloader.dataset)
    batch = detector.data_preprocessor(pseudo_collate([held_out[0], held_out[1]]), False)
    with torch.no_grad():
        for sample in fused(**batch, mode="predict"):
            assert sample.pred_instances.bboxes.shape[1] == 4


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("retinanet", 5 * 2),  # scores and deltas of five levels
        ("cascade_rcnn", 5 * 2 + 3 * 2),  # and of three stages
    ],
)
@torch.no_grad()
def test_all_heads_are_compared(name, outputs, detectors):
    row = DetectorRow.parse(f"{name}-resnet50")
    model = build_detector(row, detectors.detection_of(row))
    found = DETECTORS.get(name).head_outputs(model, torch.randn(2, 3, 64, 64), some_boxes(10, 64))
    assert len(found) == outputs
    if name == "cascade_rcnn":
        assert [tuple(output.shape) for output in found[-2:]] == [(2 * 10, 2 + 1), (2 * 10, 4)]


@pytest.mark.parametrize("kind", ["pd_a", "pd_b"])
@pytest.mark.parametrize("name", ["retinanet", "cascade_rcnn"])
def test_a_trained_detector_can_be_converted(name, kind, detectors):
    """Its pyramid and heads: at that moment nothing changes, heads stay one for all levels, fusing turns it back."""
    row, detector = DetectorRow.parse(f"{name}-resnet50"), DETECTORS.get(name)
    model = scramble(build_detector(row, detectors.detection_of(row)))
    before = copy.deepcopy(model)
    where = ["neck.fpn_convs", "bbox_head" if name == "retinanet" else "rpn_head.rpn_conv"]
    names = convert(model, kind, where)
    # The prediction layers are 3×3 as well; 90 and 36 channels, that 64 does not divide, get fewer groups.
    assert len(names) == {"retinanet": 5 + 8 + 2, "cascade_rcnn": 4 + 1}[name]
    assert_equal_heads(detector, before, model)
    assert_equal_heads(detector, before, fuse(model))
    count = sum(isinstance(module, PDABlock) for module in model.modules())
    assert count == len(names)  # five levels call the same blocks
    if kind == "pd_a":
        plain, fused = fuse(before), fuse(model)
        assert {k: v.shape for k, v in plain.state_dict().items()} == {
            k: v.shape for k, v in fused.state_dict().items()
        }


def test_fused_detectors_weights_can_be_stored(detectors, tmp_path):
    row = DetectorRow.parse("retinanet-pd_b_resnet50-inside")
    fused = fuse(build_detector(row, detectors.detection_of(row)))
    save_weights(fused, tmp_path / "fused.safetensors")
    again = fuse(build_detector(row, detectors.detection_of(row)))
    load_weights(again, tmp_path / "fused.safetensors")
    assert_equal_heads(DETECTORS.get(row.detector), fused, again, 1e-9)
