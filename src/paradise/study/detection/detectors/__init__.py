"""The detectors of the third table: one module each, called as rows call it, which exports its `DETECTOR`.

To add a detector is to add a module here, and its lines to `data/paper/coco.csv` where the paper has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mmengine.config import ConfigDict
    from torch import Tensor

    from paradise.study.preset import DetectionRecipe


class HeadOutputs(Protocol):
    """What of a detector is one computation, the same for every image, without decoding and suppression."""

    def __call__(self, network: Any, images: Tensor, boxes: Tensor) -> list[Tensor]:
        """Scores and box deltas of every level, and of every stage.

        Args:
            network: The detector, as mmdetection builds it.
            images: [B, 3, H, W].
            boxes: [N, 4], in pixels: what a second stage sees of each image. Which boxes the network itself would
                propose depends on its input: by these everyone has as much to do.
        """


@dataclass(frozen=True)
class Detector:
    """A detector of mmdetection, with all that a study must know of it.

    Attributes:
        label: What the paper calls it.
        config: mmdetection's own configuration for COCO, from which a row's differs by its blocks.
        inside: The modules whose 3×3 convolutions are blocks where all of the detector has some: pyramid and dense
            towers. The layers that predict classes and boxes stay: their scale is what the losses act on.
        set_recipe: Changes its configuration's `model` in place, anchors and numbers of boxes, to a preset's recipe.
        proposals: How many boxes of an image its second stage sees at inference, by its configuration's `model`.
        head_outputs: Runs its network.
    """

    label: str
    config: str
    inside: tuple[str, ...]
    set_recipe: Callable[[ConfigDict, DetectionRecipe], None]
    proposals: Callable[[ConfigDict], int]
    head_outputs: HeadOutputs
