"""Training from a real S3 server: the same losses and weights as from the folder."""

import json

import pytest

from tests import object_store
from tests.train import runs


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of all runs, and of each what it left: status, output, errors."""
    pytest.importorskip("moto")
    folder = tmp_path_factory.mktemp("storage")
    return folder, json.loads(runs.run_module("tests.train.storage_runs", str(folder)))


def test_losses_and_weights_are_those_from_the_folder(done):
    folder, said = done
    assert said["near"][0] == said["far"][0] == 0, said
    assert len(runs.losses(folder / "far")) == 3
    assert runs.losses(folder / "far") == runs.losses(folder / "near")
    near, far = (runs.records(folder / name, "validation") for name in ("near", "far"))
    assert [r["loss"] for r in near] == [r["loss"] for r in far] and near
    weights = [(folder / n / "final" / "model.safetensors").read_bytes() for n in ("near", "far")]
    assert weights[0] == weights[1]
    assert (folder / "far" / "final" / "vocab.txt").exists()
    assert list((folder / "cache" / "batches").glob("*/*"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "s3://bucket/nothing: holds no finished shards"),
        ("no bucket", "s3://no-such-bucket/shards"),
        ("secret", "--data s3://bucket/shards: a password, key or signature stands in the address"),
    ],
)
def test_what_is_missing_is_one_line(done, name, words):
    status, output, errors = done[1][name]
    assert status == 1 and words in errors and errors.count("\n") == 1, (output, errors)


def test_no_secret_is_written_down(done):
    folder, said = done
    kinds = (".json", ".jsonl", ".log", ".txt")
    files = [path for path in folder.rglob("*") if path.suffix in kinds]
    assert object_store.SECRET not in json.dumps(said)
    assert all(object_store.SECRET not in path.read_text() for path in files)
