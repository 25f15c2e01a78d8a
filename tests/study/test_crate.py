"""The research object, as the RO-Crate community's own validator sees it."""

import io
import json
import shutil
import zipfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest
import requests
import yaml
from conftest import REPOSITORY, changed
from requests_cache import CachedSession
from rocrate_validator import services
from rocrate_validator.models import Severity, ValidationSettings
from urllib3 import HTTPResponse
from written import job_of, make_study, some_evidence

from paradise.study.crate import write_crate
from paradise.study.preset import Preset
from paradise.study.report import write_report
from paradise.study.stale import Survey
from paradise.study.steps.table import wanted
from paradise.study.tables import write_tables


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with what the project's has, and in it a study with tables and report."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("Snakefile", "CITATION.cff"):
            shutil.copy(REPOSITORY / name, name)
        shutil.copytree(REPOSITORY / "workflow", "workflow")
        preset = make_study(evidence={"pruning": some_evidence()["pruning"]})
        write_tables(wanted(preset), preset)
        write_report(preset)
    return folder


@pytest.fixture
def preset(project, tmp_path, monkeypatch) -> Preset:
    """The study, in a copy of the folder."""
    shutil.copytree(project, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    return Preset.load(Path("config/digits.yaml"))


@pytest.fixture
def crate(preset) -> Path:
    return write_crate(preset)


def read_graph(crate: Path) -> dict[str, dict]:
    with zipfile.ZipFile(crate) as packed:
        return {entity["@id"]: entity for entity in json.loads(packed.read("ro-crate-metadata.json"))["@graph"]}


@pytest.fixture
def graph(crate) -> dict[str, dict]:
    return read_graph(crate)


def cache_with_the_context(folder: Path) -> Path:
    """A cache with all that the validator would fetch: RO-Crate's words, as the library that writes crates has them.

    It has those of version 1.3: those of 1.1 and more, but for where Bioschemas' lie.
    """
    response = requests.Response()
    response.url = "https://w3id.org/ro/crate/1.1/context"
    response.request = requests.Request("GET", response.url).prepare()
    response.status_code, response.headers["Content-Type"] = 200, "application/ld+json"
    page = files("rocrate").joinpath("data/ro-crate.jsonld").read_text()
    page = page.replace("https://bioschemas.org/terms/", "https://bioschemas.org/").encode()
    response.raw = HTTPResponse(io.BytesIO(page), preload_content=False, request_url=response.url)
    with CachedSession(folder / "http", backend="sqlite") as session:
        session.cache.save_response(response)
    return folder / "http"


@pytest.mark.parametrize("profile", ["ro-crate-1.1", "workflow-ro-crate", "process-run-crate", "workflow-run-crate"])
def test_it_is_valid_by_the_validator(crate, tmp_path, profile):
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(crate) as packed:
        packed.extractall(folder)
    settings = ValidationSettings(
        rocrate_uri=str(folder),
        profile_identifier=profile,
        requirement_severity=Severity.REQUIRED,
        offline=True,
        cache_path=cache_with_the_context(tmp_path),
    )
    result = services.validate(settings)
    assert [issue.message for issue in result.get_issues(Severity.REQUIRED)] == []


def test_it_has_the_records_tables_and_report_and_no_weights(crate, graph):
    with zipfile.ZipFile(crate) as packed:
        names = set(packed.namelist())
        held = packed.read("results/digits/resnet18/seed0/run.json")
    assert {"Snakefile", "config/digits.yaml"} <= names
    assert {path.as_posix() for path in Path("workflow/rules").glob("*.smk")} <= names
    assert json.loads(held)["of"] == {"row": "resnet18", "seed": "0"}
    shown = [
        f"tables/{name}.{kind}" for name in ("imagenet", "ablation", "detection", "claims") for kind in ("md", "csv")
    ]
    shown += ["report.html", "report.json", "profile/complexity.json", "profile/latency.json", "profile/detection.json"]
    assert {f"results/digits/{name}" for name in (*shown, "evidence/pruning.json")} <= names
    assert not any(name.endswith((".safetensors", ".png")) for name in names)
    assert {name for name in names if not name.startswith("ro-crate")} <= {name.lstrip("/") for name in graph} | names


def test_each_run_says_when_and_by_what_it_was_made(graph):
    action = graph["#pd_b_resnet18-seed0"]
    assert (action["startTime"], action["endTime"]) == ("2026-01-02T03:03:05+00:00", "2026-01-02T03:04:05+00:00")
    assert action["description"] == f"On Example CPU (AVX2), by {'0123456789' * 4}"
    assert graph[action["instrument"]["@id"]]["name"] == "paradise"
    assert {part["@id"].rpartition("/")[2] for part in action["result"]} == {
        "run.json",
        "log.csv",
        "fused.json",
        "evaluation.json",
        "metrics.json",
        "predictions.csv.xz",
    }
    whole = graph["#study"]
    assert graph[whole["instrument"]["@id"]]["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    assert len(graph["./"]["mentions"]) == 1 + 19 + 8
    assert graph["./"]["datePublished"].startswith("2026-01-02T03:04:05")


def test_what_is_of_other_settings_and_what_shows_it_is_left_out(preset):
    other = changed(preset, overrides={"resnet18": {"momentum": 0.5}})
    graph = read_graph(write_crate(other))
    assert "#resnet18-seed0" not in graph and "#se_resnet18-seed0" in graph
    assert not any(place.startswith("results/digits/resnet18/") for place in graph)
    assert "results/digits/tables/imagenet.md" not in graph and "results/digits/report.html" not in graph
    assert "results/digits/profile/latency.json" in graph


def test_it_says_what_it_was_made_of(preset, crate):
    assert crate == preset.results / "study.crate.zip"
    assert not Survey(preset).why_stale(job_of(preset, "crate"))


def test_the_citation_says_what_the_package_says():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["version"] == version("paradise-nn")
