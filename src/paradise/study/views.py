"""The records of views: what a table, the report or the crate was made of. No torch here."""

from paradise.study.hashes import sha256
from paradise.study.records import View, write_record
from paradise.study.results import Study
from paradise.study.steps import all_steps


def write_view(study: Study, step: str, **wildcards: str) -> None:
    """Writes the record of a view whose files are there. The same study gives the same bytes.

    Args:
        study: Whose results it shows.
        step: The step's name.
        wildcards: Which of its views it is.
    """
    job = all_steps()[step].job(study.preset, **wildcards)
    record = {
        "step": step,
        "preset": study.preset.name,
        "of": wildcards,
        "settings": job.settings,
        "inputs": study.survey.input_hashes(job),
        "outputs": {name: sha256(path) for name, path in job.vouched.items()},
        "code": job.code,
    }
    write_record(job.record, View, record)
