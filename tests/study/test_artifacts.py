"""Every file of a study, damaged or put in another's place, is shown and shared as good by nothing."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from written import REPOSITORY, make_study, some_evidence

from paradise.errors import UserError
from paradise.study.preset import Preset
from paradise.study.records import View
from paradise.study.registry import EVIDENCE, TABLES
from paradise.study.results import Study
from paradise.study.sharing.push import push_folder
from paradise.study.stale import Survey
from paradise.study.steps import Job
from paradise.study.tables import render, write_tables
from paradise.study.terminal.summary import describe

ROWS = ["resnet18", "pd_a_resnet18", "resnet50"]
DETECTORS = ["retinanet-resnet50", "cascade_rcnn-resnet50"]
CHECKPOINTS = {"pd_a_resnet18": "theirs.pth.tar", "resnet18": "resnet18.pth"}
PIECES = ["lottery", "perceptrons"]


@pytest.fixture(scope="module")
def presets(tmp_path_factory) -> Iterator[tuple[Preset, Preset]]:
    """A study with all that there can be, and another one of the same rows; both with their tables."""
    detection = yaml.safe_load((REPOSITORY / "config" / "digits.yaml").read_text())["detection"]
    detection["rows"] = DETECTORS
    del detection["overrides"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("studies"))
        made = []
        for name, rate, images in (("digits", 0.005, 400), ("other", 0.007, 401)):
            preset = make_study(
                ROWS,
                seeds=[0, 1],
                name=name,
                evidence={piece: some_evidence()[piece] for piece in PIECES},
                detection=detection | {"folder": f"data/{name}-detection", "images": {"train": images, "val": 100}},
                checkpoints=CHECKPOINTS,
                data={"folder": f"data/{name}", "per_class": images},
                training={"learning_rate": rate},
            )
            write_tables(TABLES.names(), preset)
            made.append(preset)
        yield made[0], made[1]


def shown(study: Study) -> set[str]:
    """The jobs whose numbers are shown."""
    jobs = {"complexity": study.complexity, "latency": study.latency, "profile_detectors": study.detection}
    jobs |= {f"make_evidence {piece}": study.evidence(piece) for piece in EVIDENCE.names()}
    runs = [run for row in study.preset.classifiers for run in (*study.runs(row), *study.imported(row))]
    return {f"evaluate {run.run}" for run in runs} | {
        *(job for job, record in jobs.items() if record is not None),
        *(f"evaluate_detector {run.run}" for row in study.preset.detectors for run in study.detectors(row)),
    }


def resting_on(preset: Preset, job: Job) -> set[str]:
    """The jobs of a study whose results follow from that of `job`, and it."""
    jobs = Survey(preset).jobs.values()
    found: set[str] = set()
    more = {str(job)}
    while more != found:
        found = more
        files = {path for one in jobs if str(one) in found for path in files_of(one)}
        more = {str(one) for one in jobs if not files.isdisjoint([*one.needs, *one.inputs.values()])} | found
    return found


def flip(path: Path, others: list[Path]) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x41
    path.write_bytes(content)


def cut(path: Path, others: list[Path]) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path, others: list[Path]) -> None:
    path.write_bytes(b"")


def delete(path: Path, others: list[Path]) -> None:
    path.unlink()


def another(index: int) -> Callable[[Path, list[Path]], None]:
    def swap(path: Path, others: list[Path]) -> None:
        if index < len(others):
            shutil.copy2(others[index], path)

    return swap


def the_same_of_others(path: Path, presets: tuple[Preset, Preset]) -> list[Path]:
    """That file of another row, of another seed, and of the other preset, so far as there are any."""
    here, there = (str(preset.results) for preset in presets)
    text = str(path)
    row = next((row for row in (*DETECTORS, *ROWS) if f"/{row}/" in text), None)
    rows = {row: other for names in (ROWS, DETECTORS) for row, other in zip(names, names[1:] + names[:1])}
    rows |= {"pd_a_resnet18": "resnet18"}  # of which there is a checkpoint as well
    found = [text.replace(f"/{row}/", f"/{rows[row]}/")] if row else []
    found += [text.replace("seed0", "seed1")] if "seed0" in text else []
    found += [text.replace(here, there)] if here in text else [text.replace("data/digits", "data/other")]
    return [other for other in map(Path, found) if other != path and other.exists()]


DAMAGES = {"flip": flip, "cut": cut, "empty": empty, "delete": delete} | {
    f"other {index}": another(index) for index in range(3)
}


def files_of(job: Job) -> list[Path]:
    return list(dict.fromkeys([*job.outputs, *job.vouched.values()]))


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_rests_on_a_damaged_file_is_not_shown(presets, damage):
    preset = presets[0]
    good, tried = shown(Study(preset)), set()
    assert len(good) == len(ROWS) * 2 + len(CHECKPOINTS) + len(DETECTORS) * 2 + 3 + len(PIECES)
    for job in Survey(preset).jobs.values():
        one_of_each = job.wildcards.get("seed", "0") == "0" and job.wildcards.get("start", "random") == "random"
        if issubclass(job.step.schema, View) or not one_of_each or not job.record.exists():
            continue
        resting = resting_on(preset, job)
        for path in files_of(job):
            content = path.read_bytes()
            try:
                DAMAGES[damage](path, the_same_of_others(path, presets))
                if not path.exists() or path.read_bytes() != content:
                    tried.add(job.step.name)
                    check(preset, job, path, resting, good)
            finally:
                path.write_bytes(content)
    assert shown(Study(preset)) == good
    assert len(tried) >= (11 if "other" not in damage else 4), tried


def check(preset: Preset, job: Job, path: Path, resting: set[str], good: set[str]) -> None:
    """That nothing shows or shares what rests on `path`, which is of `job`."""
    where, study = f"{path} of {job}", Study(preset, strict=False)
    if not path.exists() and (path.name in job.step.weights or job.step.local):
        assert shown(study) in (good, good - resting), where  # it may stay where it was made
        return
    assert shown(study) == good - resting, where
    survey = study.survey
    assert all(survey.refused(one) or survey.missing(one) for one in survey.jobs.values() if str(one) in resting), where
    assert len(describe(survey)) > 1
    for name in TABLES.names():
        render(name, study)
    with pytest.raises(UserError) as refused:
        push_folder(preset.path)
    assert "\n" not in str(refused.value)


def test_a_table_or_a_report_that_was_edited_is_made_again(presets):
    preset = presets[0]
    for job in Survey(preset).jobs.values():
        for path in files_of(job) if job.step.name == "table" else []:
            content = path.read_bytes()
            for name, damage in DAMAGES.items():
                damage(path, the_same_of_others(path, presets))
                if not path.exists() or path.read_bytes() != content:
                    survey = Survey(preset)
                    assert survey.refused(job) or survey.missing(job), (path, name)
                path.write_bytes(content)
            assert not Survey(preset).refused(job)


def test_a_whole_folder_in_anothers_place_is_not_shown(presets):
    """With all its records, whole and sealed: a row's, a seed's or a preset's for another's."""
    preset, other = presets
    good = shown(Study(preset))
    places = [
        ("resnet18/seed0", preset.results / "pd_a_resnet18" / "seed0"),
        ("resnet18/seed0", preset.results / "resnet18" / "seed1"),
        ("resnet18/seed0", other.results / "resnet18" / "seed0"),
        ("resnet18/imported", preset.results / "pd_a_resnet18" / "imported"),
        (f"detection/{DETECTORS[0]}/seed0", preset.results / "detection" / DETECTORS[1] / "seed0"),
        ("profile", other.results / "profile"),
        ("evidence", other.results / "evidence"),
    ]
    for place, source in places:
        target, kept = preset.results / place, Path("kept")
        target.rename(kept)
        shutil.copytree(source, target)
        study = Study(preset, strict=False)
        jobs = [job for job in study.survey.jobs.values() if job.record.is_relative_to(target)]
        assert jobs and all(study.survey.refused(job) for job in jobs)
        assert shown(study) < good
        shutil.rmtree(target)
        kept.rename(target)
    assert shown(Study(preset)) == good
