import itertools
import os
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry, known_implementations

from preprocess import addresses
from preprocess.addresses import (
    AddressError,
    DeniedError,
    MissingError,
    ask,
    check_address,
    is_address,
    without_secrets,
)
from preprocess.errors import WholewordError
from preprocess.places import Place, look_at, place


class Broken(MemoryFileSystem):
    """A file system that raises the errors of `plan`, one a call, before it answers."""

    protocol = "broken"
    plan: list[Exception] = []  # noqa: RUF012
    calls = 0

    def cat_file(self, path, start=None, end=None, **kwargs):
        Broken.calls += 1
        if Broken.plan:
            raise Broken.plan.pop(0)
        return b"here"


@pytest.fixture
def broken(monkeypatch):
    """Its errors, and the pauses that were made."""
    fsspec.register_implementation("broken", Broken, clobber=True)
    pauses: list[float] = []
    monkeypatch.setattr(addresses.time, "sleep", pauses.append)
    monkeypatch.setattr(addresses, "_ANSWERED", set())
    Broken.plan, Broken.calls = [], 0
    return pauses


def read() -> bytes:
    return Place("broken://a/b").read_bytes()


class ServerError(Exception):
    """What botocore raises, as far as we look at it."""

    __module__ = "botocore.exceptions"

    def __init__(self, status: int, text: str = "Slow down") -> None:
        super().__init__(text)
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    "error", [ServerError(503), TimeoutError(), ConnectionResetError()], ids=str
)
def test_what_passes_is_tried_again(broken, error):
    Broken.plan = [error, error]
    assert read() == b"here"
    assert Broken.calls == 3 and len(broken) == 2


def test_pauses_grow_and_end(broken):
    assert read() == b"here"  # it has answered: patience is worth it
    Broken.plan = [ServerError(500)] * 20
    with pytest.raises(AddressError, match="broken://a/b: no answer in 8 tries: Slow down"):
        read()
    assert len(broken) == 7
    assert all(later > earlier for earlier, later in itertools.pairwise(broken))


def test_where_nothing_ever_answered_two_tries_more_are_enough(broken):
    Broken.plan = [ConnectionRefusedError()] * 20
    with pytest.raises(AddressError, match="no answer in 3 tries"):
        read()


def test_without_a_network_one_try_is_enough(broken):
    Broken.plan = [OSError(5, "[Errno -2] Name or service not known")]
    with pytest.raises(AddressError, match="no answer in 1 try"):
        read()


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (FileNotFoundError("x"), MissingError, "no such file"),
        (FileNotFoundError("The specified bucket does not exist"), MissingError, "no such bucket"),
        (PermissionError("x"), DeniedError, "access is denied"),
        (ServerError(403), DeniedError, "access is denied"),
        (ServerError(400, "odd https://h/x?sig=abc and"), AddressError, "odd https://h/x and"),
    ],
    ids=str,
)
def test_what_lasts_is_one_line_at_once(broken, error, kind, words):
    Broken.plan = [error]
    with pytest.raises(kind, match=words) as found:
        read()
    assert isinstance(found.value, WholewordError) and isinstance(found.value, OSError)
    assert "\n" not in str(found.value) and str(found.value).startswith("broken://a/b: ")
    assert Broken.calls == 1 and not broken


def test_a_defect_of_ours_stays_one(broken):
    Broken.plan = [TypeError("ours")]
    with pytest.raises(TypeError):
        ask("broken://a/b", lambda fs, path: fs.cat_file(path))


@pytest.mark.parametrize(
    "address",
    [
        "s3://me:hush@bucket/x",
        "https://host/x.txt?X-Amz-Signature=hush",
        "https://host/x.txt?a=1&token=hush",
        "s3://bucket/x?AWSAccessKeyId=me&Signature=hush",
        "az://box/x?sv=1&sig=hush",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(address):
    with pytest.raises(WholewordError, match="stands in the address") as error:
        check_address(address, "--input")
    assert "hush" not in str(error.value) and "\n" not in str(error.value)
    assert "hush" not in without_secrets(address)


@pytest.mark.parametrize("address", ["s3://bucket/a@b:c/d", "hf://datasets/o/n@main/x.txt"])
def test_an_address_without_one_is_left_as_it_is(address):
    assert without_secrets(address) == address


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nosuch://x/y", "nosuch:// is unknown"),
        ("simplecache::memory://x", "addresses inside addresses"),
        ("memory://", "names nothing"),
    ],
)
def test_what_cannot_be_used_is_said(address, words):
    with pytest.raises(WholewordError, match=words):
        check_address(address, "--input")


def test_what_can_only_be_read_is_not_written():
    with pytest.raises(WholewordError, match=r"--output .* can be read but not written"):
        check_address("hf://datasets/o/n", "--output", writes=True)


@pytest.mark.parametrize(
    ("protocol", "remedy"), [("s3", r"'wholeword\[s3\]'"), ("odd", "install odd")]
)
def test_a_missing_library_names_what_to_install(monkeypatch, protocol, remedy):
    missing = {"class": "no_such_library.Files", "err": "Install odd to read it"}
    monkeypatch.setitem(known_implementations, protocol, missing)
    monkeypatch.delitem(_registry, protocol, raising=False)
    with pytest.raises(WholewordError, match=remedy):
        check_address(f"{protocol}://bucket/x", "--input")


def test_paths_and_addresses_are_told_apart(tmp_path: Path):
    assert is_address("s3://bucket/x") and not is_address("s3:/bucket/x")
    assert not is_address("C:\\x") and not is_address("a/b://c")
    assert isinstance(place("s3://bucket/x"), Place) and isinstance(place("x"), Path)
    (tmp_path / "x").write_bytes(b"abc")
    assert look_at(str(tmp_path / "x")).bytes == 3
    assert look_at(str(tmp_path / "x")).mark == os.stat(tmp_path / "x").st_mtime_ns  # noqa: PTH116


def test_a_place_is_used_like_a_path():
    base = place("memory://places/a")
    (base / "x.txt").write_bytes(b"12345")
    (base / "sub" / "y.txt").write_bytes(b"1")
    assert base.name == "a" and str((base / "x.txt").parent) == str(base)
    assert base.exists() and base.is_dir() and not (base / "x.txt").is_dir()
    assert not (base / "nothing").exists()
    assert sorted(path.name for path in base.iterdir()) == ["sub", "x.txt"]
    assert [path.name for path in base.glob("x*")] == ["x.txt"]
    assert (base / "x.txt").read_text() == "12345"
    before = look_at(str(base / "x.txt"))
    (base / "x.txt").write_bytes(b"54321")
    assert look_at(str(base / "x.txt")) != before
    (base / "x.txt").unlink()
    (base / "x.txt").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        (base / "x.txt").read_bytes()
