"""Addresses such as `s3://bucket/folder`, which fsspec reads: whose they are, and what fails there.

What passes (a server that is busy, a connection that breaks) is tried again with growing pauses;
what does not becomes an `OSError` whose reason is one line without secrets.
"""

import errno
import functools
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from preprocess.errors import WholewordError

Result = TypeVar("Result")

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""The extra that installs what a protocol needs."""
STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
"""Protocols of object stores, where an object is whole or absent; others can only be read."""
PAUSES: tuple[float, ...] = (0.5, 1, 2, 4, 8, 16, 32)
"""Seconds before something is tried again."""
FIRST_PAUSES: tuple[float, ...] = (0.5, 1)
"""The same where nothing has ever answered: the address, or the network, is likely not right."""
SECONDS_TO_CONNECT, SECONDS_TO_READ = 10, 60
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*(?:::[A-Za-z][A-Za-z0-9+.-]*)*)://")
_SECRET = re.compile(
    r"[?&](x-(amz|goog|ms)-|awsaccesskeyid|(access_?)?token|api_?key|key|secret|sig|signature|"
    r"password|credential)[^=&]*=",
    re.IGNORECASE,
)
_LIBRARIES = {
    *("botocore", "aiobotocore", "s3fs", "gcsfs", "google", "adlfs", "azure", "huggingface_hub"),
    *("aiohttp", "httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "fsspec"),
}
"""Packages whose own exceptions say something about the other side, not about this program."""
_PASSING = re.compile(
    "Timeout|Connect|Disconnect|IncompleteRead|ReadError|WriteError|RemoteProtocol|Payload|"
    "ResponseParser|HTTPClientError"
)
_PASSING_STATUS = (408, 429, 500, 502, 503, 504)
_PASSING_NUMBERS = (errno.EBUSY, errno.EIO, errno.ETIMEDOUT, errno.ECONNRESET, errno.EAGAIN)
_LASTING = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError)
_NO_CREDENTIALS = re.compile("Credential|ProfileNotFound|TokenRetrieval|LocalTokenNotFound")
_NO_NAME = re.compile("Name or service not known|name resolution|getaddrinfo|nodename nor")
_ANSWERED: set[str] = set()
"""Protocols that have answered in this process."""


class AddressError(WholewordError, OSError):
    """What an address answers, or that it does not: an `OSError` and a line for people in one."""

    def __init__(self, number: int, reason: str, address: str) -> None:
        super().__init__(number, reason)
        self.address = address

    def __str__(self) -> str:
        return f"{self.address}: {self.strerror}"


class MissingError(AddressError, FileNotFoundError):
    """There is no such object, or no such bucket."""


class DeniedError(AddressError, PermissionError):
    """Nobody is known to the other side, or may do this."""


class ExistsError(AddressError, FileExistsError):
    """There is such an object already."""


def is_address(text: str) -> bool:
    """Whether a name is an address, not a path."""
    return _ADDRESS.match(text) is not None


def protocol_of(address: str) -> str:
    """What stands before `://`, in lower case."""
    found = _ADDRESS.match(address)
    assert found is not None
    return found[1].lower()


def without_secrets(address: str) -> str:
    """An address that may be shown: without a password and without what follows `?`."""
    address = re.sub(r"(://)[^/@]*:[^/@]*@", r"\1", address)
    return address.split("?")[0] if _SECRET.search(address) else address


def check_address(address: str, what: str, writes: bool = False) -> None:
    """Refuse an address that holds a secret or that nothing here can use; asks nobody.

    Args:
        address: as the command line gives it.
        what: what it is for, as the line begins: `--output`.
        writes: whether objects are put there.

    Raises:
        WholewordError: it has a password or a signature in it, its protocol is unknown, its library
            is missing, or it can only be read.
    """
    if "\0" in address or address != address.encode(errors="replace").decode():
        raise WholewordError(f"{what} {address!r}: the name is not UTF-8; use another")
    if without_secrets(address) != address:
        raise WholewordError(
            f"{what} {without_secrets(address)}: a password, key or signature stands in the "
            "address, where logs and manifests would keep it; leave it out, and give it by the "
            "environment (docs/storage.md)"
        )
    protocol = protocol_of(address)
    if writes and protocol not in STORES:
        raise WholewordError(
            f"{what} {address}: can be read but not written; name a folder on a disk, or an "
            "address of s3://, gs:// or az://"
        )
    _check_library(address, protocol, what)
    name = address.split("://", 1)[1].strip("/")
    if not name:
        raise WholewordError(f"{what} {address}: names nothing; write {protocol}://BUCKET/FOLDER")


def _check_library(address: str, protocol: str, what: str) -> None:
    import fsspec  # (a third of a second: not for those who have no addresses)
    from fsspec.registry import known_implementations

    if "::" in protocol:
        raise WholewordError(
            f"{what} {address}: addresses inside addresses are not read; name one alone"
        )
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        remedy = f"run `pip install 'wholeword[{extra}]'`"
        if not extra:
            remedy = str(known_implementations.get(protocol, {}).get("err", error)).lower()
        raise WholewordError(
            f"{what} {address}: the library that reads {protocol}:// is not installed; {remedy}"
        ) from error
    except ValueError as error:
        raise WholewordError(
            f"{what} {address}: {protocol}:// is unknown; use s3://, gs:// or hf://datasets/"
        ) from error


@functools.cache
def _options(protocol: str) -> dict[str, Any]:
    """Without caches of listings, which hide what others write, and without retries of its own."""
    options: dict[str, Any] = {"use_listings_cache": False}
    if protocol in ("s3", "s3a"):
        options["config_kwargs"] = {
            "retries": {"total_max_attempts": 1},
            "connect_timeout": SECONDS_TO_CONNECT,
            "read_timeout": SECONDS_TO_READ,
            "max_pool_connections": 64,
        }
    return options


def file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, one a process, and what it calls the address."""
    import fsspec

    protocol = protocol_of(address)
    fs, path = fsspec.core.url_to_fs(address, **_options(protocol))
    if protocol in ("s3", "s3a"):
        fs.retries = 1
    return fs, path


