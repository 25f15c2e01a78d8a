"""The research object, as the RO-Crate community's own validator sees it."""

import io
import json
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest
import requests
import yaml
from conftest import PAPER, REPOSITORY, write
from requests_cache import CachedSession
from rocrate_validator import services
from rocrate_validator.models import Severity, ValidationSettings
from urllib3 import HTTPResponse

from paradise.study.crate import write_crate
from paradise.study.report import write_report


@pytest.fixture
def crate(recorded, digits_preset) -> Path:
    for path in recorded.rglob("run.json"):
        run = json.loads(path.read_text())
        write(path, run | {"time": "2026-01-02T03:04:05+00:00", "seconds": 60, "versions": {"snakemake": "9.27.1"}})
    write_report(digits_preset, Path("config/digits.yaml"), recorded, PAPER)
    return write_crate(digits_preset, Path("config/digits.yaml"), recorded)


@pytest.fixture
def graph(crate) -> dict[str, dict]:
    with zipfile.ZipFile(crate) as packed:
        return {entity["@id"]: entity for entity in json.loads(packed.read("ro-crate-metadata.json"))["@graph"]}


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
        rocrate_uri=str(folder), profile_identifier=profile, requirement_severity=Severity.REQUIRED, offline=True,
        cache_path=cache_with_the_context(tmp_path),
    )  # fmt: skip
    result = services.validate(settings)
    assert [issue.message for issue in result.get_issues(Severity.REQUIRED)] == []


def test_it_has_the_records_tables_and_report_and_no_weights(crate, graph):
    with zipfile.ZipFile(crate) as packed:
        names = set(packed.namelist())
        held = packed.read(next(name for name in names if name.endswith("/resnet18/seed0/run.json")))
    assert {"Snakefile", "config/digits.yaml", "workflow/rules/train.smk"} <= names
    assert json.loads(held)["row"] == "resnet18"
    assert any(name.endswith("/report.html") for name in names)
    assert not any(name.endswith((".safetensors", ".png")) for name in names)
    assert {name for name in names if not name.startswith("ro-crate")} <= {name.lstrip("/") for name in graph} | names


def test_each_run_says_when_and_by_what_it_was_made(graph):
    action = graph["#pd_b_resnet18-seed0"]
    assert (action["startTime"], action["endTime"]) == ("2026-01-02T03:03:05+00:00", "2026-01-02T03:04:05+00:00")
    assert "Example CPU" in action["description"] and "0123456789" in action["description"]
    assert graph[action["instrument"]["@id"]]["name"] == "paradise"
    assert {part["@id"].rpartition("/")[2] for part in action["result"]} == {"run.json", "evaluation.json"}
    whole = graph["#study"]
    assert graph[whole["instrument"]["@id"]]["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow"]


def test_the_citation_says_what_the_package_says():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    from importlib.metadata import version

    assert citation["version"] == version("paradise")
