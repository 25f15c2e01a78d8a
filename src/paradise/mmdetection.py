"""What a configuration of mmdetection can name: a backbone, a detector that is converted once it is built, and a hook.

A configuration that says `custom_imports = dict(imports=["paradise.mmdetection"])` knows them.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from paradise.conversion import Where, convert
from paradise.errors import UserError
from paradise.fusion import fuse_
from paradise.mmcv_operators import LACKING
from paradise.names import BRANCHES
from paradise.weights import fit, read_weights

try:
    from mmdet.models import ResNet
    from mmdet.registry import HOOKS, MODELS
except ModuleNotFoundError as error:
    if error.name != "mmcv._ext":
        raise
    raise UserError(LACKING) from None


@MODELS.register_module()
class ParaDiseResNet(ResNet):
    """mmdetection's ResNet, with all its settings, whose blocks' 3×3 convolutions are ParaDise blocks.

    `init_cfg=dict(type="Pretrained", checkpoint="….safetensors")` takes the weights of a classification row of this
    project (weights.safetensors, or fused.safetensors for `fused`).

    Args:
        depth: The number of layers.
        kind: "pd_a", "pd_b", or None for the plain network.
        branches: Those of the blocks.
        fused: Whether it is the inference form.
        settings: As mmdetection's ResNet has them.

    Raises:
        UserError: The blocks cannot have these branches, or, where weights are read, they are another network's.
    """

    def __init__(
        self,
        depth: int,
        kind: str | None = None,
        branches: Iterable[str] = BRANCHES,
        fused: bool = False,
        **settings: Any,
    ):
        super().__init__(depth, **settings)
        if kind is not None:
            names = ("conv2",) if depth >= 50 else ("conv1", "conv2")
            convert(self, kind, [f"layer*.*.{name}" for name in names], branches, preserve=False)
            self._freeze_stages()
        if fused:
            fuse_(self)

    def init_weights(self) -> None:
        """Reads this project's weights where `init_cfg` names them, else does what mmdetection's ResNet does."""
        source = (self.init_cfg or {}).get("checkpoint", "") if isinstance(self.init_cfg, dict) else ""
        if not source.endswith(".safetensors"):
            super().init_weights()
            return
        state = read_weights(Path(source))
        fit(self, {key: value for key, value in state.items() if not key.startswith("fc.")}, Path(source))
        self._is_init = True


@MODELS.register_module()
def ParaDiseDetector(
    of: str, kind: str, where: Where, branches: Iterable[str] = BRANCHES, preserve: bool = False, **settings: Any
) -> nn.Module:
    """A detector of mmdetection, built, its weights initialised, and then converted.

    With `preserve`, and weights of a trained detector loaded into it, call `paradise.calibrate` before training.

    Args:
        of: Its type in mmdetection, such as "RetinaNet".
        kind: "pd_a" or "pd_b".
        where: What of it becomes blocks; see `paradise.convert`, as for `branches` and `preserve`.
        branches: Those of the blocks.
        preserve: Whether it computes in eval mode what it did before.
        settings: As the detector has them in mmdetection.

    Returns:
        The detector.
    """
    detector: Any = MODELS.build(settings | {"type": of})
    detector.init_weights()
    convert(detector, kind, where, branches, preserve)
    return detector


@HOOKS.register_module()
class KeepStatistics(Hook):
    """Keeps the statistics of all BatchNorms in training, as `norm_eval` does those of the backbone's."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """See mmengine's Hook."""
        for module in runner.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
