import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY

from paradise.study.session import LOCK, PREFIX, _jobs, _remove_states
from paradise.study.stale import Survey

BEGIN = (
    "import sys; from types import SimpleNamespace as N; from paradise.study.session import begin_session\n"
    "begin_session(N(jobs={}), dry=False); print('begun', flush=True); sys.stdin.read()"
)


def begin(folder) -> subprocess.Popen:
    """A process that begins as Snakemake does, and stays."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    return subprocess.Popen([sys.executable, "-c", BEGIN], cwd=folder, env=environment, text=True, **pipes)


def test_the_second_is_refused_and_a_kill_frees_the_lock(tmp_path):
    first = begin(tmp_path)
    assert first.stdout.readline() == "begun\n"
    second = begin(tmp_path)
    assert second.communicate()[1].endswith(
        "UserError: another snakemake is at work in this folder; wait until it ends\n"
    )
    first.send_signal(signal.SIGKILL)
    first.wait()
    third = begin(tmp_path)
    assert third.stdout.readline() == "begun\n"
    third.communicate()


def test_jobs_that_were_left_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    LOCK.parent.mkdir()
    LOCK.touch()
    assert _jobs() == {}
    paradise = tmp_path / "paradise"
    paradise.write_text("import time\ntime.sleep(60)\n")
    job = subprocess.Popen(["bash", "-c", f"{PREFIX} exec {sys.executable} {paradise} fuse results/a"])
    while _jobs().get(job.pid, "") == "":
        time.sleep(0.05)
    assert _jobs() == {job.pid: "paradise fuse results/a"}
    waiting = begin(tmp_path)
    assert waiting.stderr.readline() == (
        f"waiting for `paradise fuse results/a`, which an earlier snakemake left at work; `kill {job.pid}` ends it, "
        "and a training then goes on from there\n"
    )
    assert waiting.poll() is None
    job.kill()
    job.wait()
    assert waiting.stdout.readline() == "begun\n"
    waiting.communicate()


@pytest.mark.parametrize("whole", [True, False])
def test_states_of_a_finished_run_are_removed(digits_preset, tmp_path, monkeypatch, whole):
    survey = Survey(digits_preset)
    job = survey.job("train", row="resnet18", seed="0")
    monkeypatch.chdir(tmp_path)
    state = job.record.parent / "state"
    state.mkdir(parents=True)
    (state / "step-00000001.pt").touch()
    monkeypatch.setattr(survey, "missing", lambda job: not whole)
    monkeypatch.setattr(survey, "refused", lambda job: ())
    _remove_states(survey)
    assert state.exists() != whole
    shutil.rmtree("results")
