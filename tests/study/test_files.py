import pytest

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
