import numpy as np
import pytest
from PIL import Image

from paradise.study.data.images import check, check_all
from paradise.study.hashes import sha256

COLOURS = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))


@pytest.mark.parametrize("mode,kind", [("RGB", "jpeg"), ("CMYK", "jpeg"), ("L", "jpeg"), ("P", "png"), ("RGBA", "png")])
def test_images_of_any_mode_are_fine(tmp_path, mode, kind):
    path = tmp_path / "x.JPEG"
    COLOURS.convert(mode).save(path, format=kind)
    assert check(str(path)) == (str(path), sha256(path), None)


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_every_cut_of_an_image_is_found(tmp_path, kind):
    path = tmp_path / "x.jpeg"
    COLOURS.save(path, format=kind)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 60):
        path.write_bytes(whole[:length])
        assert "cannot be read" in check(str(path))[2], length


def test_what_dali_cannot_decode_is_refused(tmp_path):
    COLOURS.save(tmp_path / "x.gif")
    (tmp_path / "x.txt").write_text("no image")
    assert "format GIF, not one of JPEG" in check(str(tmp_path / "x.gif"))[2]
    assert "cannot be read" in check(str(tmp_path / "x.txt"))[2]
    gone = str(tmp_path / "gone")
    assert check(gone) == (gone, "", "is missing")


def test_processes_give_what_one_does_in_order(tmp_path):
    paths = [str(tmp_path / f"{number}.png") for number in range(100)]
    for number, path in enumerate(paths):
        Image.new("L", (2, 2), number).save(path)
    assert list(check_all(paths, 2)) == list(check_all(paths, 1)) == [(path, sha256(path), None) for path in paths]
