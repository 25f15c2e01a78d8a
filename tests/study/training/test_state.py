import re
import resource
import signal

import pytest
import torch
from torch import nn

from paradise.errors import UserError
from paradise.study.training.state import States

RUN = {"row": "resnet18", "seed": 0, "training.learning_rate": 0.1}


@pytest.fixture
def states(tmp_path) -> States:
    return States(tmp_path / "state", RUN, "paradise train")


def files(states: States) -> list[str]:
    return sorted(path.name for path in states.folder.iterdir())


def test_the_newest_state_comes_back_and_two_are_kept(states):
    assert states.load() == (None, [], "")
    for step in (9, 10, 1000):
        states.save(step, {"step": step, "weights": torch.arange(3.0), "generator": (3, (1, 2), None)})
    state, damaged, _ = states.load()
    assert (state["step"], state["generator"], damaged) == (1000, (3, (1, 2), None), [])
    assert torch.equal(state["weights"], torch.arange(3.0))
    assert files(states) == ["step-00000010.pt", "step-00001000.pt"]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:50] + b"?" + data[51:]]
)
def test_a_damaged_state_falls_back_to_the_one_before(states, damage):
    older, newer = (states.save(step, {"step": step}) for step in (1, 2))
    newer.write_bytes(damage(newer.read_bytes()))
    assert states.load() == ({"step": 1}, [newer], "")
    older.write_bytes(b"")
    assert states.load() == (None, [newer, older], "")


def test_a_state_of_another_run_is_refused_by_name(states):
    path = states.save(1, {"step": 1})
    other = States(states.folder, RUN | {"training.learning_rate": 0.2, "processes": 2}, "paradise evidence train")
    with pytest.raises(UserError) as refused:
        other.load()
    assert str(refused.value) == (
        f"{path} is of another run: training.learning_rate was 0.1 and is 0.2, processes was None and is 2; "
        "`paradise evidence train --restart` deletes it and begins anew"
    )
    other.clear()
    assert other.load() == (None, [], "")


def test_changes_of_code_or_recipe_can_be_accepted(states):
    path = states.save(1, {"step": 1})
    other = States(states.folder, RUN | {"training.learning_rate": 0.2}, "paradise train")
    with pytest.raises(UserError, match=r"begins anew, `--accept-changes` goes on all the same$"):
        other.load()
    assert other.load(accept=True) == ({"step": 1}, [], "training.learning_rate was 0.1 and is 0.2")
    assert path.exists()


@pytest.mark.parametrize("key", ["row", "seed", "manifest", "processes", "training.batch_size", "data.augment"])
def test_other_data_or_processes_cannot(states, key):
    states.save(1, {"step": 1})
    with pytest.raises(UserError, match=rf"{key} was .* and is 7; `paradise train --restart` deletes it and begins"):
        States(states.folder, RUN | {key: 7}, "paradise train").load(accept=True)


def test_a_full_disk_leaves_the_state_before(states):
    """The system refuses to write beyond a size, as it does on a full disk."""
    path = states.save(1, {"step": 1})
    before, unlimited = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, unlimited[1]))
    try:
        with pytest.raises(
            UserError,
            match=rf"step-00000002.pt cannot be written: File too large; the same command goes on from {path}",
        ):
            states.save(2, {"weights": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert files(states) == [path.name] and path.read_bytes() == before
    assert states.load() == ({"step": 1}, [], "")


def test_what_a_killed_run_was_writing_is_removed(states):
    states.save(1, {"step": 1})
    (states.folder / ".step-00000002.pt.123.part").write_bytes(b"half")
    states.load()
    assert files(states) == ["step-00000001.pt"]


def test_a_disk_without_room_is_refused_before_the_training(states):
    states.save(1, {"step": 1})
    states.require_room(nn.Linear(2, 2), moments=2)
    large = nn.Linear(10**6, 10**6, bias=False, device="meta")  # 4 TB
    with pytest.raises(UserError) as refused:
        states.require_room(large, moments=2)
    assert re.fullmatch(
        rf"{states.folder.parent}: the disk is too full for this training, whose states and weights take "
        r"28000000 MB more, and \d+ MB are free; make room, or choose another --output",
        str(refused.value),
    )


def test_the_newest_state_is_removed_last(states):
    """So that a run which is killed meanwhile goes on from there."""
    for step in (1, 2):
        states.save(step, {"step": step})
    (states.folder / "step-00000000.pt").mkdir()  # ends the removal at its oldest file
    with pytest.raises(OSError):
        states.remove()
    assert files(states) == ["step-00000000.pt", "step-00000001.pt", "step-00000002.pt"]
    (states.folder / "step-00000000.pt").rmdir()
    states.remove()
    assert not states.folder.exists()
