import hashlib

import pytest

from paradise.errors import UserError
from paradise.study.files import replacing, sha256, write_json


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
    with pytest.raises(UserError, match=r"file/results.json cannot be written: "):
        write_json(tmp_path / "file" / "results.json", {})


def test_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"digits")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"digits").hexdigest()
