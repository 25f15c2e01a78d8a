import hashlib
import json
import os

import pytest

from paradise.study import hashes
from paradise.study.hashes import LARGE, remembered_sha256, sha256


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """A memory of its own, in an empty project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hashes, "_memory", None)
    monkeypatch.setattr(hashes, "_news", False)
    return tmp_path / hashes.MEMORY


def test_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"digits")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"digits").hexdigest()


def test_a_small_file_is_always_read(memory, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    remembered_sha256(path)
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert remembered_sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_a_large_file_is_read_again_only_where_it_changed(memory, tmp_path, monkeypatch):
    path, read = tmp_path / "file", []
    monkeypatch.setattr(hashes, "sha256", lambda path: read.append(path) or sha256(path))
    path.write_bytes(bytes(LARGE))
    before = hashlib.sha256(bytes(LARGE)).hexdigest()
    assert remembered_sha256(path) == remembered_sha256(path) == before
    assert read == [path]
    path.write_bytes(bytes(LARGE - 1) + b"1")
    assert remembered_sha256(path) == hashlib.sha256(bytes(LARGE - 1) + b"1").hexdigest()
    assert read == [path, path]


def test_the_memory_lasts_and_a_damaged_one_is_none(memory, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(bytes(LARGE))
    digest = remembered_sha256(path)
    hashes._save(memory)
    assert [entry[-1] for entry in json.loads(memory.read_text()).values()] == [digest]
    monkeypatch.setattr(hashes, "_memory", None)
    monkeypatch.setattr(hashes, "sha256", lambda path: pytest.fail("it was read again"))
    assert remembered_sha256(path) == digest
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    memory.write_text("{")
    monkeypatch.setattr(hashes, "_memory", None)
    assert remembered_sha256(path) == digest
