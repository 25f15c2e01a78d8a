"""Presets: one YAML file is one study. What each key means stands here; `config/preset.schema.json` is made from it."""

import re
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic_core import ErrorDetails

from paradise.errors import UserError, nearest
from paradise.study.paper import Paper, read_paper
from paradise.study.plain_yaml import SHOWN, cut, read_yaml
from paradise.study.registry import DATASETS, DETECTION_SETS, LOADERS, Registry
from paradise.study.rows import DetectorRow, Row, Run

CLAIM = ".preset"  # in a study's results: the preset that they are of
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._+-]{{0,{SHOWN - 1}}}")
SCHEMA = Path("config/preset.schema.json")
EVIDENCE_SEEDS = [0, 1, 2]


def _one_of(registry: Registry) -> Any:
    """The type of a key that names what is in `registry`."""
    names = registry.names()

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"{cut(repr(name))} is not one of {names}")
        return name

    return Annotated[str, AfterValidator(check), WithJsonSchema({"type": "string", "enum": names})]


def _unique(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"{cut(str(values))} has non-unique elements")
    return values


def _place_of_files(path: str) -> str:
    if path.startswith("~"):
        raise ValueError(f"{cut(repr(path))} begins with '~', which nothing replaces; write the folder out")
    if not path.isprintable():
        raise ValueError(f"{cut(repr(path))} has characters that cannot be printed")
    return path


def _ascending(values: list[float]) -> list[float]:
    if values[0] > values[1]:
        raise ValueError(f"the range {values} begins above its end")
    return values


def _pixels(least: float, most: int) -> AfterValidator:
    """Checks means or deviations of the three channels, of pixels from 0 to `most`."""

    def check(values: list[float] | None) -> list[float] | None:  # None: of a recipe's changes, not among them
        if values and not all(least <= value <= most for value in values):
            raise ValueError(f"{values}: pixels are from 0 to {most} here, so each must be from {least} to {most}")
        return values

    return AfterValidator(check)


Count = Annotated[int, Field(ge=1, le=10**9)]
Side = Annotated[int, Field(ge=28, le=4096)]
DetectionSide = Annotated[int, Field(ge=64, le=4096, multiple_of=32)]
Rate = Annotated[float, Field(gt=0, le=1000)]
Decay = Annotated[float, Field(ge=0, le=1)]
Rgb = Annotated[list[float], Field(min_length=3, max_length=3)]
Two = Field(min_length=2, max_length=2)
Name = Annotated[str, Field(min_length=1, max_length=SHOWN, pattern=r"^[!-~]+$")]
Names = Annotated[list[Name], Field(min_length=1), AfterValidator(_unique)]
# torch, NumPy and DALI all take seeds of 31 bits, and what the loaders make of one.
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1), AfterValidator(_unique)]
Place = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_place_of_files)]
# Part of files' names in Snakemake, which reads braces as wildcards, and in DVC, which reads "${".
Folder = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=r"""^[^{}$`"'\\|&;<>*?()\[\]!#%]+$"""),
    AfterValidator(_place_of_files),
]


class PresetPart(BaseModel):
    """A part of a preset: it cannot be changed, and takes no key that it does not know and no value of another type."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    def values(self) -> dict[str, Any]:
        """What of it is set, as JSON has it: what records say and compare."""
        return self.model_dump(mode="json", exclude_none=True)


class Expect(PresetPart):
    classes: Annotated[int, Field(ge=2, le=10**9)]
    train: Count
    val: Count


class Augment(PresetPart):
    area: Annotated[list[Annotated[float, Field(ge=0.001, le=1)]], Two, AfterValidator(_ascending)]
    """Range of the random crop's share of the image."""
    aspect: Annotated[list[Annotated[float, Field(ge=0.01, le=100)]], Two, AfterValidator(_ascending)]
    """Range of the random crop's aspect ratio."""
    shift: Annotated[int, Field(ge=0, le=4096)]
    """Largest shift, in pixels, after resizing."""
    flip: bool


