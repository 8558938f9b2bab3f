"""A real S3 server on this machine, for tests."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec

BUCKET = "bucket"
SECRET = "a-secret-that-nobody-may-see"


@contextmanager
def s3_server() -> Iterator[str]:
    """Serve S3 with an empty bucket; the environment of this process leads there.

    Yields:
        The server's own address.
    """
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    place = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with mock.patch.dict(os.environ, place):
            files().mkdir(BUCKET)
            yield place["AWS_ENDPOINT_URL"]
    finally:
        server.stop()


def files() -> Any:
    """The server's file system, as another program would see it."""
    return fsspec.filesystem("s3", use_listings_cache=False)


def upload(folder: Path, address: str) -> None:
    """Put a folder there, the build's own state too."""
    fs, base = fsspec.core.url_to_fs(address, use_listings_cache=False)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            fs.pipe_file(f"{base}/{path.relative_to(folder)}", path.read_bytes())


def content(address: str) -> dict[str, bytes]:
    """Every object below an address by its name, but for the build's own state."""
    fs, base = fsspec.core.url_to_fs(address, use_listings_cache=False)
    names = {name: name.removeprefix(base).strip("/") for name in fs.find(base)}
    return {own: fs.cat_file(name) for name, own in names.items() if not own.startswith(".build/")}


def local_content(folder: Path) -> dict[str, bytes]:
    """The same of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != ".build"
    }