def ask(address: str, question: Callable[[Any, str], Result]) -> Result:
    """What `question(file_system, path)` returns, asked again where what went wrong may pass.

    Raises:
        AddressError: as the other side says.
    """
    protocol = protocol_of(address)
    tries = 0
    while True:
        try:
            found = question(*file_system(address))
        except Exception as error:
            if not _is_of_the_other_side(error):
                raise
            pauses = PAUSES if protocol in _ANSWERED else FIRST_PAUSES
            if protocol not in _ANSWERED and _NO_NAME.search(str(error)):
                pauses = ()  # there is no network, or no such host
            if isinstance(error, _LASTING):
                _ANSWERED.add(protocol)
            if not _passes(error) or tries == len(pauses):
                raise _in_words(error, address, tries) from error
            time.sleep(pauses[tries] * random.uniform(0.8, 1.2))  # not all ranks at once
            tries += 1
        else:
            _ANSWERED.add(protocol)
            return found


def _is_of_the_other_side(error: Exception) -> bool:
    own = type(error).__module__.split(".")[0]
    return isinstance(error, OSError | EOFError | TimeoutError) or own in _LIBRARIES


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _names(error: BaseException) -> str:
    """Names of an error's classes and of its causes'."""
    return " ".join(kind.__name__ for each in _chain(error) for kind in type(each).__mro__)


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error is about."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(response, "status_code", None)
        for number in (status, getattr(each, "status", None), getattr(each, "code", None)):
            if isinstance(number, int) and 300 <= number < 600:
                return number
    return None


def _passes(error: Exception) -> bool:
    """Whether it may go better in a moment."""
    names = _names(error)
    if isinstance(error, _LASTING) or _NO_CREDENTIALS.search(names) or "OfflineMode" in names:
        return False
    status = _status(error)
    if status is not None:
        return status in _PASSING_STATUS
    number = getattr(error, "errno", None)
    return number in _PASSING_NUMBERS or _PASSING.search(names) is not None


def _in_words(error: Exception, address: str, tries: int) -> AddressError:
    names = _names(error)
    number = getattr(error, "errno", None) or errno.EIO
    if isinstance(error, FileNotFoundError):
        bucket = "bucket does not exist" in str(error).lower() or "NoSuchBucket" in str(error)
        return MissingError(errno.ENOENT, "no such bucket" if bucket else "no such file", address)
    if isinstance(error, FileExistsError):
        return ExistsError(errno.EEXIST, "exists already", address)
    if _NO_CREDENTIALS.search(names):
        return DeniedError(errno.EACCES, f"no credentials; {_credentials(address)}", address)
    if isinstance(error, PermissionError) or _status(error) in (401, 403):
        return DeniedError(errno.EACCES, f"access is denied; {_credentials(address)}", address)
    reason = _clean(str(error)) or type(error).__name__
    if _passes(error):
        reason = f"no answer in {tries + 1} {'tries' if tries else 'try'}: {reason}"
    return AddressError(number, reason, address)


def _credentials(address: str) -> str:
    names = {
        "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        "gs": "set GOOGLE_APPLICATION_CREDENTIALS",
        "hf": "set HF_TOKEN, or check the dataset's name",
    }
    kind = EXTRAS.get(protocol_of(address), protocol_of(address))
    return f"{names.get(kind, 'give them by the environment')} (docs/storage.md)"


def _clean(reason: str) -> str:
    """The first line of a reason, short, without what may hold a secret."""
    line = next(filter(None, map(str.strip, reason.splitlines())), "")
    line = re.sub(r"^\[Errno \d+\] ", "", line)
    line = re.sub(r"(://)[^/@\s]*@", r"\1", re.sub(r"\?[^\s'\")]*", "", line))
    return line if len(line) <= 200 else f"{line[:200]} ..."


def parallel() -> int:
    """How many requests are under way at once where many are made."""
    return int(os.environ.get("WHOLEWORD_REQUESTS", "16"))
