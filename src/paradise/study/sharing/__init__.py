"""Sharing a study through DVC.

Snakemake computes; DVC keeps and shares, by content; `stale.Survey` alone decides what counts.
"""

from pathlib import Path

STUDY, WEIGHTS = "study", "weights"  # DVC's remotes
PIPELINE, LOCK = Path("dvc.yaml"), Path("dvc.lock")
