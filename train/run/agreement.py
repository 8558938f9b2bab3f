"""What all ranks of a run must have alike, compared before anything is computed.

Ranks that read other rows, or step at another rate, come to the end without a word and with a model
of neither. So the first thing that they send each other is what they are going to do.
"""

import dataclasses
import platform
import socket
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xxhash

from preprocess.errors import WholewordError
from train.data.shard_dataset import ShardDataset
from train.engine.config import EnginePlan
from train.engine.process_group import Ranks
from train.options import Options
from train.run.folder import differences

_PLACES = (
    *("local_rank", "output_dir", "resume_from_checkpoint", "deepspeed", "data"),
    *("data_cache", "data_cache_size"),
)
"""Options that machines may have otherwise: places, where what is found there is compared."""
_LIBRARIES = ("torch", "deepspeed", "transformers", "tokenizers", "numpy", "numba")
_ROOT = Path(__file__).resolve().parents[2]


def check_same_command(options: Options, plan: EnginePlan, ranks: Ranks) -> None:
    """Compare code, libraries and options of all ranks; every rank calls this.

    Raises:
        WholewordError: some rank has others than rank 0; every rank raises the same.
    """
    _compare(ranks, "versions", _versions(), "install the same on every machine")
    values: dict[str, Any] = {}
    for group in (options.model, options.data, options.optimization, options.run):
        values |= dataclasses.asdict(group)
    for name in _PLACES:
        del values[name]
    values["validation_data"] = sorted(options.data.validation_folders)
    _compare(ranks, "options", values, "give every machine the same command")
    _compare(ranks, "values in its --deepspeed file", plan.config, "give every machine the same")


def check_same_data(datasets: Iterable[ShardDataset], ranks: Ranks) -> None:
    """Compare the manifests of the shards of all ranks; every rank calls this.

    Raises:
        WholewordError: some rank has others than rank 0; every rank raises the same.
    """
    manifests = {}
    for number, dataset in enumerate(datasets):
        text = dataset.manifest.model_dump_json().encode()
        manifests[f"{number}"] = (str(dataset.folder), xxhash.xxh3_128_hexdigest(text))
    found = ranks.gather((socket.gethostname(), manifests))
    for rank, (host, theirs) in enumerate(found):
        for number, (folder, digest) in theirs.items():
            if digest != found[0][1][number][1]:
                raise WholewordError(
                    f"{folder}: rank {rank} on {host} sees other shards there than rank 0 on "
                    f"{found[0][0]} (another manifest); copy the same to every machine, or name a "
                    "folder on a disk that all share"
                )


def _compare(ranks: Ranks, what: str, values: dict[str, Any], remedy: str) -> None:
    """Raise on every rank where any has other values than rank 0."""
    found = ranks.gather((socket.gethostname(), values))
    for rank, (host, theirs) in enumerate(found):
        if changes := differences(found[0][1], theirs) or differences(theirs, found[0][1]):
            raise WholewordError(
                f"rank {rank} on {host} has other {what} than rank 0 on {found[0][0]} "
                f"({'; '.join(changes)}); {remedy}"
            )


@cache
def _versions() -> dict[str, str]:
    """Of this code, by the content of its files, and of what it computes with."""
    digest = xxhash.xxh3_64()
    for package in ("preprocess", "train"):
        for source in sorted((_ROOT / package).rglob("*.py")):
            digest.update(source.relative_to(_ROOT).as_posix().encode() + source.read_bytes())
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"wholeword": digest.hexdigest(), "python": platform.python_version()} | libraries
