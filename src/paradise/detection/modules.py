"""What a configuration of mmdetection can name: the backbone, and a detector that is converted after it was built."""

from pathlib import Path

from mmdet.models import ResNet
from mmdet.registry import MODELS
from torch import nn

from paradise.conversion import convert
from paradise.fusion import fuse_
from paradise.names import BRANCHES
from paradise.weights import fit, read_weights


@MODELS.register_module()
class ParaDiseResNet(ResNet):
    """mmdetection's ResNet, with all its settings, whose blocks' 3×3 convolutions are ParaDise blocks.

    `kind`: "pd_a", "pd_b", or None for the plain one. `branches`: those of the blocks. `fused`: the inference form.
    `init_cfg=dict(type="Pretrained", checkpoint="….safetensors")` takes the weights of a classification row of this
    project (weights.safetensors, or fused.safetensors for `fused`). Raises UserError where they are another network's.
    """

    def __init__(self, depth: int, kind: str | None = None, branches=BRANCHES, fused: bool = False, **settings):
        super().__init__(depth, **settings)
        if kind is not None:
            names = ("conv2",) if depth >= 50 else ("conv1", "conv2")
            convert(self, kind, [f"layer*.*.{name}" for name in names], branches, preserve=False)
            self._freeze_stages()
        if fused:
            fuse_(self)

    def init_weights(self) -> None:
        source = (self.init_cfg or {}).get("checkpoint", "") if isinstance(self.init_cfg, dict) else ""
        if not source.endswith(".safetensors"):
            super().init_weights()
            return
        state = read_weights(Path(source))
        fit(self, {key: value for key, value in state.items() if not key.startswith("fc.")}, Path(source))
        self._is_init = True


@MODELS.register_module()
def ParaDiseDetector(of: str, kind: str, where, branches=BRANCHES, preserve: bool = False, **settings) -> nn.Module:
    """The detector `of` mmdetection with these `settings`, its weights initialised, then `paradise.convert`ed.

    With `preserve`, and weights of a trained detector loaded into it, call `paradise.calibrate` before training.
    """
    detector = MODELS.build(settings | {"type": of})
    detector.init_weights()
    convert(detector, kind, where, branches, preserve)
    return detector
