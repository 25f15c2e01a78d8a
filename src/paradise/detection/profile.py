"""Operations, parameters and CPU latency of detectors in both forms: the network, of one square image at batch 1.

Decoding and non-maximum suppression are left out: what they take depends on what is seen, not on the network's form.
All are timed in one process, interleaved, with Cascade R-CNN's heads on as many boxes as it has proposals.
"""

import statistics
from functools import partial
from pathlib import Path

import torch

from paradise import preset as presets
from paradise.causes import write_record
from paradise.detection.config import detector_config
from paradise.detection.evaluate import build_detector
from paradise.detection.outputs import head_outputs, some_boxes
from paradise.fusion import fuse
from paradise.profiling.complexity import count
from paradise.profiling.latency import time_rounds
from paradise.record import provenance


@torch.no_grad()
def profile_detectors(preset: dict, output: Path) -> None:
    """Writes parameters, FLOPs (by the paper's convention), MACs and median milliseconds of every row and form."""
    settings = preset["detection"]["latency"]
    side = settings["image_size"]
    torch.set_num_threads(settings["threads"])
    record = provenance("profile_detectors", torch.device("cpu"))
    image = torch.randn(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    rows, timed = {}, {}
    for row in presets.detectors(preset):
        detection = presets.detection(preset, row)
        boxes = some_boxes(_proposals(row, detection), side)
        trained = build_detector(row, detection)
        rows[row] = {}
        for form, model in (("trained", trained), ("fused", fuse(trained))):
            model.to(memory_format=torch.channels_last)
            macs, flops = count(model, partial(head_outputs, images=image, boxes=boxes))
            params = sum(parameter.numel() for parameter in model.parameters())
            rows[row][form] = {"params": params, "flops": flops, "macs": macs}
            timed[row, form] = partial(head_outputs, model, boxes=boxes)
    for (row, form), times in time_rounds(timed, image, settings["rounds"]).items():
        rows[row][form]["median_ms"] = statistics.median(times)
    write_record(output, {"image_size": side, "rounds": settings["rounds"], "rows": rows} | record)


def _proposals(row: str, detection: dict) -> int:
    config = detector_config(row, detection, None).model.test_cfg
    return config.rpn.max_per_img if "rpn" in config else 0
