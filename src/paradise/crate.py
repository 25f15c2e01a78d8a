"""The study as a research object: a Workflow Run RO-Crate of workflow, preset, run records, tables and report."""

import re
from datetime import datetime, timedelta
from pathlib import Path

import yaml
from rocrate.model import ContextEntity, Person
from rocrate.rocrate import ROCrate

from paradise import preset as presets
from paradise.files import replacing
from paradise.study import Study
from paradise.tables import machine

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
CITATION = Path("CITATION.cff")


def write_crate(preset: dict, preset_path: Path, results: Path) -> Path:
    """Writes `study.crate.zip` into `results` and returns its path. Weights and images are not in it.

    One action is the workflow's, from the preset to tables and report; each evaluated run has one of its own, with
    when, how long, on what and by which commit. What is damaged or of other settings is left out. Raises UserError
    where the zip cannot be written.
    """
    study = Study(preset, results, strict=False)
    citation = yaml.safe_load(CITATION.read_text())
    runs = [run for row in presets.rows(preset) for run in study.runs(row)]
    runs += [run for row in presets.detectors(preset) for run in study.detectors(row)]
    crate = ROCrate(version="1.1")  # which the profiles are written for
    crate.name = f"ParaDise, reproduced: the study {preset_path.stem}"
    crate.description = citation["abstract"]
    crate.license = _entity(
        crate, f"https://spdx.org/licenses/{citation['license']}", "CreativeWork", citation["license"]
    )
    crate.root_dataset["conformsTo"] = [
        _entity(crate, address, "CreativeWork", name, version=address.rpartition("/")[2])
        for address, name in PROFILES.items()
    ]
    authors = [
        crate.add(Person(crate, f"#{author['name']}", properties={"name": author["name"]}))
        for author in citation["authors"]
    ]
    crate.root_dataset["author"] = authors
    versions = runs[0]["run"]["versions"] if runs and "versions" in runs[0]["run"] else {}
    workflow = crate.add_workflow("Snakefile", main=True, lang="snakemake", lang_version=versions.get("snakemake"))
    workflow["name"] = "The ParaDise paper's tables"
    workflow["license"], workflow["author"] = crate.license, authors
    for rules in sorted(Path("workflow/rules").glob("*.smk")):
        _file(crate, rules, rules, "Rules of the workflow")
    preset_place = Path("config", preset_path.name)
    recipe = _file(crate, preset_path, preset_place, "The preset: data, recipe, rows and seeds", "application/yaml")
    command = _entity(crate, "#paradise", "SoftwareApplication", "paradise", softwareVersion=versions.get("paradise"))
    records, ends = [], []

    def add(path: Path) -> ContextEntity:
        return _file(crate, path, Path("results", preset_path.stem, path.relative_to(results)), _role(path))

    for run in runs:
        made = [add(path) for path in _files_of(run["folder"])]
        records += made
        ends.append(_train_action(crate, command, run, recipe, made))
    shown = [
        *sorted((results / "tables").glob("*.*")),
        *sorted((results / "profile").glob("*.json")),
        *sorted((results / "evidence").glob("*.json")),
        results / "report.html",
    ]
    records += [add(path) for path in shown if path.is_file()]
    whole = {"name": f"The study {preset_path.stem}"} | ({"endTime": max(ends)} if ends else {})
    action = crate.add_action(workflow, "#study", object=[recipe], result=records, properties=whole)
    crate.root_dataset["mentions"] = [
        action,
        *(entity for entity in crate.get_by_type("CreateAction") if entity != action),
    ]
    # As late as what it holds, so that the same study makes the same crate.
    crate.datePublished = datetime.fromisoformat(max(ends)) if ends else datetime.fromtimestamp(0)
    output = results / "study.crate.zip"
    with replacing(output) as path:
        # The library adds the suffix.
        crate.write_zip(path.with_suffix(".zip"))
        path.with_suffix(".zip").replace(path)
    return output


def _train_action(crate: ROCrate, command: ContextEntity, run: dict, recipe: ContextEntity, made: list) -> str:
    """Adds what the run's record says; returns when it ended."""
    record = run["run"]
    end = record["time"]
    begun = datetime.fromisoformat(end) - timedelta(seconds=record["seconds"])
    commit = record["commit"] or "an unknown commit"
    crate.add_action(
        command,
        f"#{run['anchor']}",
        object=[recipe],
        result=made,
        properties={
            "name": f"Training and evaluation of {run['anchor']}",
            "description": f"On {machine(record['machine'])}, by {commit}",
            "startTime": begun.isoformat(timespec="seconds"),
            "endTime": end,
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
    )
    return end


def _files_of(folder: Path) -> list[Path]:
    names = "run.json", "log.csv", "evaluation.json", "metrics.json", "predictions.csv"
    return [folder / name for name in names if (folder / name).is_file()]


def _file(crate: ROCrate, path: Path, place: Path, description: str, kind: str | None = None) -> ContextEntity:
    """Adds the file `path` to the crate, in which it lies at `place`."""
    kinds = {".json": "application/json", ".csv": "text/csv", ".md": "text/markdown", ".html": "text/html"}
    kind = kind or kinds.get(path.suffix, "text/plain")
    properties = {"name": path.name, "description": description, "encodingFormat": kind}
    return crate.add_file(path, place.as_posix(), properties=properties, record_size=True)


def _role(path: Path) -> str:
    roles = {
        "run": "What was trained, with what, where and when",
        "log": "Loss and accuracy while training",
        "evaluation": "What was measured of the trained and the fused form",
        "metrics": "Accuracy or AP alone",
        "predictions": "Each validation image's best classes",
        "report": "The study as one page",
    }
    return roles.get(path.stem, f"The study's {re.sub('[-_]', ' ', path.stem)}")


def _entity(crate: ROCrate, address: str, kind: str, name: str, **properties) -> ContextEntity:
    known = {key: value for key, value in properties.items() if value is not None}
    return crate.add(ContextEntity(crate, address, properties={"@type": kind, "name": name} | known))
