"""What every step writes of what it did: one sealed JSON file, checked key by key where it is read. No torch here.

A record names what it is of and everything that its numbers come from: settings, inputs and outputs by their hashes,
code by module, versions and machine. Its seal, a hash over all of it, tells whether it was edited.
"""

import hashlib
import json
import math
import re
import statistics
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from paradise.errors import UserError
from paradise.files import replacing

FORMS = ("trained", "fused")  # of a network: both are evaluated
PREDICTIONS = "predictions.csv.xz"  # beside the record of an evaluation
COMMIT = re.compile(r"(?P<hash>[0-9a-f]{40}|[0-9a-f]{64})(?P<changes>\+changes)?")
SHOWN = 200  # characters of what is wrong with a record
ROUNDING = 1e-9  # of a share, or relative: what computing a number again may change in it


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it has characters that cannot be printed")
    return text


def _is_time(text: str) -> str:
    if text != datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="seconds"):
        raise ValueError("it is no time as records have it, such as 2026-01-02T03:04:05+00:00")
    return text


def _is_commit(text: str) -> str:
    if COMMIT.fullmatch(text) is None:
        raise ValueError("it is no commit")
    return text


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]  # one line
Place = Annotated[str, Field(min_length=1, max_length=4096)]  # of a file or a folder
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
Time = Annotated[str, AfterValidator(_is_time)]
Commit = Annotated[str, AfterValidator(_is_commit)]
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0, le=2**53)]  # a float has it exactly
Classes = Annotated[int, Field(ge=2, le=2**53)]
Size = Annotated[int, Field(ge=1, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e10)]
Milliseconds = Annotated[float, Field(ge=1e-6, le=1e9)]
Measure = Annotated[float, Field(ge=0, le=1e30)]
Precision = Literal["float32", "tf32", "bfloat16", "float16"]


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

    step: Text
    preset: Text
    of: dict[Text, Text]
    settings: dict[str, Any]
    inputs: dict[Place, Hash]
    outputs: dict[Place, Hash]
    code: dict[Text, Fingerprint]
    seal: Hash

    # Of what records of a schema are: the names of their wildcards.
    wildcards: ClassVar[tuple[tuple[str, ...], ...]] = ()

    @model_validator(mode="after")
    def _is_of_something(self) -> Self:
        if self.wildcards:
            _require(tuple(sorted(self.of)) in self.wildcards, f"it is of {', '.join(self.of) or 'nothing'}")
        for name, pattern in (("seed", r"\d+"), ("run", r"seed\d+|imported")):
            told = self.of.get(name)
            _require(told is None or re.fullmatch(pattern, told, re.ASCII), f"it is of the {name} {told}")
        return self


class Machine(Part):
    system: Text
    processor: Text
    cores: Size
    threads: Size
    instructions: Text
    device: Text
    gpu: Text | None

    def __str__(self) -> str:
        """What it computed on: "AMD EPYC (AVX2)"."""
        return f"{self.gpu or self.processor} ({self.instructions})"


class Measurement(Record):
    """A record of what depends on a machine."""

    time: Time
    commit: Commit | None
    versions: dict[Text, Text]
    machine: Machine

    @property
    def short_commit(self) -> str:
        """As it is printed: ten digits, "+changes" behind them where files differed from it."""
        found = COMMIT.fullmatch(self.commit or "")
        return f"{found['hash'][:10]}{found['changes'] or ''}" if found else "unknown"


class Prepared(Measurement):
    """`prepared.json`: the numbers of images."""

    classes: Classes
    train: Size
    val: Size


class PreparedDetection(Measurement):
    """`detection.json` in the data's folder: images and objects of each split."""

    splits: dict[Literal["train", "val"], dict[Text, Count]]


class OfRun(Measurement):
    """What is of one run of a row."""

    @property
    def row(self) -> str:
        """The row's identifier."""
        return self.of.get("row") or self.of["detector"]


