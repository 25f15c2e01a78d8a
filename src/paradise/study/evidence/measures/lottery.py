"""Lottery ticket: the learning curves of the trainings from each start."""

from typing import Any

import pandas as pd

from paradise.study.evidence.networks import Networks
from paradise.study.evidence.starts import STARTS, log


def measure(networks: Networks) -> dict[str, Any]:
    """The validation accuracy after each epoch, start → seed → accuracies in %."""
    preset = networks.preset
    curves = {
        start: {
            str(seed): pd.read_csv(preset.results / log(start, seed))["val_top1"].tolist()
            for seed in preset.evidence_seeds
        }
        for start in STARTS
    }
    return {"curves": curves, "images": len(networks.manifest.val)}
