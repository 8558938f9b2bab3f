"""Manifests whose checksum is right and which make no sense: one line when they are opened."""

import copy
import json
from pathlib import Path

import pytest

from preprocess.errors import WholewordError
from preprocess.write.manifest import FILE, read_manifest
from preprocess.write.shards import seal

WRONG = {
    "mask id": (("tokenizer", "mask_id"), 10**30),
    "pad id": (("tokenizer", "pad_id"), 60_000),
    "unknown id": (("tokenizer", "unk_id"), 10**6),
    "special id": (("tokenizer", "special_ids"), [0, 1, 10**9]),
    "prefix": (("tokenizer", "prefix"), [2**31]),
    "negative id": (("tokenizer", "mask_id"), -1),
    "vocabulary": (("tokenizer", "vocab_size"), 3),
    "rows": (("parts", "train", "rows"), 7),
    "words": (("parts", "train", "words"), 10**9),
    "length": (("max_length",), 2),
    "shards": (("parts", "train", "shards"), []),
}


def change(folder: Path, manifest: dict, path: tuple[str, ...], value: object) -> None:
    """Write a manifest with another value, its checksum made right."""
    changed = copy.deepcopy(manifest)
    *way, last = path
    here = changed
    for name in way:
        here = here[name]
    here[last] = value
    (folder / FILE).write_text(json.dumps(seal(changed)), encoding="utf-8")


@pytest.fixture
def manifest(built) -> dict:
    value = json.loads((built[0] / FILE).read_text(encoding="utf-8"))
    value.pop("xxh3_128")
    return value


@pytest.mark.parametrize("case", WRONG)
def test_values_out_of_range_are_refused(tmp_path, manifest, case):
    change(tmp_path, manifest, *WRONG[case])
    with pytest.raises(
        WholewordError, match=r"manifest\.json: .*; build the shards again"
    ) as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


def test_mask_and_padding_are_two_tokens(tmp_path, manifest):
    change(tmp_path, manifest, ("tokenizer", "pad_id"), manifest["tokenizer"]["mask_id"])
    with pytest.raises(WholewordError, match="the mask and the padding token are the same"):
        read_manifest(tmp_path)


def test_a_shard_is_listed_once_and_in_its_part(tmp_path, manifest):
    shards = manifest["parts"]["train"]["shards"]
    twice = [shards[0], {**shards[1], "file": shards[0]["file"]}, *shards[2:]]
    change(tmp_path, manifest, ("parts", "train", "shards"), twice)
    with pytest.raises(WholewordError, match="it lists a shard twice"):
        read_manifest(tmp_path)
    foreign = [{**shards[0], "file": "validation/data.arrow"}, *shards[1:]]
    change(tmp_path, manifest, ("parts", "train", "shards"), foreign)
    with pytest.raises(WholewordError, match=r"validation/data\.arrow is listed in the train part"):
        read_manifest(tmp_path)


def test_the_manifest_itself_is_read(tmp_path, manifest):
    (tmp_path / FILE).write_text(json.dumps(seal(manifest)), encoding="utf-8")
    assert read_manifest(tmp_path).parts["train"].rows == manifest["parts"]["train"]["rows"]
