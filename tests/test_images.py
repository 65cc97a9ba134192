import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewise import images
from edgewise.images import distinct_stems, image_size, list_images, orientation, read_image, read_shrunk

RED, GREEN, BLUE = [255, 0, 0], [0, 255, 0], [0, 0, 255]


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def photo(rng: np.random.Generator, size: tuple[int, int] = (24, 32)) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_reads_path_text_bytes_and_pillow_image_alike(tmp_path: Path, rng: np.random.Generator) -> None:
    picture = photo(rng)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture))
    for source in (path, str(path), path.read_bytes(), picture):
        array = read_image(source)
        assert array.dtype == np.uint8
        assert array.flags.c_contiguous
        assert array.flags.writeable
        np.testing.assert_array_equal(array, np.asarray(picture))


@pytest.mark.parametrize("turned", range(1, 9))
def test_every_exif_orientation_is_upright(turned: int) -> None:
    """Corners of the upright image: red top left, green top right, blue bottom left."""
    upright = np.zeros((4, 6, 3), np.uint8)
    upright[0, 0], upright[0, -1], upright[-1, 0] = RED, GREEN, BLUE
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[turned]
    exif = Image.Exif()
    exif[0x0112] = turned
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(read_image(data), upright)
    assert orientation(data) == turned


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_size_of_a_file_is_that_of_the_upright_image(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    for turned, size in ((1, (4, 6)), (3, (4, 6)), (6, (6, 4))):
        exif[0x0112] = turned
        Image.new("RGB", (6, 4)).save(tmp_path / f"a.{suffix}", exif=exif)
        assert image_size(tmp_path / f"a.{suffix}") == size


@pytest.mark.parametrize("turned", [1, 6])
@pytest.mark.parametrize(("shrink", "by"), [(1.0, 1), (1.9, 1), (2.0, 2), (3.9, 2), (4.5, 4), (100.0, 8)])
def test_a_jpeg_is_read_at_the_scale_asked_for(shrink: float, by: int, turned: int) -> None:
    y, x = np.mgrid[0:131, 0:85] if turned == 1 else np.mgrid[0:136, 0:80]
    smooth = np.stack([2 * x, y, 128 + 60 * np.sin(y / 20)], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turned
    data = encoded(Image.fromarray(smooth), "JPEG", exif=exif, quality=95)
    pixels, size, factor = read_shrunk(data, shrink)
    whole = read_image(data)
    assert (size, factor) == (whole.shape[:2], by)
    assert pixels.shape == (-(-size[0] // by), -(-size[1] // by), 3)
    inner = whole[: size[0] // by * by, : size[1] // by * by]
    means = inner.reshape(size[0] // by, by, size[1] // by, by, 3).mean((1, 3))
    error = np.abs(pixels[: means.shape[0], : means.shape[1]] - means)
    assert error.mean() < 1.5
    assert error.max() < 16


def test_a_turned_jpeg_whose_sides_are_no_multiples_of_8_is_read_whole() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels, size, by = read_shrunk(encoded(Image.new("RGB", (84, 131)), "JPEG", exif=exif), 2.0)
    assert (pixels.shape, size, by) == ((84, 131, 3), (84, 131), 1)


def test_other_formats_are_read_whole(rng: np.random.Generator) -> None:
    pixels, size, by = read_shrunk(encoded(photo(rng)), 4.0)
    assert (pixels.shape, size, by) == ((24, 32, 3), (24, 32), 1)


def test_a_side_shorter_than_the_scale(rng: np.random.Generator) -> None:
    pixels, size, by = read_shrunk(encoded(photo(rng, (1, 40)), "JPEG"), 8.0)
    assert (pixels.shape, size, by) == ((1, 40, 3), (1, 40), 1)


def test_unreadable_exif_leaves_the_image_as_stored(rng: np.random.Generator) -> None:
    picture = photo(rng)
    data = encoded(picture, exif=b"Exif\x00\x00garbage")
    np.testing.assert_array_equal(read_image(data), np.asarray(picture))
    assert orientation(data) == orientation(encoded(picture)) == 1


def test_gray_palette_and_one_bit() -> None:
    gray = np.array([[0, 100, 255]], np.uint8)
    expected = np.repeat(gray[..., None], 3, -1)
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(gray))), expected)
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(gray).convert("P"))), expected)
    one_bit = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(read_image(encoded(one_bit)), [[[0] * 3, [255] * 3]])


def test_cmyk() -> None:
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    np.testing.assert_allclose(read_image(data)[0, 0].astype(int), RED, atol=4)


