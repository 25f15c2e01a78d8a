"""What `paradise status` says of a study whose files are made up."""

from pathlib import Path

import pytest
from conftest import PAPER, preset_values
from fabricated import fabricate, write

from paradise.study.preset import Preset
from paradise.study.stale import Survey
from paradise.study.terminal.commands.status import command
from paradise.study.terminal.summary import describe, name_jobs

ROWS = ["resnet18", "pd_a_resnet18", "pd_b_resnet18", "se_resnet18"]
OTHER_CODE = {"paradise": "0" * 12}
