"""Pieces of evidence: what is declared of each, and that one is added by adding one file."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, preset_values, run

from paradise.study.code import closure
from paradise.study.preset import Preset
from paradise.study.registry import EVIDENCE
from paradise.study.steps.report import STEP as REPORT

PIECES = ["lottery", "perceptrons", "diversity", "pruning", "gradcam"]


def test_the_pieces_have_their_order():
    pieces = EVIDENCE.all()
    assert sorted(pieces, key=lambda name: pieces[name].order) == PIECES
    assert [name for name in PIECES if pieces[name].trains] == ["lottery", "perceptrons"]


def test_each_is_measured_on_its_files(digits_preset, digits):
    looked_at = {name: EVIDENCE.get(name).looks_at(digits_preset) for name in PIECES}
    assert len(looked_at["lottery"]) == 15
    assert looked_at["lottery"][3] == "evidence/lottery/rest/seed0/log.csv"
    assert looked_at["perceptrons"] == []
    whole = ["pd_a_resnet18", "pd_b_resnet18", "pd_a_resnet50", "pd_b_resnet50"]
    assert looked_at["diversity"] == looked_at["pruning"] == [f"{row}/seed0/weights.safetensors" for row in whole]
    small = ["resnet18", "se_resnet18", "ge_resnet18", "ac_resnet18", "pd_a_resnet18", "pd_b_resnet18"]
    assert looked_at["gradcam"] == [f"{row}/seed0/weights.safetensors" for row in small]
    values = preset_values(digits) | {"rows": ["pd_b_resnet18", "pd_a_resnet18-standard1-group"], "seeds": [3, 0]}
    other = Preset.of(values, Path("config/other.yaml"))
    for name in ("diversity", "pruning", "gradcam"):
        assert EVIDENCE.get(name).looks_at(other) == ["pd_b_resnet18/seed3/weights.safetensors"]


def test_what_declares_the_pieces_is_light():
    program = (
        "import sys; from paradise.study.registry import EVIDENCE; EVIDENCE.all();"
        "print([name for name in ('torch', 'numpy', 'matplotlib', 'pandas', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", PIECES)
def test_what_measures_is_none_of_what_shows(name, digits_preset):
    piece = EVIDENCE.get(name)
    showing = {"paradise.study.evidence.section", "paradise.study.figures", piece.shown_by}
    assert not showing & set(closure(piece.measured_by, "paradise.study.evidence.train_start"))
    assert showing <= set(closure(*REPORT.entries(digits_preset, {})))
    assert piece.measured_by not in closure(*REPORT.entries(digits_preset, {}))


TOY = '''"""How many images there are of each class."""

from paradise.study.evidence.piece import Evidence


def measure(networks):
    labels = networks.manifest.val.labels
    return {"images": [labels.count(label) for label in range(networks.manifest.num_classes)]}


def show(study, record):
    from paradise.study import figures
    from paradise.study.evidence.section import Section

    images = record.evidence["images"]
    figure, (axis,) = figures.panels(1)
    axis.bar(range(len(images)), images)
    lines = [[str(label), str(count)] for label, count in enumerate(images)]
    return Section(record, ("One.", "Two.", "Three."), ["Class", "Images"], lines, figure, "Images of each class.")


EVIDENCE = Evidence("Images of each class", 3, measured_by=__name__, shown_by=__name__)
'''
USE = """
from pathlib import Path
from paradise.study.evidence.make import make_evidence
from paradise.study.evidence.section import sections
from paradise.study.preset import Preset
from paradise.study.results import Study
from paradise.study.stale import Survey
from paradise.study.steps.make_evidence import STEP
from paradise.study.steps.report import STEP as REPORT

preset = Preset.load(Path("toy.yaml"))
assert {"piece": "toy"} in STEP.jobs(preset)
assert "paradise.study.evidence.pieces.toy" in REPORT.entries(preset, {})
make_evidence("toy", preset, 1, 0)
job = STEP.job(preset, piece="toy")
assert "paradise.study.evidence.pieces.toy" in Survey(preset).record(job).code
assert Survey(preset).why_stale(job) == (), Survey(preset).why_stale(job)
(section,) = sections(Study(preset))
print(section.name, "|", section.title, "|", section.sentences[2], "|", section.lines[9])
"""


def test_a_piece_is_added_by_one_file(digits, tmp_path):
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "paper").symlink_to(REPOSITORY / "data" / "paper")
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(preset_values(digits)))
    (tmp_path / "src/paradise/study/evidence/pieces/toy.py").write_text(TOY)
    done = run(sys.executable, "-c", USE, cwd=tmp_path)
    assert done.stdout == "toy | Images of each class | Three. | ['9', '8']\n"
