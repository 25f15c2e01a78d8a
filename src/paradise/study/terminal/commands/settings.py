"""settings: what DVC compares beside files."""

from paradise.study.preset import Preset
from paradise.study.terminal.options import DIGITS, PresetPath


def command(preset: PresetPath = DIGITS) -> None:
    """Write the settings and the code that each result of a preset depends on, as DVC compares them: settings.json."""
    from paradise.study.sharing.pipeline import write_settings

    write_settings(Preset.load(preset))
