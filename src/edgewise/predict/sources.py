"""Everything `predict` accepts as an image, turned into RGB uint8 [H, W, 3]."""

import time
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.error import HTTPError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    UnknownHandler,
)

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from edgewise.images import list_images, read_image


@runtime_checkable
class Tensor(Protocol):
    """What is asked of torch's Tensor, which may not be installed."""

    @property
    def dtype(self) -> Any: ...

    @property
    def shape(self) -> Any: ...

    def is_floating_point(self) -> bool: ...

    def detach(self) -> Any: ...


ImageLike = str | Path | PIL.Image.Image | np.ndarray | Tensor  # a str is a path, a pattern or a URL
Source = ImageLike | Sequence[ImageLike]

URL_BYTES = 64 * 2**20  # more is not read
URL_SECONDS = 20  # of silence
URL_PATIENCE = 300  # seconds for the whole of an answer, which may trickle


def expand(source: Source) -> tuple[list[ImageLike], bool]:
    """The single images that `source` stands for, in order, and whether the answer is a list.

    A folder stands for the images in it (not in its sub folders), a pattern such as `photos/**/*.jpg` for
    those it matches, both sorted by path. Within a list, both stand for their images, in place.

    Raises FileNotFoundError where there is no image, ValueError for an empty list, TypeError for what is
    none of these.
    """
    if isinstance(source, list | tuple):
        if not source:
            raise ValueError("predict was given an empty list; expected at least one image")
        return [image for one in source for image in expand(one)[0]], True
    if isinstance(source, str | Path) and "://" not in str(source):
        path = Path(source).expanduser()
        return [*list_images(path)], not path.is_file()
    if isinstance(source, ImageLike):
        return [source], False
    raise TypeError(
        f"predict was given a {type(source).__name__}; expected a path, folder, pattern or URL, "
        "a Pillow image, an RGB uint8 array [H, W, 3], a tensor [3, H, W] in [0, 1], or a list of these"
    )


def load(image: ImageLike) -> tuple[UInt8[np.ndarray, "H W 3"], Path | np.ndarray]:
    """The upright pixels of one image of `expand`, and where to find them again: its path, or themselves.

    A str is an address by now. Raises what `read_image`, `fetch`, `from_tensor` and `check_array` raise.
    """
    if isinstance(image, Path):
        return read_image(image), image
    if isinstance(image, str):
        pixels = fetch(image)
    elif isinstance(image, PIL.Image.Image):
        pixels = read_image(image)
    elif isinstance(image, Tensor):
        pixels = from_tensor(image)
    else:
        pixels = check_array(image)
    return pixels, pixels


def check_array(image: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    """`image` if it is uint8 [H, W, 3] with pixels in it; the ValueError says how to make it so.

    The order of channels cannot be seen: OpenCV's BGR is `image[..., ::-1]` away from RGB.
    """
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return image
    raise ValueError(
        f"predict was given an array {image.dtype} {list(image.shape)}; "
        f"expected RGB uint8 [height, width, 3]{_way_out(image)}"
    )


def _way_out(image: np.ndarray) -> str:
    if not image.size:
        return ", with pixels in it"
    if np.issubdtype(image.dtype, np.floating):
        return "; from floats in [0, 1]: (image * 255).round().astype(np.uint8)"
    if image.dtype == np.uint16:
        return "; from 16 bits: (image / 257).round().astype(np.uint8)"
    match image.shape:
        case (_, _):
            return "; from gray: np.stack([image] * 3, axis=-1)"
        case (_, _, 1):
            return "; from gray: np.repeat(image, 3, axis=-1)"
        case (_, _, 4):
            return "; from RGBA: image[..., :3], from OpenCV's BGRA: image[..., 2::-1]"
        case (3, _, _):
            return "; from channels first: image.transpose(1, 2, 0)"
        case (_, _, _, 3):
            return "; a batch is a list: list(images)"
    return "; OpenCV's BGR becomes RGB by image[..., ::-1]"


def from_tensor(image: Tensor) -> UInt8[np.ndarray, "H W 3"]:
    """Pixels of a float tensor [3, H, W] in [0, 1], on any device, rounded to the 255 steps of a file.

    So every kind of source takes the same way into the model. Raises ValueError for anything else.
    """
    given = f"predict was given a tensor {str(image.dtype).removeprefix('torch.')} {list(image.shape)}"
    expected = "expected float [3, height, width] in [0, 1]"
    if len(image.shape) == 4:
        raise ValueError(f"{given}; {expected}; a batch is a list: list(images)")
    if len(image.shape) != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ValueError(f"{given}; {expected}")
    if not image.is_floating_point():
        raise ValueError(f"{given}; {expected}: image / 255")
    pixels: np.ndarray = image.detach().float().cpu().numpy()
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 1):  # nan too
        raise ValueError(f"{given} with values from {low:g} to {high:g}; {expected}, without mean and std")
    return np.ascontiguousarray(np.rint(pixels * 255).astype(np.uint8).transpose(1, 2, 0))


def fetch(url: str) -> UInt8[np.ndarray, "H W 3"]:
    """The image at an http or https address, also after redirects to such.

    Raises ValueError for another kind of address, an answer beyond URL_BYTES or one that is no image, and
    ConnectionError where there is no good answer within URL_SECONDS, and all of it within URL_PATIENCE.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError(f"{url}: only http and https addresses are read; give a local file as a path")
    try:
        with _opener().open(url, timeout=URL_SECONDS) as answer:
            announced = int(answer.headers.get("Content-Length") or 0)
            body = b"" if announced > URL_BYTES else _body(answer)
    except HTTPError as error:
        with error:
            raise ConnectionError(f"{url}: the server answered {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:  # ValueError: an address that is none
        raise ConnectionError(f"{url}: cannot be read: {getattr(error, 'reason', error)}") from None
    if announced > URL_BYTES or len(body) > URL_BYTES:
        size = f"{announced / 2**20:.0f} MiB" if announced else "its size untold"
        raise ValueError(
            f"{url}: too large ({size}); at most {URL_BYTES / 2**20:.0f} MiB are read. "
            "Download it and give its path"
        )
    try:
        return read_image(body)
    except ValueError as error:
        raise ValueError(f"{url}: {error}") from None


def _body(answer: HTTPResponse) -> bytes:
    """The answer, or a little more than URL_BYTES of it."""
    body, end = bytearray(), time.monotonic() + URL_PATIENCE
    while len(body) <= URL_BYTES and (part := answer.read1(2**16)):
        body += part
        if time.monotonic() > end:
            raise TimeoutError(f"not all of it came within {URL_PATIENCE} seconds")
    return bytes(body)


def _opener() -> OpenerDirector:
    """`urlopen` without its handlers for file, ftp and data addresses, which a redirect could lead to."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler,
        UnknownHandler,
        HTTPHandler,
        HTTPSHandler,
        HTTPDefaultErrorHandler,
        HTTPRedirectHandler,
        HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener
