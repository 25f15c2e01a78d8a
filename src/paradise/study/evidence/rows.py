"""Which of a study's networks the evidence looks at: the first seed's of some rows. No torch here."""

from paradise.study.preset import Preset
from paradise.study.rows import Row, Run


def rows_with_all_branches(preset: Preset) -> list[Row]:
    """The rows whose blocks have all of the paper's branches."""
    return [row for row in preset.models if row.has_all_branches]


def rows_of_18_layers(preset: Preset) -> list[Row]:
    """The models of 18 layers, the plain one first."""
    return [row for row in preset.models if row.depth == 18]


def first_run(preset: Preset, row: Row) -> Run:
    """The run of `row` that is looked at."""
    return Run(row, preset.seeds[0])


def weights(preset: Preset, rows: list[Row]) -> list[str]:
    """The places below a study's results of the weights that are looked at."""
    return [f"{first_run(preset, row).place}/weights.safetensors" for row in rows]
