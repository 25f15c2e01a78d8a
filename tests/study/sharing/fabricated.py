"""A study whose files are made up in seconds: every record as its step would write it, nothing trained."""

from pathlib import Path
from typing import Any, get_args, get_origin

from paradise.study.hashes import sha256
from paradise.study.preset import Preset
from paradise.study.records import Measurement, Part, write_record
from paradise.study.stale import Survey
from paradise.study.steps import Job

COMMIT = "0123456789" * 4
MANIFEST = "split,path,label,sha256\ntrain,train/0/a.png,0,{0}\nval,val/0/b.png,0,{0}\n".format("0" * 64)
# Four hits of four images are 100 %.
VALUES = {str: "made up", int: 4, float: 100.0, bool: False, dict: {}, list: []}


def fabricate(preset: Preset, steps: tuple[str, ...] = ()) -> None:
    """Makes up what the jobs of a study would leave in the working folder.

    Args:
        preset: The study, without detection.
        steps: Whose jobs; of all steps by default.
    """
    survey = Survey(preset)
    makers = {path: job for job in survey.jobs.values() for path in job.outputs}
    done: set[Path] = set()

    def make(job: Job) -> None:
        if job.record in done:
            return
        done.add(job.record)
        for path in job.needs:
            if path in makers:
                make(makers[path])
        write(job, survey)

    for job in survey.jobs.values():
        if not steps or job.step.name in steps:
            make(job)


def write(job: Job, survey: Survey, **other: Any) -> None:
    """Makes up what a job would leave. `other`: what its record says instead."""
    for path in job.outputs[:-1]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(MANIFEST if path.name == "manifest.csv" else "{}" if path.suffix == ".json" else f"{path}\n")
    record = {
        "step": job.step.name,
        "preset": job.preset.name,
        "of": dict(job.wildcards),
        "settings": job.settings,
        "inputs": survey.input_hashes(job),
        "outputs": {name: sha256(path) for name, path in job.vouched.items()},
        "code": job.code,
    }
    if issubclass(job.step.schema, Measurement):
        record |= {"commit": COMMIT, "versions": {}}
    write_record(job.record, job.step.schema, _made_up(job.step.schema, "seal") | record | other)


def _made_up(schema: type[Part], *left_out: str) -> dict[str, Any]:
    """A value of its type for every key that must be there."""
    needed = {
        name: field for name, field in schema.model_fields.items() if field.is_required() and name not in left_out
    }
    return {name: _value(field.annotation) for name, field in needed.items()}


def _value(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Part):
        return _made_up(kind)
    if type(None) in get_args(kind):
        return None
    return VALUES[get_origin(kind) or kind]
