"""What every step writes of what it did: one sealed JSON file, checked key by key where it is read. No torch here.

A record names what it is of and everything that its numbers come from: settings, inputs and outputs by their hashes,
code by module, versions and machine. Its seal, a hash over all of it, tells whether it was edited.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from paradise.errors import UserError
from paradise.files import replacing

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class Damaged(UserError):
    """A record that is not one: it cannot be read, is not what its step writes, or was edited."""


class Part(BaseModel):
    """A part of a record: no key more or less, no number that is none."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Record(Part):
    """What all records have.

    Attributes:
        step: The step that wrote it.
        preset: The study that it is of.
        of: Which of the step's results it is of: its wildcards.
        settings: What of the preset its numbers come from.
        inputs: The files that they come from, by name, as SHA-256.
        outputs: The files that came with it, by name, as SHA-256.
        code: The modules that decide them, each with its fingerprint.
        seal: A hash over all of this.
    """

    step: str
    preset: str
    of: dict[str, str]
    settings: dict[str, Any]
    inputs: dict[str, Hash]
    outputs: dict[str, Hash]
    code: dict[str, str]
    seal: Hash


class Machine(Part):
    system: str
    processor: str
    cores: Count
    threads: Count
    instructions: str
    device: str
    gpu: str | None

    def __str__(self) -> str:
        """What it computed on: "AMD EPYC (AVX2)"."""
        return f"{self.gpu or self.processor} ({self.instructions})"


class Measurement(Record):
    """A record of what depends on a machine."""

    time: str
    commit: str | None
    versions: dict[str, str]
    machine: Machine

    @property
    def short_commit(self) -> str:
        """As it is printed: ten digits, "+changes" behind them where files differed from it."""
        return f"{self.commit[:10]}{self.commit[40:]}" if self.commit else "unknown"


class Prepared(Measurement):
    """`prepared.json`: the numbers of images."""

    classes: Annotated[int, Field(ge=2)]
    train: Count
    val: Count


class PreparedDetection(Measurement):
    """`detection.json` in the data's folder: images and objects of each split."""

    splits: dict[str, dict[str, Count]]


class OfRun(Measurement):
    """What is of one run of a row."""

    @property
    def row(self) -> str:
        """The row's identifier."""
        return self.of.get("row") or self.of["detector"]


class Best(Part):
    epoch: Count
    val_top1: Percent
    val_top5: Percent


class Batch(Part):
    """How a step's images were shared: `processes` made `passes` passes of `images` images each."""

    size: Count
    processes: Count
    passes: Count
    images: Count


class Trained(OfRun):
    """`run.json` of a row that was trained here."""

    num_classes: Annotated[int, Field(ge=2)]
    images: dict[str, Count]
    data_folder: str
    data_source: str | None
    precision: str
    batch: Batch
    sessions: Count
    accepted_changes: list[str]
    best: Best
    seconds: Seconds
    seconds_waiting_for_data: Seconds
    seconds_saving: Seconds
    weights_stay: bool
    start: str | None = None  # of the lottery's trainings


class Imported(OfRun):
    """`run.json` of a checkpoint of others."""

    num_classes: Annotated[int, Field(ge=2)]
    data_folder: str
    data_source: str | None
    batch_size: Annotated[int, Field(ge=1)]
    precision: str
    source: str
    checkpoint: dict[str, Any]


class Fused(OfRun):
    """`fused.json`: what `fused.safetensors` was made of."""


class Accuracy(Part):
    top1_hits: Count
    top5_hits: Count
    top1: Percent
    top5: Percent


class Difference(Part):
    """The largest output, the largest difference between both forms' outputs, and their ratio."""

    largest: float
    difference: float
    relative: float


class Evaluated(OfRun):
    """`evaluation.json`: accuracy of both forms."""

    images: Annotated[int, Field(ge=1)]
    trained: Accuracy
    fused: Accuracy
    logits: Difference

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for form in (self.trained, self.fused):
            for hits, share in ((form.top1_hits, form.top1), (form.top5_hits, form.top5)):
                if abs(100 * hits / self.images - share) > 1e-9:
                    raise ValueError(f"{hits} hits of {self.images} images are not {share} %")
        return self


class Backbone(Part):
    """The run whose weights a detector's training begins with; a checkpoint of others has no seed."""

    row: str
    seed: int | None


class TrainedDetector(OfRun):
    """`run.json` of a detector."""

    data_folder: str
    data_source: str | None
    backbone: Backbone
    iterations: Count
    processes: Count
    precision: str
    accepted_changes: list[str]
    seconds: Seconds


class Precision(Part):
    """Average precision in %, by pycocotools; None where there is no object of the size."""

    ap: Percent | None
    ap50: Percent | None
    ap75: Percent | None
    ap_s: Percent | None
    ap_m: Percent | None
    ap_l: Percent | None


class EvaluatedDetector(OfRun):
    """`evaluation.json` of a detector: AP of both forms."""

    images: Annotated[int, Field(ge=1)]
    trained: Precision
    fused: Precision
    detections: dict[str, Count]
    heads: Difference


class Counts(Part):
    params: Count
    flops: Count
    macs: Count
    deploy_params: Count


class Complexity(Measurement):
    """`profile/complexity.json`."""

    rows: dict[str, Counts]


class Timing(Part):
    median_ms: Annotated[float, Field(gt=0)]
    quartiles_ms: Annotated[list[float], Field(min_length=2, max_length=2)]
    ratio: Annotated[float, Field(gt=0)]


class Latencies(Measurement):
    """`profile/latency.json`."""

    rounds: Annotated[int, Field(ge=1)]
    rows: dict[str, Timing]


class FormProfile(Part):
    params: Count
    flops: Count
    macs: Count
    median_ms: Annotated[float, Field(gt=0)]


class DetectorProfile(Part):
    trained: FormProfile
    fused: FormProfile


class DetectorProfiles(Measurement):
    """`profile/detection.json`."""

    image_size: Count
    rounds: Annotated[int, Field(ge=1)]
    rows: dict[str, DetectorProfile]


class EvidenceRecord(Measurement):
    """`evidence/NAME.json`; what a piece measured is its own affair."""

    evidence: dict[str, Any]

    @property
    def piece(self) -> str:
        """The name of the piece."""
        return self.of["piece"]


class View(Record):
    """What is made of records in seconds, with nothing measured: a table, the report."""


def write_record(path: Path, schema: type[Record], values: Mapping[str, Any]) -> None:
    """Writes `values`, sealed, to `path`.

    Raises:
        UserError: It cannot be written.
        ValidationError: They are not what `schema` says, which is a fault of the program.
    """
    sealed = {**values, "seal": seal(values)}
    schema.model_validate(sealed)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(sealed, indent=2, allow_nan=False) + "\n")


R = TypeVar("R", bound="Record")


def read_record(path: Path, schema: type[R]) -> R | None:
    """The record in `path`, or None where there is none.

    Raises:
        Damaged: It is none, or was edited since it was written.
    """
    try:
        values = json.loads(path.read_text())
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        record = schema.model_validate(values)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Damaged(f"{path} is damaged ({f'{where}: ' if where else ''}{first['msg']})") from None
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(f"{path} is damaged ({error})") from None
    if record.seal != seal(values):
        raise Damaged(f"{path} is damaged (edited by hand)")
    return record


def seal(values: Mapping[str, Any]) -> str:
    """A hash over all of a record but its seal."""
    text = json.dumps({key: value for key, value in values.items() if key != "seal"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
