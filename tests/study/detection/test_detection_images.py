"""Images of detection: what mmdetection would read otherwise than it was annotated is found before a training."""

import io
import json
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from coco_sets import content, section_of, source_file, write_set
from PIL import Image

from paradise.errors import UserError
from paradise.study.detection.data import prepare
from paradise.study.detection.images import TURNED, Unusable, check_image, find_image

PIXELS = Image.fromarray(
    np.kron(np.random.default_rng(0).integers(0, 255, (8, 10, 3)), np.ones((8, 8, 1))).astype("u1")
)
DEEP = Image.fromarray(np.arange(80 * 64, dtype=np.uint16).reshape(64, 80) * 12)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def as_mmdetection_reads(data: bytes) -> np.ndarray | None:
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if read is None else read[..., ::-1]


def opaque(mode: str) -> Image.Image:
    image = PIXELS.convert(mode)
    image.putalpha(255)
    return image


def turned(orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(PIXELS, kind, exif=exif)


ACCEPTED = {
    **{
        f"{mode} {kind}": saved(PIXELS.convert(mode), kind)
        for mode in ("1", "L", "P", "RGB")
        for kind in ("PNG", "BMP")
    },
    **{f"{mode} PNG": saved(opaque(mode), "PNG") for mode in ("LA", "RGBA")},
    **{f"{mode} JPEG": saved(PIXELS.convert(mode), "JPEG") for mode in ("L", "RGB")},
    "progressive JPEG": saved(PIXELS, "JPEG", progressive=True),
    "two pictures in a JPEG": saved(PIXELS, "MPO", save_all=True, append_images=[PIXELS.rotate(180)]),
    "WebP": saved(PIXELS, "WEBP", lossless=True),
    "upright by its EXIF data": turned(1, "JPEG"),
    "an orientation that means nothing": turned(0, "JPEG"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_image_that_is_accepted_is_read_as_it_is_seen(tmp_path, name):
    path = tmp_path / "image"
    path.write_bytes(ACCEPTED[name])
    found = check_image(path)
    assert (found.width, found.height) == (80, 64)
    seen = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(as_mmdetection_reads(ACCEPTED[name]).astype(int) - seen).max() <= 1


def deep_rgb() -> bytes:
    return cv2.imencode(".png", np.random.default_rng(0).integers(0, 65535, (64, 80, 3)).astype(np.uint16))[1].tobytes()


MODE = "which mmdetection would change; save it with 8 bits, in RGB or grey"
REFUSED = {
    **{
        f"orientation {number} {kind}": (
            turned(number, kind),
            f"is turned by its EXIF data (orientation {number}), and nobody can say whether its boxes are; "
            "save it upright, with the boxes as they are then",
        )
        for number in TURNED
        for kind in ("JPEG", "PNG", "WEBP")
    },
    "16 bits of grey": (saved(DEEP, "PNG"), f"has 16 bits a channel, {MODE}"),
    "16 bits of colour": (deep_rgb(), f"has 16 bits a channel, {MODE}"),
    "CMYK": (saved(PIXELS.convert("CMYK"), "JPEG"), f"has colours of mode CMYK, {MODE}"),
    "transparent": (
        saved(PIXELS, "PNG", transparency=PIXELS.getpixel((9, 9))),
        "has transparent pixels, whose colour nobody sees; save it without",
    ),
    "frames": (
        saved(PIXELS, "PNG", save_all=True, append_images=[PIXELS.rotate(180)]),
        "has several frames; save the one that was annotated",
    ),
    "GIF": (saved(PIXELS, "GIF"), "is of format GIF, not one of JPEG, MPO, PNG, BMP, WEBP; save it as one of them"),
    "TIFF": (saved(PIXELS, "TIFF"), "is of format TIFF, not one of JPEG, MPO, PNG, BMP, WEBP; save it as one of them"),
    "small": (
        saved(PIXELS.resize((31, 64)), "PNG"),
        "has 31 × 64 pixels; mmdetection leaves out sides of less than 32",
    ),
    "long": (
        saved(PIXELS.resize((32, 1601)), "PNG"),
        "has 32 × 1601 pixels; one side is more than 50 times as long as the other",
    ),
    "empty": (b"", "cannot be read (cannot identify image file <_io.BytesIO object"),
    "text": (b"not an image", "cannot be read (cannot identify image file <_io.BytesIO object"),
    "truncated JPEG": (saved(PIXELS, "JPEG")[:-200], "cannot be read ("),
    "truncated PNG": (saved(PIXELS, "PNG")[:-100], "cannot be read ("),
    "truncated BMP": (saved(PIXELS, "BMP")[:-100], "cannot be read ("),
    "truncated WebP": (saved(PIXELS, "WEBP")[:-100], "cannot be read ("),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_image_that_would_be_read_otherwise_is_refused(tmp_path, name):
    path = tmp_path / "image"
    data, said = REFUSED[name]
    path.write_bytes(data)
    with pytest.raises(Unusable) as raised:
        check_image(path)
    assert str(raised.value).startswith(said) and len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["L PNG", "RGB JPEG", "RGB BMP", "WebP"])
def test_a_damaged_image_is_refused_or_read_by_both_alike(tmp_path, name):
    """By 200 changed bytes and 50 cuts: none is accepted that mmdetection cannot read, or reads in another size."""
    path, draw = tmp_path / "image", random.Random(0)
    for attempt in range(250):
        data = bytearray(ACCEPTED[name])
        if attempt < 200:
            data[draw.randrange(len(data))] = draw.randrange(256)
        else:
            del data[draw.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            found = check_image(path)
        except Unusable:
            continue
        read = as_mmdetection_reads(bytes(data))
        assert read is not None and read.shape == (found.height, found.width, 3)


def test_a_huge_image_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    path = tmp_path / "image"
    path.write_bytes(saved(PIXELS, "PNG"))
    with pytest.raises(Unusable, match=r"^cannot be read \(Image size \(5120 pixels\) exceeds limit of 4000 pixels"):
        check_image(path)


def linked(root: Path) -> None:
    (root / "secret.png").write_bytes(ACCEPTED["RGB PNG"])
    (root / "train2017" / "link.png").symlink_to(root / "secret.png")


def circle(root: Path) -> None:
    (root / "train2017" / "a.png").symlink_to("b.png")
    (root / "train2017" / "b.png").symlink_to("a.png")


@pytest.mark.parametrize(
    ("name", "before", "said"),
    [
        ("../val2017/0001.png", None, "leads out of the folder of its split"),
        ("a/../0001.png", None, "leads out of the folder of its split"),
        ("/etc/passwd", None, "leads out of the folder of its split"),
        ("link.png", linked, "is a link out of the folder of its split, to ROOT/secret.png"),
        ("a.png", circle, "cannot be found ("),
        ("x" * 300, None, "cannot be found (File name too long)"),
        ("a\0b", None, "cannot be found ("),
        ("train2017/0001.png", None, "is missing"),
        (".", None, "is no file"),
        ("./0000.png", None, "is the same file as images[0]"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(tmp_path, name, before, said):
    def edit(coco, split):
        if split == "train":
            coco["images"][1]["file_name"] = name

    section = write_set(tmp_path, edit)
    if before:
        before(tmp_path)
    with pytest.raises(UserError) as raised:
        prepare(section, "small")
    message = str(raised.value)
    assert message.startswith(f"{source_file(tmp_path, 'train')}: images[1] (id 1): 'file_name' '")
    assert f" {said.replace('ROOT', str(tmp_path))}" in message and message.isprintable()
    assert message.endswith(f"(1 of 3 images cannot be used; they lie in {tmp_path}/train2017)")


def test_an_image_in_a_folder_below_is_found(tmp_path):
    section = write_set(tmp_path)
    (tmp_path / "train2017" / "a").mkdir()
    (tmp_path / "train2017" / "0001.png").rename(tmp_path / "train2017" / "a" / "1.png")
    coco = content("train")[0]
    coco["images"][1]["file_name"] = "a//1.png"
    source_file(tmp_path, "train").write_text(json.dumps(coco))
    prepare(section_of(tmp_path), "small")
    own = json.loads(Path(section.folder, "annotations", "instances_train.json").read_text())
    assert own["images"][1]["file_name"] == "a/1.png"
    assert find_image(tmp_path / "train2017", "a/1.png").is_file()


@pytest.mark.parametrize(("key", "said"), [("width", 97), ("height", 95)])
def test_sides_that_are_not_the_files_are_refused(tmp_path, key, said):
    def edit(coco, split):
        if split == "val":
            coco["images"][2][key] = said

    with pytest.raises(UserError) as raised:
        prepare(write_set(tmp_path, edit), "small")
    assert str(raised.value) == (
        f"{source_file(tmp_path, 'val')}: images[2] (id 2): 'file_name' '0002.png' has 96 × 96 pixels, and '{key}' is "
        f"{said} (1 of 3 images cannot be used; they lie in {tmp_path}/val2017)"
    )
