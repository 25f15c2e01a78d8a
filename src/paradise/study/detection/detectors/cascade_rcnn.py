"""Cascade R-CNN (Cai and Vasconcelos, 2018): a network that proposes boxes, and three heads that refine them."""

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
    # Its anchors begin at stride 4, RetinaNet's at 8: twice the scale is the same side in pixels.
    model.rpn_head.anchor_generator.scales = [2 * recipe.anchor_scale]
    for part in (model.train_cfg.rpn_proposal, model.test_cfg.rpn):
        part.update(nms_pre=2 * recipe.proposals, max_per_img=recipe.proposals)
    for stage in model.train_cfg.rcnn:
        stage.sampler.num = recipe.rois


def head_outputs(network: Any, images: Tensor, boxes: Tensor) -> list[Tensor]:
    """See `HeadOutputs`."""
    from mmdet.structures.bbox import bbox2roi  # only now: a registry is read where mmdetection is not installed

    features = network.extract_feat(images)
    outputs = list(itertools.chain(*network.rpn_head(features)))
    rois = bbox2roi([boxes] * len(images))
    features = [feature.contiguous() for feature in features]  # mmcv's RoIAlign reads memory as it lies
    for stage in range(network.roi_head.num_stages):
        head = network.roi_head._bbox_forward(stage, features, rois)
        outputs += [head["cls_score"], head["bbox_pred"]]
    return outputs


DETECTOR = Detector(
    label="Cascade R-CNN",
    config="mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
    inside=("neck.fpn_convs", "rpn_head.rpn_conv"),
    set_recipe=set_recipe,
    proposals=lambda model: model.test_cfg.rpn.max_per_img,
    head_outputs=head_outputs,
)
