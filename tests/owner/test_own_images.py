"""Own images: what is read, what is refused, and that each image is prepared by itself."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_folder import deep_png
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from dpib.data.own import check_classes, count_own, found_classes, read_classes, read_own
from dpib.data.pixels import Preprocessing, read_pixels
from dpib.data.readers import read_images
from dpib.errors import ConfigError, DataError
from dpib.spec import TaskInfo

GREY = Preprocessing(side=8)
CLASSES = ("a", "b")


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def random_image(mode: str = "L", side: int = 8, seed: int = 0) -> Image.Image:
    shape = (side, side) if mode == "L" else (side, side, len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), mode)


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def test_images_of_the_right_size_are_kept_bit_for_bit(tmp_path: Path) -> None:
    image = random_image()
    read = read_own(folder_of(tmp_path, {"b/x.png": encoded(image)}), CLASSES, GREY)
    assert read.labels.tolist() == [1]
    assert np.array_equal(read.images[0, 0].numpy(), np.asarray(image))


def test_other_sizes_are_cropped_to_the_centre_and_resized() -> None:
    wide = np.zeros((16, 48), np.uint8)
    wide[:, 16:32] = 200
    assert read_pixels(encoded(Image.fromarray(wide)), "wide", GREY).min() == 200


def test_grey_and_colour_are_the_owners_choice() -> None:
    colour = encoded(random_image("RGB"))
    assert read_pixels(colour, "x", GREY).shape == (1, 8, 8)
    assert read_pixels(colour, "x", Preprocessing(side=8, colour=True)).shape == (3, 8, 8)
    grey = read_pixels(encoded(random_image()), "x", Preprocessing(side=8, colour=True))
    assert np.array_equal(grey[0], grey[2])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_need_a_window_and_use_it(kind: str) -> None:
    values = np.linspace(0, 4095, 64).reshape(8, 8).astype(np.uint16)
    content = encoded(Image.fromarray(values), kind)
    with pytest.raises(DataError, match="--window LOW:HIGH"):
        read_pixels(content, "scan", GREY)
    pixels = read_pixels(content, "scan", Preprocessing(side=8, window=(1000.0, 3000.0)))
    expected = np.rint(np.clip((values.astype(float) - 1000) / 2000, 0, 1) * 255)
    assert np.array_equal(pixels[0], expected)


def test_a_window_does_not_follow_the_image() -> None:
    """A brightest pixel moves nothing else: no normalisation by what is found."""
    window = Preprocessing(side=8, window=(0.0, 4095.0))
    values = np.full((8, 8), 1000, np.uint16)
    brighter = values.copy()
    brighter[0, 0] = 4095
    one, other = (read_pixels(encoded(Image.fromarray(v)), "x", window) for v in (values, brighter))
    assert np.array_equal(one[0, 1:], other[0, 1:])


def test_a_window_is_ordered() -> None:
    with pytest.raises(ValueError, match="LOW below HIGH"):
        Preprocessing(side=8, window=(3.0, 3.0))


def test_photographs_are_turned_as_their_camera_says() -> None:
    image = Image.new("L", (8, 8))
    image.putpixel((7, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 270 degrees
    turned = read_pixels(encoded(image, exif=exif), "x", GREY)
    assert turned[0, 7, 7] == 255


def _animated() -> bytes:
    frames = [random_image(seed=1), random_image(seed=2)]
    return encoded(frames[0], save_all=True, append_images=frames[1:])


def _half_transparent() -> bytes:
    image = random_image("RGBA")
    image.putalpha(100)
    return encoded(image)


def _deep_tiff() -> bytes:
    """8x8 pixels of RGB, 16 bits a channel."""
    pixels = np.full((8, 8, 3), 4095, "<u2").tobytes()
    tags = ImageFileDirectory_v2()
    fields = {256: 8, 257: 8, 258: (16, 16, 16), 259: 1, 262: 2, 273: 0, 277: 3, 278: 8, 279: len(pixels)}
    for tag, value in fields.items():
        tags[tag] = value
    return b"II*\0\x08\0\0\0" + tags.tobytes(8) + pixels


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (encoded(random_image(side=64))[:900], "cannot be decoded"),
        (b"not an image", "cannot be decoded"),
        (b"", "cannot be decoded"),
        (_animated(), "several frames"),
        (encoded(random_image("CMYK"), "JPEG"), "colour mode CMYK"),
        (_half_transparent(), "transparent"),
        (encoded(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF"), "colour mode F"),
        (encoded(random_image(), "BMP"), "cannot be decoded"),
        (deep_png(2, 4095), "colour mode RGB of 16"),
        (deep_png(4, 4095), "of 16"),
        (deep_png(6, 4095), "colour mode RGBA of 16"),
        (_deep_tiff(), "colour mode RGB of 16"),
    ],
    ids=[
        *("truncated", "text", "empty", "animated", "cmyk", "transparent", "float", "bmp"),
        *("16-bit rgb", "16-bit grey with alpha", "16-bit rgba", "16-bit tiff"),
    ],
)
def test_odd_files_are_refused_by_name(tmp_path: Path, content: bytes, complaint: str) -> None:
    folder = folder_of(tmp_path, {"a/fine.png": encoded(random_image()), "b/odd.png": content})
    with pytest.raises(DataError, match=rf"odd\.png.*{complaint}"):
        read_own(folder, CLASSES, GREY)


def test_readers_of_synthetic_sets_do_not_cut_to_eight_bits_either(tmp_path: Path) -> None:
    task = TaskInfo(dataset="x", shape=(3, 8, 8), classes=CLASSES, nominal_size=100)
    folder = folder_of(tmp_path / "set", {"a/deep.png": deep_png(2, 4095)})
    pyarrow.parquet.write_table(
        pyarrow.table({"image": [{"bytes": deep_png(2, 4095), "path": None}], "label": [0]}), tmp_path / "set.parquet"
    )
    for path in (folder, tmp_path / "set.parquet"):
        with pytest.raises(DataError, match="expected 8 bits a channel"):
            read_images(path, task)


def test_opaque_alpha_and_palettes_are_read() -> None:
    image = random_image("RGB")
    opaque = image.convert("RGBA")
    assert np.array_equal(
        read_pixels(encoded(opaque), "x", Preprocessing(side=8, colour=True)),
        read_pixels(encoded(image), "x", Preprocessing(side=8, colour=True)),
    )
    assert read_pixels(encoded(random_image().convert("P")), "x", GREY).shape == (1, 8, 8)


def test_a_huge_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="cannot be decoded"):
        read_pixels(encoded(random_image(side=12)), "bomb", GREY)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"a/x.png": b"", "loose.png": b""}, "found the file 'loose.png'"),
        ({"a/notes.txt": b""}, "not an image file"),
        ({"a/deeper/x.png": b""}, "not an image file"),
        ({"other/x.png": b""}, "'other' is not a listed class"),
        ({"a/.DS_Store": b"", "b/Thumbs.db": b""}, "holds no images"),
    ],
)
def test_odd_folders_are_refused(tmp_path: Path, files: dict[str, bytes], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        read_own(folder_of(tmp_path, files), CLASSES, GREY)


def test_hidden_files_are_no_images_and_empty_classes_are_fine(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"a/x.png": encoded(random_image()), "a/.DS_Store": b"", "b/desktop.ini": b""})
    assert read_own(folder, ("a", "b", "c"), GREY).labels.tolist() == [0]
    assert count_own(folder) == 1
    assert found_classes(folder) == ("a", "b")


def write_parquet(path: Path, labels: list[object], names: list[str] | None) -> Path:
    cells = [{"bytes": encoded(random_image(seed=n)), "path": f"{n}.png"} for n in range(len(labels))]
    table = pyarrow.table({"image": cells, "label": labels})
    if names is not None:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pyarrow.parquet.write_table(table, path)
    return path


def test_parquet_labels_follow_their_names(tmp_path: Path) -> None:
    named = write_parquet(tmp_path / "named.parquet", [0, 1, 1], ["b", "a"])
    assert read_own(named, CLASSES, GREY).labels.tolist() == [1, 0, 0]
    assert found_classes(named) == ("b", "a")
    assert count_own(named) == 3
    assert read_own(write_parquet(tmp_path / "plain.parquet", [0, 1], None), CLASSES, GREY).labels.tolist() == [0, 1]
    assert read_own(write_parquet(tmp_path / "text.parquet", ["b"], None), CLASSES, GREY).labels.tolist() == [1]


def test_odd_parquet_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label 2 is not a listed class"):
        read_own(write_parquet(tmp_path / "range.parquet", [0, 2], None), CLASSES, GREY)
    for odd in ([0], {"a": 1}, 0.5, None):
        with pytest.raises(DataError, match="is not a listed class"):
            read_own(write_parquet(tmp_path / "odd.parquet", [odd], None), CLASSES, GREY)
    with pytest.raises(DataError, match="'c' is not a listed class"):
        read_own(write_parquet(tmp_path / "names.parquet", [0], ["a", "b", "c"]), CLASSES, GREY)
    with pytest.raises(DataError, match="does not name its classes"):
        found_classes(write_parquet(tmp_path / "plain.parquet", [0], None))
    pyarrow.parquet.write_table(pyarrow.table({"image": [1]}), tmp_path / "columns.parquet")
    with pytest.raises(DataError, match="label missing"):
        read_own(tmp_path / "columns.parquet", CLASSES, GREY)
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "range.parquet").read_bytes()[:-50])
    with pytest.raises(DataError, match="as parquet"):
        read_own(tmp_path / "torn.parquet", CLASSES, GREY)


@pytest.mark.parametrize("text", ["", "a\na\n", "a\nA\n", "../up\n", ".hidden\n", "a/b\n", "x" * 101, "tab\there\n"])
def test_class_names_have_to_name_folders(tmp_path: Path, text: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(ConfigError):
        read_classes(path)


def test_class_names_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("Zebra crossing\n\nÄpfel \n")
    assert read_classes(path) == ("Zebra crossing", "Äpfel")
    with pytest.raises(ConfigError, match="1 to 1000"):
        check_classes(tuple(map(str, range(1001))), "list")


@settings(max_examples=15, deadline=None)
@given(sides=st.lists(st.integers(4, 40), min_size=2, max_size=6), left_out=st.integers(0, 5), colour=st.booleans())
def test_no_image_depends_on_another(
    tmp_path_factory: pytest.TempPathFactory, sides: list[int], left_out: int, colour: bool
) -> None:
    """Taking one file away changes no other row: preparation is per record, as the guarantee assumes."""
    how = Preprocessing(side=8, colour=colour)
    folder = tmp_path_factory.mktemp("own")
    files = {f"{CLASSES[n % 2]}/{n}.png": encoded(random_image(side=side, seed=n)) for n, side in enumerate(sides)}
    folder_of(folder, files)
    everything = read_own(folder, CLASSES, how)
    gone = left_out % len(sides)
    (folder / CLASSES[gone % 2] / f"{gone}.png").unlink()
    order = [n for label in (0, 1) for n in range(len(sides)) if n % 2 == label]
    kept = [row for row, n in enumerate(order) if n != gone]
    rest = read_own(folder, CLASSES, how)
    assert rest.images.equal(everything.images[kept])
    assert rest.labels.equal(everything.labels[kept])
    shutil.rmtree(folder)
