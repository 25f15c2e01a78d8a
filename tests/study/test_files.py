import errno
import os
import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from paradise.errors import UserError
from paradise.files import replacing
from paradise.study.files import locked, write_csv, write_json, write_text


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == '{\n  "a": 1\n}\n'
        raise KeyboardInterrupt
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError) as refused:
        write_json(tmp_path / "file" / "results.json", {})
    assert str(refused.value) == f"{tmp_path}/file/results.json cannot be written: File exists"


def test_json_has_no_number_that_is_none(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "results.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_text_and_tables_are_utf8_with_plain_line_ends(tmp_path):
    write_text(tmp_path / "text", "224×224\n")
    write_csv(tmp_path / "table.csv", ["row", "÷ ResNet"], [("a, b", 1.5), ("c", None)])
    assert (tmp_path / "text").read_bytes() == "224×224\n".encode()
    assert (tmp_path / "table.csv").read_bytes() == 'row,÷ ResNet\n"a, b",1.5\nc,\n'.encode()


def test_a_lock_is_one_process_own_and_free_again(tmp_path):
    path = tmp_path / "folder" / ".lock"
    with locked(path, "taken"), pytest.raises(UserError, match=r"^taken$"), locked(path, "taken"):
        pass
    with locked(path, "taken"):
        pass


KILLED = """
import os, signal, sys
from paradise.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "weights [1].safetensors"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, path], env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")})
        assert len(list(tmp_path.glob(".weights*.part"))) == 1, "the second removed what the first left"
    other = tmp_path / ".weights [2].safetensors.1.part"
    other.write_text("of another file")
    write_text(path, "whole")
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as first:
        write_text(path, "second")
        first.write_text("first")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_with_what_is_missing(tmp_path):
    with pytest.raises(UserError) as refused, replacing(tmp_path / "weights", 45_000_001):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert re.fullmatch(
        rf"{tmp_path}/weights cannot be written: No space left on device: it takes 46 MB, and \d+ MB are free",
        str(refused.value),
    )
    assert list(tmp_path.iterdir()) == []
