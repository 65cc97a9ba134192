"""Reading every image once: whether it can be decoded, how large and how turned it is, what it looks like."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console
from rich.progress import track

from edgewise.images import orientation, read_image

THUMBNAIL = 64  # side of a thumbnail in pixels


@dataclass(frozen=True, eq=False)
class Scan:
    """What an image file turned out to be.

    size         (height, width) upright; None where it cannot be decoded
    orientation  EXIF's, 1 to 8; 1 is upright
    digest       of the file: equal for equal files
    thumbnail    gray, upright, aspect not kept; None where it cannot be decoded
    error        why it cannot be decoded, else empty
    """

    size: tuple[int, int] | None
    orientation: int
    digest: bytes
    thumbnail: UInt8[np.ndarray, "64 64"] | None
    error: str = ""

    @property
    def stored_size(self) -> tuple[int, int] | None:
        """(height, width) before EXIF orientation turns it: what a tool that ignores EXIF sees."""
        return self.size[::-1] if self.size and self.orientation >= 5 else self.size


def scan_images(paths: Iterable[Path], console: Console | None = None) -> dict[Path, Scan]:
    """A Scan of each file, missing ones left out, with a progress bar on `console`.

    Threads decode side by side, since Pillow lets go of the interpreter; what is kept of an image is some
    4 kB, so that memory is that of the few images in the making.
    """
    found = [path for path in dict.fromkeys(paths) if path.is_file()]
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        scans: Iterable[Scan] = pool.map(scan_image, found)
        if console is not None and console.is_terminal:
            scans = track(scans, "reading images", len(found), console=console, transient=True)
        return dict(zip(found, scans, strict=True))
    finally:
        pool.shutdown(cancel_futures=True)


def scan_image(path: Path) -> Scan:
    """Decodes a file as training does and keeps what the checks need."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Scan(None, 1, b"", None, f"cannot be read: {error.strerror}")
    digest = blake2b(data, digest_size=16).digest()
    try:
        image = read_image(data)
        turned = orientation(data)
    except ValueError as error:
        return Scan(None, 1, digest, None, str(error).partition(": ")[2])  # its own name is in `where`
    return Scan((image.shape[0], image.shape[1]), turned, digest, _thumbnail(image))


def _thumbnail(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "64 64"]:
    side = (THUMBNAIL, THUMBNAIL)
    # The filter averages over the whole of a cell, so that neither size nor compression changes it much.
    return np.asarray(Image.fromarray(image).convert("L").resize(side, Image.Resampling.BILINEAR))
