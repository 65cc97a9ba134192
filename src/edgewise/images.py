"""Image files to arrays, upright and RGB, with one clear error for whatever is not an image. No torch."""

import io
import warnings
from collections.abc import Iterable
from glob import has_magic
from itertools import count
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MAX_PIXELS = 178_956_970  # half a gigabyte of RGB; more is a decompression bomb or wants tiling

_HEADER = Lock()  # `catch_warnings` swaps process-wide state, so one thread at a time
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation: what makes the image upright


def read_image(source: str | Path | bytes | Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """RGB uint8 [H, W, 3], upright, of a file, the bytes of a file or a Pillow image.

    EXIF orientation is applied. Gray and palette images become RGB, transparency is laid on white, 16-bit
    gray is scaled by its full range; of several frames the first counts.

    Raises FileNotFoundError or IsADirectoryError for such a path, and ValueError for an empty, truncated or
    unreadable image, one of more than MAX_PIXELS, or pixels whose range is unknown (32-bit, float).
    """
    if isinstance(source, Image.Image):
        return _decode(source, "image")
    image, name = _open(source)
    with image:
        return _decode(image, name)


def read_shrunk(
    source: str | Path | bytes, shrink: float = 1.0
) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[int, int], int]:
    """As `read_image`, but perhaps smaller; (height, width) of the whole image; how many times smaller.

    That is 1, 2, 4 or 8, at most `shrink`; sides are rounded up. JPEG alone can be decoded so, each pixel
    about the mean of those it stands for.
    """
    image, name = _open(source)
    with image:
        _refuse_bomb(image, name)
        width, height = image.size
        by = max(one for one in (1, 2, 4, 8) if one <= max(shrink, 1) and one <= min(width, height))
        if by > 1 and _shrinkable(image):
            image.draft(None, (width // by, height // by))
        else:
            by = 1
        pixels = _decode(image, name)
        size = (width, height) if _orientation(image) >= 5 else (height, width)
    return pixels, size, by


def orientation(source: str | Path | bytes) -> int:
    """EXIF orientation of an image file or its bytes, 1 (upright) to 8; 1 where there is none to be read.

    From 5 on, the upright image is as wide as the stored one is high. Raises what `read_image` raises for
    a file that is no image.
    """
    image, _ = _open(source)
    with image:
        return _orientation(image)


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image file once upright, from its header: nothing is decoded.

    Raises what `read_image` raises for a file whose header cannot be read.
    """
    image, name = _open(Path(path))
    with image:
        _refuse_bomb(image, name)
        # Pillow decodes a whole PNG to look for EXIF behind its pixels, where hardly anyone writes it
        told = image.format != "PNG" or "exif" in image.info
        turned = told and _orientation(image) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


def list_images(source: str | Path) -> list[Path]:
    """The image files of a folder (not of its sub folders), of a glob pattern, or the one file; sorted.

    FileNotFoundError if there are none.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(path.iterdir())
    elif has_magic(str(source)):
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    else:
        raise FileNotFoundError(f"{source}: no such file or folder")
    images = [one for one in found if one.suffix.lower() in SUFFIXES and one.is_file()]
    if not images:
        raise FileNotFoundError(f"{source}: no images; expected files ending with {', '.join(SUFFIXES)}")
    return images


def distinct_stems(files: Iterable[str | Path]) -> list[str]:
    """What each file is called in one folder with the others: its name without suffix, numbered if taken.

    Upper and lower case are one name, as on some file systems.
    """
    taken: dict[str, str] = {}  # as compared → as written
    for file in files:
        stem = Path(file).stem
        numbered = (stem if number == 1 else f"{stem}_{number}" for number in count(1))
        free = next(one for one in numbered if one.lower() not in taken)
        taken[free.lower()] = free
    return list(taken.values())


def _open(source: str | Path | bytes) -> tuple[Image.Image, str]:
    """The image, not decoded yet, and what to call it in an error."""
    name = f"image of {len(source)} bytes" if isinstance(source, bytes) else str(source)
    try:
        empty = not (len(source) if isinstance(source, bytes) else Path(source).stat().st_size)
        with _HEADER, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whatever is wrong is said below
            if not empty:
                return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source), name
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: no such image file") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{name}: a folder; expected an image file") from None
    except UnidentifiedImageError:
        raise ValueError(f"{name}: not an image; expected one of {', '.join(SUFFIXES)}") from None
    except Image.DecompressionBombError:
        raise ValueError(_too_large(name, "")) from None
    except Exception as error:
        raise ValueError(_broken(name, error)) from error
    raise ValueError(f"{name}: empty; expected an image. Fetch or export it again")


def _refuse_bomb(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(_too_large(name, f"{image.height}x{image.width} (height x width), "))


def _decode(image: Image.Image, name: str) -> np.ndarray:
    _refuse_bomb(image, name)
    if image.format == "EPS":  # Pillow would hand it to Ghostscript
        raise ValueError(f"{name}: PostScript is a program and is not run; export it as PNG")
    try:
        image.load()
        return np.array(_rgb(_upright(image)))
    except Exception as error:
        raise ValueError(_broken(name, error)) from error


def _shrinkable(image: Image.Image) -> bool:
    """A JPEG, unless it is turned and its last row or column, which stands for less, becomes the first."""
    width, height = image.size
    return image.format in ("JPEG", "MPO") and (not (width % 8 or height % 8) or _orientation(image) == 1)


def _broken(name: str, error: Exception) -> str:
    """For nearly anything, since that is what Pillow raises on a broken file."""
    return f"{name}: cannot be decoded: {error}. Fetch or export it again"


def _too_large(name: str, size: str) -> str:
    return f"{name}: {size}more than {MAX_PIXELS} pixels; shrink it or cut it into tiles"


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # unreadable EXIF: shown as stored, which is what viewers do
        return 1
    return int(found) if found in _TURNS else 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _scaled(image).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """8-bit gray of 16-bit gray: 65535 becomes 255."""
    pixels = np.asarray(image)
    if image.mode == "F" or pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(
            f"its pixels (mode {image.mode}) are {pixels.min()} to {pixels.max()}; expected 8 or 16 bits"
        )
    return Image.fromarray(np.rint(pixels / 257).astype(np.uint8))
