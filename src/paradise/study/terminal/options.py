"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from paradise.errors import UserError, nearest
from paradise.study.preset import Detection, Preset
from paradise.study.registry import DETECTION_SETS
from paradise.study.rows import DetectorRow

DIGITS = Path("config/digits.yaml")
SAVE_MINUTES = 10.0  # between saved states
RESTART = ACCEPT_CHANGES = False

PresetPath = Annotated[Path, typer.Option("--preset", help="The study's YAML file.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads.")]
Seed = Annotated[int, typer.Option(min=0)]
RunFolder = Annotated[Path, typer.Argument(help="A folder that `paradise train` wrote.")]
Models = Annotated[
    list[str] | None, typer.Argument(help="Models, such as resnet18 pd_b_resnet18; the preset's by default.")
]
Gpus = Annotated[int | None, typer.Option(min=0, help="How many to use; where there is one, 1 by default.")]
Output = Annotated[Path | None, typer.Option(help="The JSON file to write; in the preset's results by default.")]
SaveMinutes = Annotated[float, typer.Option(min=0, help="Time between saved states.")]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew, and delete saved states.")]
AcceptChanges = Annotated[
    bool, typer.Option("--accept-changes", help="Go on, though code or recipe changed since the state was saved.")
]


def reserve(gpus: int | None, processes: int = 1) -> None:
    """See `device.reserve`; torch is loaded only now."""
    from paradise.study.device import reserve

    reserve(gpus, processes)


def detection_of(preset: Preset) -> Detection:
    """The preset's section `detection`. Raises UserError where it has none, or one that its data set refuses."""
    if preset.detection is None:
        raise UserError(f"{preset.path} has no section 'detection'; config/digits.yaml shows one")
    DETECTION_SETS.get(preset.detection.dataset).check(preset.detection)
    return preset.detection


def detector_named(name: str, preset: Preset) -> DetectorRow:
    """The preset's detector of this name. Raises UserError where it has none."""
    detection_of(preset)
    known = {row.id: row for row in preset.detectors}
    if name not in known:
        raise UserError(f"{preset.path} has no detector '{name}'{nearest(name, known)}")
    return known[name]


def require_mmdetection() -> None:
    """See `detection.require_mmdetection`."""
    from paradise.study.detection import require_mmdetection

    require_mmdetection()
