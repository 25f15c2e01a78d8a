"""RetinaNet (Lin et al., 2017): one stage, whose heads all levels of the pyramid share."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from paradise.study.detection.detectors import Detector

if TYPE_CHECKING:
    from mmengine.config import ConfigDict
    from torch import Tensor

    from paradise.study.preset import DetectionRecipe


def set_recipe(model: ConfigDict, recipe: DetectionRecipe) -> None:
    """See `Detector`."""
    model.bbox_head.anchor_generator.octave_base_scale = recipe.anchor_scale


def head_outputs(network: Any, images: Tensor, boxes: Tensor) -> list[Tensor]:
    """See `HeadOutputs`."""
    return list(itertools.chain(*network.bbox_head(network.extract_feat(images))))


DETECTOR = Detector(
    label="RetinaNet",
    config="mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
    inside=("neck.fpn_convs", "bbox_head.cls_convs", "bbox_head.reg_convs"),
    set_recipe=set_recipe,
    proposals=lambda model: 0,
    head_outputs=head_outputs,
)