def test_transparency_is_laid_on_white() -> None:
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    seen = read_image(encoded(Image.fromarray(pixels)))
    np.testing.assert_array_equal(seen, [[RED, [255] * 3, [127] * 3]])
    gray = Image.fromarray(np.array([[[0, 255], [0, 0]]], np.uint8), "LA")
    np.testing.assert_array_equal(read_image(encoded(gray)), [[[0] * 3, [255] * 3]])


def test_transparent_palette_entry_is_white() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *GREEN])
    picture.putpixel((1, 0), 1)
    np.testing.assert_array_equal(read_image(encoded(picture, transparency=1)), [[RED, [255] * 3]])


def test_sixteen_bits_are_scaled_by_their_full_range() -> None:
    pixels = np.array([[0, 257, 32768, 65535]], np.uint16)
    for data in (encoded(Image.fromarray(pixels)), encoded(Image.fromarray(pixels.astype(np.int32)), "TIFF")):
        np.testing.assert_array_equal(read_image(data)[0, :, 0], [0, 1, 128, 255])


def test_first_frame_of_several(rng: np.random.Generator) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(data)[0, 0], RED)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png: no such image file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(IsADirectoryError, match="a folder; expected an image file"):
        read_image(tmp_path)


def test_broken_files(tmp_path: Path, rng: np.random.Generator) -> None:
    for name, data, message in (
        ("empty.jpg", b"", "empty.jpg: empty; expected an image"),
        ("text.png", b"hello", "text.png: not an image; expected one of .bmp, .gif"),
        ("cut.jpg", encoded(photo(rng), "JPEG")[:-200], "cut.jpg: cannot be decoded: "),
        ("cut.png", encoded(photo(rng))[:-800], "cut.png: cannot be decoded: "),
        ("header.jpg", encoded(photo(rng), "JPEG")[:100], "header.jpg: cannot be decoded: "),
        ("header.png", encoded(photo(rng))[:20], "header.png: cannot be decoded: "),
        ("program.jpg", encoded(photo(rng), "EPS"), "program.jpg: PostScript is a program and is not run"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=re.escape(message)):
            read_image(tmp_path / name)
    for name, message in (("empty.jpg", "empty; expected an image"), ("text.png", "not an image; expected")):
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            image_size(tmp_path / name)
    with pytest.raises(ValueError, match="image of 5 bytes: not an image"):
        read_image(b"hello")


def test_pixels_of_unknown_range() -> None:
    for pixels in (np.full((2, 2), 70000, np.int32), np.full((2, 2), 0.5, np.float32)):
        with pytest.raises(ValueError, match=r"its pixels \(mode .\) are .* expected 8 or 16 bits"):
            read_image(encoded(Image.fromarray(pixels), "TIFF"))


def header_only(width: int, height: int) -> bytes:
    """A PNG that claims to be huge and has no pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("width", [9_000, 18_000, 60_000])
def test_decompression_bomb_is_refused_by_its_header(
    width: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between once and twice Pillow's own limit it only warns, and warnings are errors here."""
    monkeypatch.setattr(images, "MAX_PIXELS", 80_000_000)
    with pytest.raises(ValueError, match="more than 80000000 pixels; shrink it"):
        read_image(header_only(width, 10_000))
    with pytest.raises(ValueError, match="more than"):
        read_shrunk(header_only(width, 10_000), 8.0)
    (tmp_path / "bomb.png").write_bytes(header_only(width, 10_000))
    size = rf"(10000x{width} \(height x width\), )?"  # of the largest Pillow does not say it
    with pytest.raises(ValueError, match=rf"bomb\.png: {size}more than 80000000 pixels; shrink it"):
        image_size(tmp_path / "bomb.png")


def test_list_images(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = ["a.png", "b.JPG"]
    assert [path.name for path in list_images(tmp_path)] == names
    assert [path.name for path in list_images(str(tmp_path / "*"))] == names
    assert [path.name for path in list_images(tmp_path / "**/*.png")] == ["a.png", "c.png"]
    assert list_images(tmp_path / "a.png") == [tmp_path / "a.png"]


def test_list_images_finds_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"no images; expected files ending with \.bmp"):
        list_images(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none: no such file or folder"):
        list_images(tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^\*\.png: no images"):
        list_images("*.png")


def test_distinct_stems() -> None:
    """Each once, whatever the case, and what looks numbered already is a name like any other."""
    files = ["a.png", Path("more/a.jpg"), "more/a_2.png", "A.gif", "b.png"]
    assert distinct_stems(files) == ["a", "a_2", "a_2_2", "A_3", "b"]
