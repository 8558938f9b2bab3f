"""A shard that is cut short under its map: one line, not a signal."""

import subprocess
import sys
import time

import pytest

from tests.train import runs
from tests.train.shard_factory import ShardSpec, make_shards

READ = """
import os, sys
from pathlib import Path
from train.data.loader import Loader
from train.data.shard_dataset import ShardDataset
from train.data.windows import Cursor, LoaderOptions

folder = Path(sys.argv[1])
dataset = ShardDataset(folder, "train", "full")  # everything is mapped, and checked
shard = folder / dataset.manifest.parts["train"].shards[0].file
options = LoaderOptions(micro_batch_size=4, max_length=64, prefetch=int(sys.argv[2]))
steps = Loader(dataset, options).steps(Cursor(), 0, 10**6)
next(steps)
os.truncate(shard, 100)
for step in steps:
    pass
"""


@pytest.mark.parametrize("prefetch", [0, 2])
def test_training_ends_with_one_line(tmp_path, prefetch):
    """In the training thread, and in the one that holds no interpreter lock."""
    make_shards(tmp_path, ShardSpec(rows=(9000,), max_length=64))
    begin = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path), str(prefetch)],
        cwd=runs.ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 1, (result.returncode, result.stderr)
    assert result.stderr.startswith(f"error: {tmp_path}: a file became shorter while it was read")
    assert result.stderr.count("\n") == 1
    assert time.monotonic() - begin < 60


VERIFY = """
import os, sys
from pathlib import Path
from preprocess import verify
mapped = verify._map
def cut(path, shard):
    data = mapped(path, shard)
    os.truncate(path, 100)
    return data
verify._map = cut
list(verify.verify_dataset(Path(sys.argv[1])))
"""


def test_verify_ends_with_one_line(tmp_path):
    make_shards(tmp_path, ShardSpec(rows=(9000,), max_length=64))
    command = [sys.executable, "-c", VERIFY, str(tmp_path)]
    result = subprocess.run(command, cwd=runs.ROOT, capture_output=True, text=True, timeout=100)
    assert result.returncode == 1, (result.returncode, result.stderr)
    assert result.stderr.startswith(f"error: {tmp_path}: a file became shorter while it was read")
