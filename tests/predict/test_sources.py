import io
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgewise.predict import sources
from edgewise.predict.sources import check_array, expand, fetch, from_tensor, load

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def png(pixels: np.ndarray = PIXELS) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    for name in ("b.png", "a.PNG", "inner/c.png"):
        (tmp_path / name).write_bytes(png())
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


# ── what a source stands for ─────────────────────────────────────────────────────────────────────────


def test_one_file(folder: Path) -> None:
    assert expand(folder / "b.png") == ([folder / "b.png"], False)
    assert expand(str(folder / "b.png")) == ([folder / "b.png"], False)


def test_home_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert expand("~/b.png") == ([folder / "b.png"], False)


def test_folder_and_pattern_are_many_and_sorted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert expand(folder) == ([folder / "a.PNG", folder / "b.png"], True)
    assert expand(f"{folder}/b*.png") == ([folder / "b.png"], True)
    assert expand(f"{folder}/**/*.png") == ([folder / "b.png", folder / "inner" / "c.png"], True)
    monkeypatch.chdir(folder)
    assert expand("b*") == ([Path("b.png")], True)


def test_list_is_many_and_keeps_its_order(folder: Path) -> None:
    images, many = expand([folder / "b.png", PIXELS, folder, "http://host/x.png"])
    assert many
    assert images[0] == folder / "b.png"
    assert images[1] is PIXELS
    assert images[2:] == [folder / "a.PNG", folder / "b.png", "http://host/x.png"]
    assert expand((PIXELS,))[1]


def test_missing_and_empty_sources_are_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lost\.jpg: no such file or folder"):
        expand(folder / "lost.jpg")
    with pytest.raises(FileNotFoundError, match=r"lost\.jpg: no such file or folder"):
        expand([folder / "b.png", folder / "lost.jpg"])
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: no images; expected files ending with \.bmp"):
        expand(folder / "empty")
    with pytest.raises(FileNotFoundError, match=r"\*\.webp: no images"):
        expand(f"{folder}/*.webp")
    with pytest.raises(ValueError, match="empty list; expected at least one image"):
        expand([])


def test_a_strange_source_is_named(unchecked: None) -> None:
    with pytest.raises(TypeError, match="predict was given a int; expected a path, folder, pattern or URL"):
        expand(3)


# ── one image ────────────────────────────────────────────────────────────────────────────────────────


def test_every_kind_gives_the_same_pixels(folder: Path) -> None:
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1) / 255
    for image in (folder / "b.png", Image.fromarray(PIXELS), PIXELS, tensor, tensor.double(), tensor.half()):
        pixels, place = load(image)
        np.testing.assert_array_equal(pixels, PIXELS)
        assert place == image if isinstance(image, Path) else place is pixels


