"""schema: the JSON schema of presets, for editors."""

import json
from typing import Annotated

import typer

from paradise.errors import UserError
from paradise.study.files import write_text
from paradise.study.preset import SCHEMA, schema


def command(
    check: Annotated[bool, typer.Option("--check", help="Only say whether the file is what would be written.")] = False,
) -> None:
    """Write config/preset.schema.json, by which editors complete and check presets."""
    text = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    if not check:
        write_text(SCHEMA, text)
    elif not SCHEMA.is_file() or SCHEMA.read_text() != text:
        raise UserError(f"{SCHEMA} is not what the code says of presets; `paradise schema` writes it")