class Images(Part):
    train: Size
    val: Size


class Best(Part):
    epoch: Size
    val_top1: Percent
    val_top5: Percent


class Batch(Part):
    """How a step's images were shared: `processes` made `passes` passes of `images` images each."""

    size: Size
    processes: Size
    passes: Size
    images: Size

    @model_validator(mode="after")
    def _agree(self) -> Self:
        product = self.processes * self.passes * self.images
        _require(product == self.size, f"{product} images are no batch of {self.size}")
        return self


class Trained(OfRun):
    """`run.json` of a row that was trained here."""

    wildcards = (("row", "seed"), ("seed", "start"))

    num_classes: Classes
    images: Images
    data_folder: Place
    data_source: Place | None
    precision: Precision
    batch: Batch
    sessions: Size
    accepted_changes: list[str]
    best: Best
    seconds: Seconds
    seconds_waiting_for_data: Seconds
    seconds_saving: Seconds
    weights_stay: bool
    start: Text | None = None  # of the lottery's trainings

    @model_validator(mode="after")
    def _agree(self) -> Self:
        start = self.of.get("start")
        _require(self.start == start, f"it starts from {self.start} and is of {start}")
        for name in ("val_top1", "val_top5"):
            share = getattr(self.best, name)
            _require(is_share(share, self.images.val), f"{share} % is no share of {self.images.val} images")
        _require(self.best.val_top1 <= self.best.val_top5, "more top-1 hits than top-5 hits")
        return self


class Checkpoint(Part):
    """What a checkpoint of others says of itself."""

    file: Place
    sha256: Hash
    entry: str | None = None  # where in it the weights were
    arch: str | None = None
    epoch: float | None = None
    best_prec1: float | None = None


class Imported(OfRun):
    """`run.json` of a checkpoint of others."""

    wildcards = (("row",),)

    num_classes: Classes
    data_folder: Place
    data_source: Place | None
    batch_size: Size
    precision: Precision
    source: Literal["authors' checkpoint", "torchvision-format weights"]
    checkpoint: Checkpoint

    @model_validator(mode="after")
    def _agree(self) -> Self:
        made_from = {self.checkpoint.file: self.checkpoint.sha256}
        _require(self.inputs == made_from, f"it was not made from {self.checkpoint.file}")
        return self


class Fused(OfRun):
    """`fused.json`: what `fused.safetensors` was made of."""

    wildcards = (("row", "run"),)


class Accuracy(Part):
    top1_hits: Count
    top5_hits: Count
    top1: Percent
    top5: Percent


class Difference(Part):
    """The largest output, the largest difference between both forms' outputs, and their ratio."""

    largest: Annotated[float, Field(gt=0, le=1e30)]
    difference: Measure
    relative: Measure

    @model_validator(mode="after")
    def _agree(self) -> Self:
        ratio = self.difference / self.largest
        _require(math.isclose(ratio, self.relative), f"{self.difference} of {self.largest} is not {self.relative}")
        return self


class Evaluated(OfRun):
    """`evaluation.json`: accuracy of both forms."""

    wildcards = (("row", "run"),)

    images: Size
    trained: Accuracy
    fused: Accuracy
    logits: Difference

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for form in (self.trained, self.fused):
            for hits, share in ((form.top1_hits, form.top1), (form.top5_hits, form.top5)):
                same = abs(100 * hits / self.images - share) <= ROUNDING
                _require(same, f"{hits} hits of {self.images} images are not {share} %")
            _require(form.top1_hits <= form.top5_hits, "more top-1 hits than top-5 hits")
        return self


class Backbone(Part):
    """The run whose weights a detector's training begins with; a checkpoint of others has no seed."""

    row: Text
    seed: Count | None


class TrainedDetector(OfRun):
    """`run.json` of a detector."""

    wildcards = (("detector", "seed"),)

    data_folder: Place
    data_source: Place | None
    backbone: Backbone
    iterations: Size
    processes: Size
    precision: Precision
    accepted_changes: list[str]
    seconds: Seconds


