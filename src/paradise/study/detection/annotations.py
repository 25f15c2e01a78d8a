"""Annotation files in COCO's format."""

import json
from pathlib import Path
from typing import Any

from paradise.errors import UserError


def read_annotations(path: Path) -> dict[str, Any]:
    """The `images`, `annotations` and `categories` in the file `path`. Raises UserError where it is no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        content["images"], content["annotations"], content["categories"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no annotation file of COCO's format ({error!r})") from None
    return content


def read_categories(path: Path) -> dict[str, int]:
    """The names and numbers of the categories in the file `path`, in the order in which the classes are numbered."""
    listed = read_annotations(path)["categories"]
    return {category["name"]: category["id"] for category in sorted(listed, key=lambda category: category["id"])}
