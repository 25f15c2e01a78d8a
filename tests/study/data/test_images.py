import numpy as np
import pytest
from odd_images import GREY, OTHER_SIZES, PIXELS, REFUSED, SIDE, USED
from PIL import Image

from paradise.study.data.images import check, check_all, decode
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
        assert check(str(path))[2].startswith("cannot be "), length


@pytest.mark.parametrize("name", [*USED, *OTHER_SIZES])
def test_what_both_decoders_see_alike_is_used(tmp_path, name):
    path = tmp_path / name
    path.write_bytes((USED | OTHER_SIZES)[name])
    assert check(str(path)) == (str(path), sha256(path), None)


@pytest.mark.parametrize("name", REFUSED)
def test_what_they_do_not_is_refused_in_the_same_words_each_time(tmp_path, name):
    path = tmp_path / name
    content, message = REFUSED[name]
    path.write_bytes(content)
    fault = check(str(path))[2]
    assert fault.startswith(message) and fault == check(str(path))[2] and "0x" not in fault


def test_what_is_no_file_is_refused(tmp_path):
    gone = str(tmp_path / "gone")
    assert check(gone) == (gone, "", "is missing")
    assert check(str(tmp_path))[2] == "cannot be read (Is a directory)"


@pytest.mark.parametrize("name", USED)
def test_an_image_is_upright_and_as_it_is_shown(name):
    """Within what JPEG and 64 colours lose; the grey and the one-bit ones are grey, and CMYK is of other inks."""
    pixels = decode(USED[name]).astype(int)
    assert pixels.shape == (SIDE, SIDE, 3)
    original = PIXELS
    if (orientation := name.removeprefix("exif")[:1]) in TURNS:
        original = TURNS[orientation](PIXELS)
    if (pixels[..., :1] == pixels).all():
        original = np.asarray(GREY)[..., None]
    if not any(word in name for word in ("ycck", "one_bit")):
        assert np.abs(pixels - original).mean() < 20


# https://exiftool.org/TagNames/EXIF.html: what shows an image upright that was stored with this number.
TURNS = {
    "2": lambda x: x[:, ::-1],
    "3": lambda x: x[::-1, ::-1],
    "4": lambda x: x[::-1],
    "5": lambda x: x.swapaxes(0, 1),
    "6": lambda x: x.swapaxes(0, 1)[:, ::-1],
    "7": lambda x: x[::-1, ::-1].swapaxes(0, 1),
    "8": lambda x: x.swapaxes(0, 1)[::-1],
}


def test_processes_give_what_one_does_in_order(tmp_path):
    paths = [str(tmp_path / f"{number}.png") for number in range(100)]
    for number, path in enumerate(paths):
        Image.new("L", (2, 2), number).save(path)
    assert list(check_all(paths, 2)) == list(check_all(paths, 1)) == [(path, sha256(path), None) for path in paths]
