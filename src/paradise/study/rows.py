"""Rows as values: what the paper's tables have a line of, and all that is asked of one. No torch here.

A row is one training. Its identifier names its folder and is what the commands take: `pd_b_resnet18`, or for the branch
ablation `pd_b_resnet18-standard1-skeleton`; a plain network that is trained as many minutes as ParaDise's is
`resnet18-longer`; a detector's is `retinanet-pd_b_resnet50`. Nothing else takes a name apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paradise.errors import UserError
from paradise.names import BLOCKS, BRANCHES, PLAIN, WIDTH, model_name, order_branches, parse_model
from paradise.study.registry import DETECTORS

if TYPE_CHECKING:
    from paradise.resnet import ResNet

INSIDE = "inside"  # what is added to the name of a row that has blocks in all of its detector
LONGER = "longer"  # what is added to the name of a plain network that is trained for more epochs
IMPORTED = "imported"  # the run that is a checkpoint of others


@dataclass(frozen=True)
class Row:
    """A row of the two classification tables: a model, and for the branch ablation the branches that it has."""

    kind: str  # a module of `paradise.models`
    depth: int
    branches: tuple[str, ...] | None = None  # of the ablation; otherwise the kind's own
    longer: bool = False  # the plain network, trained for more epochs

    @classmethod
    def parse(cls, text: str) -> Row:
        """The row with this identifier.

        Raises:
            UserError: An unknown model or branch, or a row that has another name (its branches out of order, or a row
                of the ablation that is a model of the first table), so that none is trained twice.
        """
        name, *branches = text.split("-")
        kind, depth = parse_model(name)
        if branches == [LONGER] and kind == PLAIN:
            return cls(kind, depth, longer=True)
        row = cls.of(kind, depth, branches) if branches else cls(kind, depth)
        if row.id != text:
            raise UserError(f"the row '{text}' is called '{row.id}'")
        return row

    @classmethod
    def of(cls, kind: str, depth: int, branches: Iterable[str]) -> Row:
        """The row that trains this kind of block with these branches: some are models of the first table.

        Raises:
            UserError: The kind cannot have them.
        """
        name = model_name(kind, depth)
        if kind not in BLOCKS:
            raise UserError(f"'{name}' has no branches to choose; only pd_a_ and pd_b_ models do")
        ordered = order_branches(kind, branches, name)
        if ordered == BRANCHES:
            return cls(kind, depth)
        if kind == "pd_a" and ordered == ("standard1",):
            return cls(PLAIN, depth)
        if kind == "pd_a" and ordered == ("standard1", "skeleton"):
            return cls("ac", depth)
        return cls(kind, depth, ordered)

    @classmethod
    def printed(cls, label: str) -> Row:
        """The row of a label as the paper prints it: `"PD-B-ResNet18"`."""
        return cls(*parse_model(label.lower().replace("-", "_")))

    @property
    def model(self) -> str:
        """What `paradise.create_model` calls it."""
        return model_name(self.kind, self.depth)

    @property
    def id(self) -> str:
        return "-".join((self.model, *(self.branches or ()), *([LONGER] if self.longer else [])))

    def __str__(self) -> str:
        return self.id

    @property
    def place(self) -> str:
        """Its folder below the study's."""
        return self.id

    @property
    def family(self) -> str:
        """Its kind as it is printed: "PD-B"; "ResNet" for the plain one."""
        return "ResNet" if self.kind == PLAIN else self.kind.replace("_", "-").upper()

    @property
    def label(self) -> str:
        """As it is printed: "PD-B-ResNet18", with the branches of an ablation's row behind it."""
        name = f"ResNet{self.depth}" if self.kind == PLAIN else f"{self.family}-ResNet{self.depth}"
        name = f"{name}, trained longer" if self.longer else name
        return f"{name}, {' + '.join(map(str.title, self.branches))}" if self.branches else name

    @property
    def plain(self) -> Row:
        """The plain network of the same depth."""
        return Row(PLAIN, self.depth)

    @property
    def whole(self) -> bool:
        """Whether it is a model of the first table, not a part of one nor trained otherwise."""
        return self.branches is None and not self.longer

    @property
    def has_all_branches(self) -> bool:
        """Whether its blocks have all of the paper's branches."""
        return self.kind in BLOCKS and self.branches is None

    def build(self, num_classes: int, width: int = WIDTH) -> ResNet:
        """Its network, with fresh weights from torch's random generator."""
        from paradise.models import create_model  # with torch, which tables do without

        return create_model(self.model, num_classes, self.branches, width)


@dataclass(frozen=True)
class DetectorRow:
    """A row of the detection table: a detector, its backbone, and whether all of it has blocks."""

    detector: str  # a module of `paradise.study.detection.detectors`
    backbone: Row
    inside: bool = False

    @classmethod
    def parse(cls, text: str) -> DetectorRow:
        """The row with this identifier. Raises UserError where there is none."""
        detector, _, rest = text.partition("-")
        DETECTORS.module(detector)
        backbone, inside = rest.removesuffix(f"-{INSIDE}"), rest.endswith(f"-{INSIDE}")
        return cls(detector, Row.parse(backbone), inside)

    @classmethod
    def printed(cls, detector: str, backbone: str) -> DetectorRow:
        """The row of labels as the paper prints them: `"Cascade R-CNN"`, `"PD-B-ResNet50"`."""
        return cls(detector.lower().replace("-", "").replace(" ", "_"), Row.printed(backbone))

    @property
    def id(self) -> str:
        return "-".join((self.detector, self.backbone.id, *([INSIDE] if self.inside else [])))

    def __str__(self) -> str:
        return self.id

    @property
    def place(self) -> str:
        """Its folder below the study's."""
        return f"detection/{self.id}"

    @property
    def family(self) -> str:
        """Its backbone's kind as it is printed, and whether all of it is of that kind."""
        return f"{self.backbone.family}{' inside' if self.inside else ''}"

    @property
    def title(self) -> str:
        """The detector as it is printed: "Cascade R-CNN"."""
        label: str = DETECTORS.get(self.detector).label
        return label

    @property
    def label(self) -> str:
        """As it is printed: "RetinaNet, PD-B-ResNet50"."""
        return f"{self.title}, {self.backbone.label}{' and inside' if self.inside else ''}"

    @property
    def cost(self) -> int:
        """What its training costs beside those of other rows: a larger number for a longer one."""
        return int(self.backbone.kind in BLOCKS) + 2 * int(self.inside)

    @property
    def plain(self) -> DetectorRow:
        """The same detector with a plain backbone."""
        return DetectorRow(self.detector, self.backbone.plain)


@dataclass(frozen=True)
class Run:
    """One training of a row, by its seed, or a checkpoint of others, which has none."""

    row: Row | DetectorRow
    seed: int | None = 0

    @property
    def name(self) -> str:
        return IMPORTED if self.seed is None else f"seed{self.seed}"

    @property
    def place(self) -> str:
        """Its folder below the study's."""
        return f"{self.row.place}/{self.name}"

    @property
    def anchor(self) -> str:
        """What links to it in the report are called."""
        return self.place.replace("/", "-")

    def folder(self, results: Path) -> Path:
        return results / self.place

    def __str__(self) -> str:
        return f"{self.row} {self.name}"