class EvaluationData(PresetPart):
    """What of the section `data` images are found and evaluated with."""

    dataset: _one_of(DATASETS)  # type: ignore[valid-type]
    folder: Folder
    """Where `paradise prepare` writes the manifest, and the images where they are not elsewhere."""
    source: Place | None = None
    """Where the images are that do not come with a package; by default the environment says it."""
    expect: Expect | None = None
    """What `paradise prepare` must find in an image folder."""
    loader: _one_of(LOADERS)  # type: ignore[valid-type]
    """'dali' decodes for every epoch; 'memory' holds small images on the device."""
    decoder: Literal["mixed", "cpu"] | None = None
    """Where DALI decodes for a GPU: on it ('mixed', the default) or on the processor."""
    per_class: Count | None = None
    """Images kept of each class in each split; all by default."""
    hold_out: Count | None = None
    """Training images, the last ones, that stand in for the validation images: to choose a recipe by."""
    image_size: Side
    """Side, in pixels, of what the network sees."""
    resize: Side
    """The shorter side, in pixels, before evaluation's centre crop."""
    mean: Annotated[Rgb, _pixels(0, 1)]
    """Of pixels from 0 to 1."""
    std: Annotated[Rgb, _pixels(0.001, 1)]

    def prepared(self) -> dict[str, Any]:
        """What decides which images there are; where they lie does not."""
        wanted = {"dataset", "expect", "per_class", "hold_out"}
        return self.model_dump(mode="json", exclude_none=True, include=wanted)

    def evaluated(self) -> dict[str, Any]:
        """What decides what a network sees of the validation images."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"folder", "source", "expect", "augment"})


class Data(EvaluationData):
    augment: Augment

    def seen(self) -> dict[str, Any]:
        """What decides what a network sees of them in training."""
        return self.evaluated() | {"augment": self.augment.values()}


class Recipe(PresetPart):
    epochs: Count
    batch_size: Annotated[int, Field(ge=2, le=10**9)]
    """Images of one step, over all processes."""
    device_batch_size: Annotated[int | None, Field(ge=2, le=10**9)] = None
    """Images of one forward pass, and so of one BatchNorm; batch_size over the processes by default."""
    learning_rate: Rate
    """The highest."""
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Decay
    warmup_epochs: Annotated[float, Field(ge=0, le=10**9)]
    """Linear from 0; fractions of an epoch are allowed."""
    schedule: Literal["cosine"] | list[Count]
    """'cosine' to 0, or the epochs at which the learning rate is divided by 10."""
    precision: Literal["auto", "float32", "tf32", "bfloat16", "float16"]
    """'auto' takes bfloat16 where the hardware has it."""
    width: Annotated[int | None, Field(ge=1, le=64)] = None
    """Channels of the first stage, the paper's 64 by default; fewer for a trial of the pipeline."""
    compile: bool | None = None
    """Train through torch.compile."""
    optimizer: Literal["sgd", "apex"] | None = None
    """PyTorch's SGD, or the FusedSGD of NVIDIA's Apex."""


class DetectionRecipe(PresetPart):
    iterations: Count
    warmup_iterations: Annotated[int, Field(ge=2, le=10**9)]
    """Linear from a thousandth of the learning rate."""
    batch_size: Count
    """Images of one step, for each GPU."""
    image_size: DetectionSide
    """Side, in pixels, of what the network sees."""
    mean: Annotated[Rgb, _pixels(0, 255)]
    """Of pixels from 0 to 255."""
    std: Annotated[Rgb, _pixels(1, 255)]
    learning_rate: Rate
    """AdamW's, the highest; a cosine to 0."""
    weight_decay: Decay
    clip_gradient: Annotated[float, Field(gt=0, le=10**9)]
    """The gradient's largest norm."""
    frozen_stages: Annotated[int, Field(ge=-1, le=4)]
    """Of the backbone; -1 freezes not even the stem."""
    norm_eval: bool
    """Whether BatchNorms keep their statistics."""
    anchor_scale: Annotated[float, Field(ge=0.1, le=100)]
    """Side of the smallest anchor, in strides of the feature map; mmdetection's is 4."""
    proposals: Count
    """Of an image, for Cascade R-CNN's heads."""
    rois: Count
    """Of an image, that each of Cascade R-CNN's heads is trained with."""


def _changes(recipe: type[PresetPart]) -> type[PresetPart]:
    """The type of changes of a recipe: its keys, none of them needed."""
    fields: dict[str, Any] = {
        name: (Annotated[Optional[field.annotation], field], None)  # noqa: UP045 - an annotation may be None to mypy
        for name, field in recipe.model_fields.items()
    }
    return create_model(f"{recipe.__name__}Changes", __base__=PresetPart, **fields)


RecipeChanges = _changes(Recipe)
DetectionRecipeChanges = _changes(DetectionRecipe)


class Latency(PresetPart):
    rounds: Count
    """Timed runs of every model."""
    threads: Annotated[int, Field(ge=1, le=1024)]
    """Processor threads that a model may use."""


class DetectionLatency(Latency):
    image_size: DetectionSide
    """Side, in pixels, of the image that detectors are timed and counted with."""


class Images(PresetPart):
    train: Count
    val: Count


class DetectionData(PresetPart):
    """What of the section `detection` one detector is trained and evaluated with."""

    dataset: _one_of(DETECTION_SETS)  # type: ignore[valid-type]
    folder: Folder
    """Where `paradise detection prepare` writes its record, and the images where they are not elsewhere."""
    source: Place | None = None
    """Where images are that are not made here; by default the environment says it."""
    images: Images | None = None
    """Images to compose, for 'digits'."""
    recipe: DetectionRecipe | None = None
    """Another recipe than mmdetection's for COCO, which is taken without this."""

    def prepared(self) -> dict[str, Any]:
        """What decides which images there are; where they lie does not."""
        return self.model_dump(mode="json", exclude_none=True, include={"dataset", "images"})

    def trained(self) -> dict[str, Any]:
        """What decides what a detector is trained and evaluated with."""
        return self.model_dump(mode="json", exclude_none=True, include={"dataset", "images", "recipe"})


class Detection(DetectionData):
    rows: Literal["all"] | Names
    """The rows to train, or 'all' 8: those of the paper's third table and two new ones."""
    overrides: dict[Name, DetectionRecipeChanges] | None = None  # type: ignore[valid-type]
    """Changes of the recipe for some rows: a row or a pattern (*, ?) → keys of `recipe`."""
    latency: DetectionLatency


class EvidenceSettings(PresetPart):
    seeds: Seeds
    """0, 1 and 2 by default."""


