"""Runs the trainer on shards in a folder, and on the same ones at a real S3 server.

    python -m tests.train.storage_runs FOLDER

Prints {name: [exit status, standard output, standard error]} as its last line.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from tests import object_store
from tests.train import runs
from train import pretrain

COMMON = (*runs.BATCH, "--max-steps", "3", "--logging-steps", "1", "--precision", "fp32")
COMMON = (*runs.MODEL, *COMMON, "--save-steps", "0", "--eval-steps", "2", "--report-to", "none")


def train(folder: Path, name: str, data: str) -> tuple[int, str, str]:
    """One run into the folder `name`, as the only rank."""
    out, err = io.StringIO(), io.StringIO()
    cache = ("--data-cache", str(folder / "cache"), "--data-cache-size", "50MB")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        words = ["--data", data, "--output-dir", str(folder / name), *COMMON, *cache]
        status = pretrain.main(words)
    return status, out.getvalue(), err.getvalue()


def main(folder: Path) -> None:
    """All runs."""
    shards = runs.make_data(folder / "shards")
    with object_store.s3_server(), runs.many_runs():
        object_store.upload(shards, f"s3://{object_store.BUCKET}/shards")
        places = {
            "near": str(shards),
            "far": f"s3://{object_store.BUCKET}/shards",
            "nothing": f"s3://{object_store.BUCKET}/nothing",
            "no bucket": "s3://no-such-bucket/shards",
            "secret": f"s3://me:{object_store.SECRET}@bucket/shards",
        }
        said = {name: train(folder, name, place) for name, place in places.items()}
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