def test_tensor_that_takes_part_in_training() -> None:
    tensor = torch.full((3, 4, 6), 0.5, requires_grad=True)
    assert from_tensor(tensor).tolist() == np.full((4, 6, 3), 128).tolist()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 6, 3)), r"array float64 \[4, 6, 3\].*\(image \* 255\)\.round\(\)\.astype\(np\.uint8\)"),
        (np.zeros((4, 6, 3), np.uint16), r"uint16 \[4, 6, 3\].*image / 257"),
        (np.zeros((4, 6), np.uint8), r"uint8 \[4, 6\].*np\.stack"),
        (np.zeros((4, 6, 1), np.uint8), r"uint8 \[4, 6, 1\].*np\.repeat"),
        (np.zeros((4, 6, 4), np.uint8), r"uint8 \[4, 6, 4\].*image\[\.\.\., :3\]"),
        (np.zeros((3, 4, 6), np.uint8), r"uint8 \[3, 4, 6\].*transpose\(1, 2, 0\)"),
        (np.zeros((2, 4, 6, 3), np.uint8), r"uint8 \[2, 4, 6, 3\].*list\(images\)"),
        (np.zeros((0, 6, 3), np.uint8), r"uint8 \[0, 6, 3\].*with pixels in it"),
        (np.zeros((4, 6, 3), np.int64), r"int64 \[4, 6, 3\]; expected RGB uint8 \[height, width, 3\].*BGR"),
    ],
)
def test_an_array_of_another_form_is_told_the_way(image: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_array(image)


def test_the_way_out_works() -> None:
    gray = PIXELS[..., 0]
    for image in (
        (PIXELS / 255 * 255).round().astype(np.uint8),
        np.stack([gray] * 3, axis=-1),
        np.repeat(gray[..., None], 3, axis=-1),
        PIXELS.transpose(2, 0, 1).transpose(1, 2, 0),
        PIXELS[..., ::-1],
    ):
        assert check_array(image) is image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(2, 3, 4, 6), r"tensor float32 \[2, 3, 4, 6\].*a batch is a list: list\(images\)"),
        (torch.zeros(4, 6, 3), r"float32 \[4, 6, 3\]; expected float \[3, height, width\] in \[0, 1\]"),
        (torch.zeros(3, 0, 6), r"float32 \[3, 0, 6\]; expected"),
        (torch.zeros(3, 4, 6, dtype=torch.uint8), r"uint8 \[3, 4, 6\].*image / 255"),
        (torch.full((3, 4, 6), 2.5), r"with values from 2\.5 to 2\.5; .*without mean and std"),
        (torch.full((3, 4, 6), torch.nan), r"with values from nan to nan"),
    ],
)
def test_a_tensor_of_another_form_is_told_the_way(image: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_tensor(image)


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/silent":
            time.sleep(0.5)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/a.png")
            self.end_headers()
            return
        if self.path == "/to-file":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/a.png")
            self.end_headers()
            return
        if self.path == "/trickle":
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):
                for _ in range(100):
                    self.wfile.write(b"x")
                    time.sleep(0.02)
            return
        body = {"/a.png": png(), "/page": b"<html>", "/long": bytes(3000), "/untold": bytes(3000)}.get(
            self.path
        )
        self.send_response(200 if body else 404)
        if self.path != "/untold":
            self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_address_is_read(host: str) -> None:
    for path in ("/a.png", "/moved"):
        np.testing.assert_array_equal(fetch(host + path), PIXELS)
    pixels, place = load(f"{host}/a.png")
    assert place is pixels  # so that `plot` needs no second visit


def test_no_good_answer_is_named(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionError, match=rf"{host}/lost: the server answered 404"):
        fetch(f"{host}/lost")
    with pytest.raises(ConnectionError, match=r"http://127\.0\.0\.1:9/a\.png: cannot be read: .*refused"):
        fetch("http://127.0.0.1:9/a.png")
    with pytest.raises(ConnectionError, match="cannot be read"):
        fetch("http://[bad/a.png")
    with pytest.raises(ValueError, match=rf"{host}/page: .*not an image"):
        fetch(f"{host}/page")
    monkeypatch.setattr(sources, "URL_SECONDS", 0.1)
    with pytest.raises(ConnectionError, match=r"/silent: cannot be read: .*timed out"):
        fetch(f"{host}/silent")
    monkeypatch.setattr(sources, "URL_PATIENCE", 0.2)
    with pytest.raises(ConnectionError, match=r"/trickle: cannot be read: not all of it came within 0.2 sec"):
        fetch(f"{host}/trickle")


@pytest.mark.parametrize("path", ["/long", "/untold"])
def test_a_large_answer_is_not_read(host: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "URL_BYTES", 2000)
    with pytest.raises(
        ValueError, match=rf"{path}: too large .*MiB are read\. Download it and give its path"
    ):
        fetch(host + path)


def test_only_the_web_is_read(host: str, folder: Path) -> None:
    for url in (f"file://{folder}/b.png", "ftp://127.0.0.1/a.png", "data://x"):
        with pytest.raises(ValueError, match="only http and https addresses are read; give a local file"):
            load(expand(url)[0][0])
    with pytest.raises(ConnectionError, match=r"/to-file: cannot be read: .*ftp"):
        fetch(f"{host}/to-file")
