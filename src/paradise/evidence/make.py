"""Makes one piece of evidence and writes its record."""

from pathlib import Path

from paradise.causes import write_record
from paradise.device import pick_device, use_precision
from paradise.evidence import diversity, gradcam, lottery, perceptrons, pruning
from paradise.evidence.networks import Networks
from paradise.record import provenance

MAKERS = {
    "perceptrons": perceptrons.make,
    "diversity": diversity.make,
    "pruning": pruning.make,
    "gradcam": gradcam.make,
}


def make_evidence(name: str, preset: dict, preset_name: str, results: Path, threads: int, gpus: int | None) -> None:
    """Writes `evidence/NAME.json` into `results`.

    Raises UserError where a network that it looks at has not been trained.
    """
    record = provenance("make_evidence", pick_device(gpus)) | {"preset": preset_name}
    if name == "lottery":
        made, weights = lottery.collect(preset, results)
    else:
        networks = Networks(preset, results, threads, pick_device(gpus))
        with use_precision("float32", networks.device):
            made, weights = MAKERS[name](networks), networks.used
    write_record(results / "evidence" / f"{name}.json", record | {"weights": weights, "evidence": made})
