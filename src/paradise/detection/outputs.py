"""A detector's network: what of it is one computation, the same for every image, without decoding and suppression."""

import itertools

import torch
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn


def head_outputs(detector: nn.Module, images: Tensor, boxes: Tensor) -> list[Tensor]:
    """Scores and box deltas of every level and, in Cascade R-CNN, of each stage's head for the same `boxes`.

    `images` [B, 3, H, W], `boxes` [N, 4] in pixels. Which boxes the network itself would propose depends on its input:
    by these everyone has as much to do.
    """
    features = detector.extract_feat(images)
    if not hasattr(detector, "rpn_head"):
        return list(itertools.chain(*detector.bbox_head(features)))
    outputs = list(itertools.chain(*detector.rpn_head(features)))
    rois = bbox2roi([boxes] * len(images))
    features = [feature.contiguous() for feature in features]  # mmcv's RoIAlign reads memory as it lies
    for stage in range(detector.roi_head.num_stages):
        head = detector.roi_head._bbox_forward(stage, features, rois)
        outputs += [head["cls_score"], head["bbox_pred"]]
    return outputs


def some_boxes(count: int, side: int) -> Tensor:
    """`count` boxes [N, 4] of many sizes in an image of `side` pixels, always the same."""
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(0)) * side
    return torch.cat((corners.amin(1), corners.amax(1) + 1), 1).clamp(max=side)