class AveragePrecision(Part):
    """In %, by pycocotools; None where there is no object of the size."""

    ap: Percent | None
    ap50: Percent | None
    ap75: Percent | None
    ap_s: Percent | None
    ap_m: Percent | None
    ap_l: Percent | None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        of_all = self.ap, self.ap50, self.ap75
        _require(of_all.count(None) in (0, 3), "AP, AP50 and AP75 are of the same objects")
        if self.ap is None or self.ap50 is None or self.ap75 is None:
            _require((self.ap_s, self.ap_m, self.ap_l).count(None) == 3, "there are objects of a size and none at all")
        else:
            # A stricter overlap finds no more.
            _require(max(self.ap, self.ap75) <= self.ap50 + ROUNDING, "AP or AP75 is above AP50")
        return self


class Detections(Part):
    """How many there are of each form."""

    trained: Count
    fused: Count


class EvaluatedDetector(OfRun):
    """`evaluation.json` of a detector: AP of both forms."""

    wildcards = (("detector", "seed"),)

    images: Size
    trained: AveragePrecision
    fused: AveragePrecision
    detections: Detections
    heads: Difference


class Counts(Part):
    params: Size
    flops: Size
    macs: Size

    @model_validator(mode="after")
    def _agree(self) -> Self:
        _require(self.macs <= self.flops, f"{self.macs} multiply-accumulates are more than {self.flops} operations")
        return self


class ModelCounts(Counts):
    deploy_params: Size


class Complexity(Measurement):
    """`profile/complexity.json`."""

    rows: dict[Text, ModelCounts]


class Timing(Part):
    """What each round took."""

    times_ms: Annotated[list[Milliseconds], Field(min_length=1)]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.times_ms)

    @property
    def quartiles_ms(self) -> tuple[float, float]:
        """The lower and the upper one, interpolated linearly."""
        times = self.times_ms if len(self.times_ms) > 1 else self.times_ms * 2  # of one alone it finds none
        lower, _, upper = statistics.quantiles(times, method="inclusive")
        return lower, upper


class Latencies(Measurement):
    """`profile/latency.json`: of each model, and of the plain ResNet of its depth."""

    rows: dict[Text, Timing]


class FormProfile(Counts, Timing):
    """One form of a detector."""


class DetectorProfile(Part):
    trained: FormProfile
    fused: FormProfile


class DetectorProfiles(Measurement):
    """`profile/detection.json`."""

    image_size: Size
    rows: dict[Text, DetectorProfile]


class EvidenceRecord(Measurement):
    """`evidence/NAME.json`; what a piece measured is its own affair."""

    wildcards = (("piece",),)

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
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        record = schema.model_validate(values)
        expected = seal(values)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where, what = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        why = f"{where}: {what}" if where else what
        raise Damaged(f"{path} is damaged ({shortened(why)})") from None
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        raise Damaged(f"{path} is damaged ({shortened(str(error))})") from None
    if record.seal != expected:
        raise Damaged(f"{path} is damaged (edited by hand)")
    return record


def seal(values: Mapping[str, Any]) -> str:
    """A hash over all of a record but its seal. Raises ValueError for a number that is none."""
    unsealed = {key: value for key, value in values.items() if key != "seal"}
    text = json.dumps(unsealed, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def is_share(percent: float, whole: int) -> bool:
    """Whether `percent` is some number of `whole`, in %."""
    return abs(percent - 100 * round(percent * whole / 100) / whole) <= ROUNDING


def _require(condition: object, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def one_line(text: str) -> str:
    """Text with a space for each character that cannot be printed."""
    return "".join(character if character.isprintable() else " " for character in text)


def shortened(text: str) -> str:
    """What a record or a file says, as a message repeats it: one line, and not all of a long one."""
    line = one_line(text)
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
