"""Makes one piece of evidence and writes its record."""

from paradise.errors import UserError
from paradise.study.device import pick_device, use_precision
from paradise.study.evidence.networks import Networks
from paradise.study.preset import Preset
from paradise.study.provenance import begin_record
from paradise.study.records import EvidenceRecord, write_record
from paradise.study.registry import EVIDENCE
from paradise.study.steps.make_evidence import STEP


def make_evidence(name: str, preset: Preset, threads: int, gpus: int | None = None) -> None:
    """Measures a piece of evidence, in float32, and writes `evidence/NAME.json` into the study's results.

    Args:
        name: The piece's.
        preset: The study.
        threads: Processor threads.
        gpus: How many may be used; see `device.pick_device`.

    Raises:
        UserError: There is no such piece, or what it is measured on is not there.
    """
    piece, job = EVIDENCE.get(name), STEP.job(preset, piece=name)
    device = pick_device(gpus)
    networks = Networks(preset, threads, device)
    if missing := [path for path in job.needs if not path.exists()]:
        raise UserError(f"{missing[0]} is missing, which '{name}' is measured on; run `snakemake {job.record}`")
    entries = STEP.entries(preset, job.wildcards)
    record = begin_record(STEP.name, preset.name, job.wildcards, job.settings, job.inputs, entries, device)
    with use_precision("float32", device):
        measured = piece.measure(networks)
    write_record(job.record, EvidenceRecord, record | {"outputs": {}, "evidence": measured})