class Preset(PresetPart):
    """A preset: one study."""

    rows: Literal["all"] | Names
    """The rows to train, or 'all' 19 of the paper's two classification tables."""
    seeds: Seeds
    """Every row is trained once with each; several give mean ± standard deviation."""
    row_seeds: dict[Name, Seeds] | None = None
    """Other seeds for some rows: a row or a pattern (*, ?) → seeds."""
    data: Data
    training: Recipe
    overrides: dict[Name, RecipeChanges] | None = None  # type: ignore[valid-type]
    """Changes of the recipe for some rows: a row or a pattern (*, ?) → keys of `training`."""
    checkpoints: dict[Name, Place] | None = None
    """Checkpoints of others, evaluated and shown beside the rows trained here: row → file."""
    detection: Detection | None = None
    """The third table, in mmdetection; left out without this section."""
    evidence: EvidenceSettings | None = None
    """What `snakemake evidence` trains."""
    weights_stay: bool | None = None
    """The weights stay on the machine that trained them: the runs' records say so, and the tables offer none."""
    latency: Latency

    _path: Path = PrivateAttr()
    _rows: tuple[Row, ...] = PrivateAttr()
    _detectors: tuple[DetectorRow, ...] = PrivateAttr()

    @classmethod
    def load(cls, path: Path) -> Self:
        """The preset in the YAML file `path`. Raises UserError where it cannot be read or is not a preset."""
        _check_name(Path(path))
        return cls.of(read_yaml(Path(path)), path)

    @classmethod
    def of(cls, values: object, path: Path) -> Self:
        """The preset with these values, read from `path`.

        Raises:
            UserError: A key is unknown, missing or has a value that it cannot have, or a row is unknown.
        """
        if not isinstance(values, dict):
            raise UserError(f"{path}: it has no keys, and a preset has, such as 'rows' and 'data'")
        if empty := _empty(values):
            raise UserError(f"{path}: '{_dotted(empty)}': it has no value; give it one, or leave the key out")
        try:
            preset = cls.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{path}: {_explain(error, values)}") from None
        preset._path, paper = Path(path), read_paper()
        try:
            preset._check(paper)
        except UserError as reason:
            raise UserError(f"{path}: {reason}") from None
        return preset

    @property
    def path(self) -> Path:
        return self._path

    @cached_property
    def name(self) -> str:
        return self._path.stem

    @cached_property
    def results(self) -> Path:
        """Where all that is measured of it lies."""
        return Path("results", self.name)

    @property
    def classifiers(self) -> tuple[Row, ...]:
        """The rows of the two classification tables that it trains."""
        return self._rows

    @property
    def detectors(self) -> tuple[DetectorRow, ...]:
        """The rows of the detection table that it trains; none without a section `detection`."""
        return self._detectors

    @cached_property
    def models(self) -> list[Row]:
        """Its rows that are models of the first table, in its order, which shows them with complexity and latency."""
        return [row for row in read_paper().imagenet if row in self._rows]

    @property
    def runs(self) -> list[Run]:
        """The trainings of its classification rows, and the checkpoints of others."""
        trained = [Run(row, seed) for row in self._rows for seed in self.seeds_of(row)]
        return trained + [Run(row, None) for row in self.models if row.id in (self.checkpoints or {})]

    @property
    def detector_runs(self) -> list[Run]:
        return [Run(row, seed) for row in self._detectors for seed in self.seeds_of(row)]

    @property
    def evidence_seeds(self) -> list[int]:
        """The seeds of what evidence trains."""
        return self.evidence.seeds if self.evidence else EVIDENCE_SEEDS

    def seeds_of(self, row: Row | DetectorRow) -> list[int]:
        """The seeds that `row` is trained with; a detector's are its backbone's."""
        name = row.id if isinstance(row, Row) else row.backbone.id
        found = self.seeds
        for pattern, seeds in (self.row_seeds or {}).items():
            if fnmatchcase(name, pattern):
                found = seeds
        return found

    def recipe(self, row: Row) -> Recipe:
        """The training recipe of `row`: `training`, changed by each of the `overrides` that matches."""
        return _overridden(self.training, self.overrides or {}, row.id)

    def detection_of(self, row: DetectorRow) -> Detection:
        """The section `detection` as it is for `row`: its recipe, if there is one, changed as `overrides` say."""
        section = self.detection
        if section is None or section.recipe is None:
            return section  # type: ignore[return-value]
        recipe = _overridden(section.recipe, section.overrides or {}, row.id)
        return section.model_copy(update={"recipe": recipe})

    def _check(self, paper: Paper) -> None:
        self._rows = tuple(paper.rows if self.rows == "all" else map(Row.parse, self.rows))
        self._detectors = ()
        _check_data(self.data)
        known = [row.id for row in self._rows]
        models = [row.id for row in self.models]
        for name in self.checkpoints or {}:
            if name not in models:
                raise UserError(f"checkpoints: '{name}' is none of the preset's models{nearest(name, models)}")
        _check_patterns("overrides", self.overrides or {}, known)
        _check_patterns("row_seeds", self.row_seeds or {}, known)
        for row in self._rows:
            if row.longer and self.recipe(row).epochs <= self.recipe(row.plain).epochs:
                raise UserError(
                    f"rows: '{row}' is trained no longer than '{row.plain}'; give it more epochs in 'overrides'"
                )
        if self.detection is None:
            return
        folders = [Path(part.folder).absolute() for part in (self.data, self.detection)]
        if any(one == other or one in other.parents for one, other in (folders, folders[::-1])):
            raise UserError(
                f"'data.folder' and 'detection.folder', {self.detection.folder}, lie in one another; part them"
            )
        possible = {row.id: row for row in paper.detectors}
        wanted = list(possible) if self.detection.rows == "all" else self.detection.rows
        for name in wanted:
            if name not in possible:
                raise UserError(f"detection.rows: unknown row '{name}'{nearest(name, list(possible))}")
            if (backbone := possible[name].backbone.id) not in known:
                raise UserError(f"detection.rows: '{name}' starts from '{backbone}', which is none of the rows")
        self._detectors = tuple(possible[name] for name in wanted)
        if self.detection.overrides and self.detection.recipe is None:
            raise UserError("the key 'detection.recipe' is missing, which 'detection.overrides' changes")
        _check_patterns("detection.overrides", self.detection.overrides or {}, wanted)


