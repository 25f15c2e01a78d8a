"""Names of models, branches and table rows. No torch here: the workflow and the tables import this.

A *row* is one training: a model, and for the branch ablation the branches it has. Its identifier names its
folder and is what the commands take: `pd_b_resnet18`, or `pd_b_resnet18-standard1-skeleton`.
"""

import csv
from pathlib import Path

from paradise.errors import UserError, nearest

# In the order of the gate's outputs.
BRANCHES = ("standard1", "standard2", "skeleton", "group")
KINDS = ("", "se_", "ge_", "ac_", "pd_a_", "pd_b_")
DEPTHS = (18, 50)
DETECTORS = {"RetinaNet": "retinanet", "Cascade R-CNN": "cascade_rcnn"}
INSIDE = "inside"  # what is added to the name of a row that has blocks in all of its detector


def list_models() -> list[str]:
    """The names that `create_model` takes, in the order of the paper's first table."""
    return [f"{kind}resnet{depth}" for depth in DEPTHS for kind in KINDS]


def split_model(name: str) -> tuple[str, int]:
    """`"pd_b_resnet18"` → `("pd_b_", 18)`. Raises UserError for a name that is not in `list_models()`."""
    if name not in list_models():
        raise UserError(f"unknown model '{name}'{nearest(name, list_models())}")
    kind, _, depth = name.partition("resnet")
    return kind, int(depth)


def plain_of(name: str) -> str:
    """The plain ResNet of the same depth: `"pd_b_resnet18"` → `"resnet18"`."""
    return f"resnet{split_model(name)[1]}"


def check_branches(name: str, branches) -> tuple[str, ...]:
    """`branches` in the gate's order. Raises UserError where the model `name` cannot have them."""
    kind, _ = split_model(name)
    if kind not in ("pd_a_", "pd_b_"):
        raise UserError(f"'{name}' has no branches to choose; only pd_a_ and pd_b_ models do")
    return order_branches(kind.removesuffix("_"), branches, name)


def order_branches(kind: str, branches, of: str) -> tuple[str, ...]:
    """`branches` in the gate's order. Raises UserError, naming `of`, where a "pd_a" or "pd_b" cannot have them."""
    branches = tuple(branches)
    for branch in branches:
        if branch not in BRANCHES:
            raise UserError(f"unknown branch '{branch}' of '{of}'{nearest(branch, BRANCHES)}")
    if len(set(branches)) < len(branches):
        raise UserError(f"'{of}' was given a branch twice: {', '.join(branches)}")
    if "standard1" not in branches:
        raise UserError(f"'{of}' needs the branch 'standard1'; given: {', '.join(branches) or 'none'}")
    if kind == "pd_b" and len(branches) < 2:
        raise UserError(f"'{of}' needs two branches or more: over one, its gate is the constant 1")
    return tuple(branch for branch in BRANCHES if branch in branches)


def parse_row(row: str) -> tuple[str, tuple[str, ...] | None]:
    """`"pd_b_resnet18-standard1-skeleton"` → `("pd_b_resnet18", ("standard1", "skeleton"))`.

    Raises UserError for an unknown model or branch, and for an identifier that names a row of another name
    (branches out of order, or the ablation's rows that are models of the first table), so that no row is trained twice.
    """
    name, *branches = row.split("-")
    split_model(name)
    if not branches:
        return name, None
    checked = check_branches(name, branches)
    if row_of(name, checked) != row:
        raise UserError(f"the row '{row}' is called '{row_of(name, checked)}'")
    return name, checked


def row_of(name: str, branches) -> str:
    """The identifier of the row that trains `name` with these branches (method: shared rows are one training)."""
    kind, depth = split_model(name)
    branches = check_branches(name, branches)
    if branches == BRANCHES:
        return name
    if kind == "pd_a_" and branches == ("standard1",):
        return f"resnet{depth}"
    if kind == "pd_a_" and branches == ("standard1", "skeleton"):
        return f"ac_resnet{depth}"
    return "-".join((name, *branches))


def imagenet_rows(paper: Path) -> list[tuple[str, dict]]:
    """Rows of the paper's first table in its order: (row identifier, published values)."""
    return [(line["model"].lower().replace("-", "_"), line) for line in _read(paper / "imagenet.csv")]


def ablation_rows(paper: Path) -> list[tuple[str, str | None, dict]]:
    """Rows of the paper's second table: (PD-A row, PD-B row or None for one branch alone, published values)."""
    rows = []
    for line in _read(paper / "ablation.csv"):
        branches = [branch for branch in BRANCHES if line[branch] == "1"]
        gated = row_of("pd_b_resnet18", branches) if len(branches) > 1 else None
        rows.append((row_of("pd_a_resnet18", branches), gated, line))
    return rows


def detection_rows(paper: Path) -> list[tuple[str, dict]]:
    """Rows of the paper's third table, then for each detector a new one that nobody has published.

    (row identifier, such as `retinanet-pd_b_resnet50`, published values, none for a new row).
    """
    rows = [
        (f"{DETECTORS[line['detector']]}-{line['backbone'].lower().replace('-', '_')}", line)
        for line in _read(paper / "coco.csv")
    ]
    return rows + [
        (f"{row}-{INSIDE}", {"detector": line["detector"], "backbone": "PD-B in backbone, FPN and heads (new)"})
        for row, line in rows
        if backbone_of(row) == "pd_b_resnet50"
    ]


def backbone_of(row: str) -> str:
    """The classification row whose weights a detection row starts from: `pd_b_resnet50`."""
    return row.split("-")[1]


def all_rows(paper: Path) -> list[str]:
    """Every distinct classification training of the two tables, in the order in which they name them."""
    rows = [row for row, _ in imagenet_rows(paper)]
    for summed, gated, _ in ablation_rows(paper):
        rows += [summed] if gated is None else [summed, gated]
    return list(dict.fromkeys(rows))


def _read(path: Path) -> list[dict]:
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        raise UserError(f"the published table {path} is missing; run in the project's folder") from None
