"""push: what was made here, for others."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    preset: Annotated[
        Path | None, typer.Option(help="A study that dvc.yaml is not of: it is shared as one folder, without weights.")
    ] = None,
) -> None:
    """Record in dvc.lock what Snakemake made of the study in dvc.yaml, and share it."""
    from paradise.study.sharing.push import push, push_folder
    from paradise.study.sharing.repo import described

    if preset is None or preset.resolve() == described().path.resolve():
        push()
    else:
        push_folder(preset)