def schema() -> dict[str, Any]:
    """The JSON schema of presets, by which editors complete and check them."""
    return Preset.model_json_schema() | {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def _overridden(recipe: Any, overrides: dict[str, Any], row: str) -> Any:
    for pattern, changes in overrides.items():
        if fnmatchcase(row, pattern):
            recipe = recipe.model_copy(update=changes.model_dump(exclude_none=True))
    return recipe


def _check_patterns(where: str, overrides: dict[str, Any], rows: Iterable[str]) -> None:
    rows = list(rows)
    for pattern in overrides:
        if not any(fnmatchcase(row, pattern) for row in rows):
            raise UserError(f"{where}: '{pattern}' matches no row{nearest(pattern, rows)}")


def _check_name(path: Path) -> None:
    """Raises UserError where a preset's file gives its study no name, or the name of another preset's."""
    if path.suffix != ".yaml" or not NAME.fullmatch(path.stem):
        raise UserError(
            f"{cut(repr(str(path)))} is no preset's name: that is NAME.yaml, at most {SHOWN} of the characters "
            "A-Z a-z 0-9 . _ + -, of which the first is a letter or a digit; rename the file"
        )
    others = [Path("config", path.name)]
    with suppress(OSError, UnicodeError):
        others.append(Path(Path("results", path.stem, CLAIM).read_text(encoding="utf-8").strip()))
    for other in others:
        if path.exists() and other.is_file() and not path.samefile(other):
            raise UserError(
                f"{path} has the name of {other}, and so its results, results/{path.stem}; rename one of them"
            )


def _check_data(data: Data) -> None:
    if data.resize < data.image_size:
        raise UserError(f"'data.resize': {data.resize} is smaller than 'data.image_size' ({data.image_size})")
    if data.augment.shift >= data.image_size:
        raise UserError(f"'data.augment.shift': {data.augment.shift} moves all {data.image_size} pixels out of sight")
    if data.loader == "memory" and not data.augment.area == data.augment.aspect == [1, 1]:
        raise UserError("'data.augment': the loader 'memory' does not crop: say 'area: [1, 1], aspect: [1, 1]'")


def _explain(error: ValidationError, values: dict[str, Any]) -> str:
    """The first mistake in words. A misspelt key is missing under its right name too: the misspelling is named."""
    errors = [(_place(one, values), one) for one in error.errors(include_url=False)]
    place, first = next((found for found in errors if found[1]["type"] == "extra_forbidden"), errors[0])
    same = [one for where, one in errors if where == place]
    if first["type"] == "literal_error" and isinstance(first["input"], list):
        # Of what may be a word or a list: what is wrong with the list.
        place, first = next((found for found in errors if found[1]["type"] != "literal_error"), errors[0])
        same = [first]
    where = _dotted(place)
    if first["type"] == "extra_forbidden":
        return f"unknown key '{where}'{nearest(str(place[-1]), _keys(Preset, place[:-1]))}"
    if first["type"] == "missing":
        return f"the key '{where}' is missing"
    if first["type"] == "value_error":
        return f"'{where}': {first['ctx']['error']}"
    wrong = cut(repr(first["input"]))
    if first["type"] in ("model_type", "dict_type"):
        return f"'{where}': {wrong}: it should have keys"
    must = " or ".join(one["msg"].removeprefix("Input should be ") for one in same)
    must = f"it should be {must}" if first["msg"].startswith("Input should be ") else f"{must[0].lower()}{must[1:]}"
    return f"'{where}': {wrong}: {must}"


def _place(error: ErrorDetails, values: Any) -> list[str | int]:
    """The keys that lead to a mistake, without pydantic's names for the types that a value may have."""
    place: list[str | int] = []
    for part in error["loc"]:
        inside = part in values if isinstance(values, dict) else isinstance(values, list) and isinstance(part, int)
        if inside:
            values = values[part]
        if inside or (error["type"] == "missing" and part == error["loc"][-1]):
            place.append(part)
    return place


def _dotted(place: Iterable[str | int]) -> str:
    """A place as messages say it: "training.epochs"."""
    return ".".join(cut(repr(str(part))[1:-1]) for part in place)


def _empty(values: Any) -> list[str | int]:
    """The keys that lead to the first value that is none; nothing where there is none."""
    parts = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in parts:
        if value is None:
            return [key]
        if within := _empty(value):
            return [key, *within]
    return []


def _keys(model: type[PresetPart], place: list[str | int]) -> list[str]:
    """The keys that a place of a preset may have."""
    for part in place:
        field = model.model_fields.get(str(part))
        found = [kind for kind in _sections(field.annotation)] if field else []
        model = found[0] if found else model
    return list(model.model_fields)


def _sections(annotation: Any) -> Iterable[type[PresetPart]]:
    if isinstance(annotation, type) and issubclass(annotation, PresetPart):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _sections(part)
