"""Operations, parameters and CPU latency of detectors in both forms: the network, of one square image at batch 1.

Decoding and non-maximum suppression are left out: what they take depends on what is seen, not on the network's form.
All are timed in one process, interleaved, with a second stage's heads on as many boxes as it has proposals.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from paradise.fusion import fuse
from paradise.mmcv_operators import name_operators
from paradise.study.detection.boxes import some_boxes
from paradise.study.detection.config import detector_config
from paradise.study.detection.data import prepared
from paradise.study.detection.detectors import Detector
from paradise.study.detection.evaluate import build_detector
from paradise.study.preset import Preset
from paradise.study.profiling.complexity import count
from paradise.study.profiling.latency import time_rounds
from paradise.study.provenance import begin_record
from paradise.study.records import DetectorProfiles, write_record
from paradise.study.registry import DETECTORS
from paradise.study.steps.profile_detectors import STEP


@torch.no_grad()
def profile_detectors(preset: Preset, output: Path) -> None:
    """Writes parameters, FLOPs (by the paper's convention), MACs and what each round took, of every row and form.

    Args:
        preset: One with a section `detection`.
        output: The JSON file to write.

    Raises:
        UserError: The data, whose classes the networks have, were not prepared.
    """
    assert preset.detection is not None
    settings, job = preset.detection.latency, STEP.job(preset)
    prepared(preset.detection)
    torch.set_num_threads(settings.threads)
    record = begin_record(STEP.name, preset.name, {}, job.settings, job.inputs, STEP.entries(preset, {}))
    record["versions"]["mmcv operators"] = name_operators()
    side = settings.image_size
    image = torch.randn(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    timed = {}
    for row in preset.detectors:
        detector: Detector = DETECTORS.get(row.detector)
        section = preset.detection_of(row)
        boxes = some_boxes(detector.proposals(detector_config(row, section, None).model), side)
        trained = build_detector(row, section)
        rows[row.id] = {}
        for form, model in (("trained", trained), ("fused", fuse(trained))):
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            macs, flops = count(model, partial(detector.head_outputs, images=image, boxes=boxes))
            params = sum(parameter.numel() for parameter in model.parameters())
            rows[row.id][form] = {"params": params, "flops": flops, "macs": macs}
            timed[row.id, form] = partial(detector.head_outputs, model, boxes=boxes)
    for (name, form), times in time_rounds(timed, image, settings.rounds).items():
        rows[name][form]["times_ms"] = times
    write_record(output, DetectorProfiles, record | {"outputs": {}, "image_size": side, "rows": rows})
