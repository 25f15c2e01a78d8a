"""The fingerprint of every step, held against the modules that a real run of the step has loaded."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import REPOSITORY, preset_values

from paradise.study import code
from paradise.study.preset import Preset
from paradise.study.registry import EVIDENCE
from paradise.study.rows import Row
from paradise.study.steps import STEPS, all_steps

ROWS = ["resnet18", "pd_a_resnet18", "pd_b_resnet18", "resnet50"]
DETECTOR = "retinanet-resnet50"
# Runs the command line and writes down which modules of the package it has loaded at its end.
RUN = """
import atexit, json, sys
def write(path=sys.argv.pop(1)):
    loaded = sorted(name for name in sys.modules if name.split(".")[0] == "paradise")
    open(path, "w").write(json.dumps(loaded))
atexit.register(write)
from paradise.study.terminal.cli import main
main()
"""


def commands(folder: Path) -> list[tuple[str, dict, list[str]]]:
    """Every step once, in an order in which each finds what it needs: the step, its wildcards, the command."""
    run = {"row": "resnet18", "run": "seed0"}
    detector = {"detector": DETECTOR, "seed": "0"}
    trained = [("train", {"row": row, "seed": "0"}, ["train", row]) for row in ROWS]
    others = [("fuse", {"row": row, "run": "seed0"}, ["fuse", f"results/test/{row}/seed0"]) for row in ROWS]
    starts = ("random", "rest", "maximum", "magnitude", "fused")
    return [
        ("prepare", {}, ["prepare"]),
        *trained,
        *others,
        ("evaluate", run, ["evaluate", "results/test/resnet18/seed0"]),
        ("import_checkpoint", {"row": "resnet18"}, ["import-checkpoint", "given.pth", "--model", "resnet18"]),
        ("complexity", {}, ["complexity"]),
        ("latency", {}, ["latency"]),
        ("prepare_detection", {}, ["detection", "prepare"]),
        ("train_detector", detector, ["detection", "train", DETECTOR]),
        ("evaluate_detector", detector, ["detection", "evaluate", f"results/test/detection/{DETECTOR}/seed0"]),
        ("profile_detectors", {}, ["detection", "profile"]),
        *(("train_start", {"start": start, "seed": "0"}, ["evidence", "train", start]) for start in starts),
        *(("make_evidence", {"piece": name}, ["evidence", "make", name]) for name in EVIDENCE.names()),
        *(
            ("table", job.wildcards, ["tables", job.wildcards["table"]])
            for job in all_steps()["table"].of(study(folder))
        ),
        ("report", {}, ["report"]),
        ("crate", {}, ["crate"]),
    ]


def study(folder: Path) -> Preset:
    return Preset.load(folder / "config" / "test.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory, detectors) -> Path:
    """A folder with a preset that every step has something to do in."""
    folder = tmp_path_factory.mktemp("project")
    # Detectors take backbones of the full width.
    values = preset_values("data/test", width=64) | {"rows": ROWS, "evidence": {"seeds": [0]}}
    values["checkpoints"] = {"resnet18": "given.pth"}
    detection = detectors.detection.values() | {"folder": "data/test-detection", "rows": [DETECTOR]}
    values["detection"] = detection
    for name in ("data/paper", "workflow", "Snakefile", "CITATION.cff", "LICENSE"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "config").mkdir()
    (folder / "config" / "test.yaml").write_text(yaml.safe_dump(values))
    torch.manual_seed(0)
    torch.save(Row.parse("resnet18").build(10).state_dict(), folder / "given.pth")
    return folder


@pytest.fixture(scope="module")
def loaded(project) -> list[tuple[str, dict, list[str]]]:
    """Each step's real run: the step, its wildcards, and the modules that its process had loaded."""
    found = []
    for index, (step, wildcards, command) in enumerate(commands(project)):
        path = project / f"loaded-{index}.json"
        preset = (
            []
            if command[0] in ("fuse", "evaluate") or command[:2] == ["detection", "evaluate"]
            else ["--preset", "config/test.yaml"]
        )
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(path), *command, *preset], cwd=project, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stderr)
        found.append((step, wildcards, json.loads(path.read_text())))
    return found


@pytest.mark.slow
def test_every_step_is_run_here(loaded):
    assert {step for step, _, _ in loaded} == set(STEPS.names())


@pytest.mark.slow
def test_each_module_that_a_step_loads_is_its_code_or_has_no_numbers(loaded, project, monkeypatch):
    """One constant of each module is edited: the fingerprint of every step that had it loaded changes."""
    monkeypatch.chdir(project)
    preset, root = study(project), Path(shutil.copytree(code.ROOT, project / "changed" / "paradise"))
    monkeypatch.setattr(code, "ROOT", root)
    _forget()
    before = {index: _fingerprint(preset, step, wildcards) for index, (step, wildcards, _) in enumerate(loaded)}
    checked = 0
    for module in sorted({module for _, _, modules in loaded for module in modules}):
        if code.has_no_numbers(module):
            continue
        path = code._source(module)
        original = path.read_text()
        path.write_text(_edited(original))
        _forget()
        for index, (step, wildcards, modules) in enumerate(loaded):
            if module in modules:
                assert _fingerprint(preset, step, wildcards) != before[index], f"{step} {wildcards} loads {module}"
                checked += 1
        path.write_text(original)
        _forget()
    assert checked > 300


@pytest.mark.slow
def test_the_records_that_the_steps_wrote_are_what_would_be_made_now(loaded, project, monkeypatch):
    """The declarations say of settings, inputs, outputs and code what the processes wrote down."""
    from paradise.study.stale import Survey

    monkeypatch.chdir(project)
    survey = Survey(study(project))
    wildcards = [(step, dict(of)) for step, of, _ in loaded if step != "crate"]
    for step, of in wildcards:
        assert survey.why_stale(all_steps()[step].job(survey.preset, **of)) == (), (step, of)


def _fingerprint(preset: Preset, step: str, wildcards: dict) -> dict[str, str]:
    return code.fingerprint(*all_steps()[step].entries(preset, wildcards))


def _edited(text: str) -> str:
    """A module's text with one constant changed; with one more where it has none."""
    tree = ast.parse(text)
    lone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in lone]
    if not constants:
        return f"{text}\nCHANGED = 1\n"
    constants[-1].value = f"{constants[-1].value}, changed"
    return ast.unparse(tree)


def _forget() -> None:
    for cached in (code._source, code._read, code.closure):
        cached.cache_clear()
