import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.errors import WholewordError
from preprocess.write.manifest import Manifest, read_manifest, write_manifest

Built = tuple[Path, Manifest]


@pytest.fixture(scope="module")
def value(built: Built) -> dict[str, Any]:
    """Without its checksum, which would refuse every change before it is looked at."""
    value = json.loads((built[0] / "manifest.json").read_text())
    del value["xxh3_128"]
    return value


def read(folder: Path, value: object) -> Manifest:
    text = value if isinstance(value, str) else json.dumps(value)
    (folder / "manifest.json").write_text(text)
    return read_manifest(folder)


def test_what_is_written_is_read(built: Built, tmp_path: Path) -> None:
    folder, manifest = built
    assert read_manifest(folder) == manifest
    write_manifest(tmp_path, manifest)
    assert (tmp_path / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()


def test_it_says_what_was_built(built: Built, corpus: Path) -> None:
    _, manifest = built
    assert [(Path(i.path).name, i.bytes, i.part) for i in manifest.inputs] == [
        (name, (corpus / name).stat().st_size, "train") for name in ("en.jsonl", "zh.txt")
    ]
    assert manifest.segmenter.name == "jieba"
    assert len(manifest.segmenter.dictionary_sha256) == 64
    assert manifest.max_row_tokens == 62
    assert manifest.id_dtype == np.uint16
    for part in manifest.parts.values():
        assert sum(part.length_histogram.values()) == part.rows
        for figure in ("rows", "tokens", "words"):
            assert getattr(part, figure) == sum(getattr(shard, figure) for shard in part.shards)
    assert not {"time", "date", "host"} & set(manifest.options)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(WholewordError, match="holds no finished shards"):
        read_manifest(tmp_path / "nowhere")
    for text, problem in (
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "the file: Input should be"),
        ("{}", "format None, but this version reads 1"),
        ('{"format": 2}', "format 2"),
        ('{"format": 1}', "Field required"),
    ):
        with pytest.raises(WholewordError, match=problem) as error:
            read(tmp_path, text)
        assert str(error.value).startswith(f"{tmp_path}/manifest.json: ")
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(WholewordError, match="cannot be read"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(WholewordError, match="cannot be read"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../train/data",
        "train/../../data",
        "train/..",
        "train",
        "",
        ".",
        "train/a/b",
        "//host/data",
        "train/a\0b",
    ],
)
def test_paths_cannot_leave_the_folder(tmp_path: Path, value: dict[str, Any], name: str) -> None:
    changed = copy.deepcopy(value)
    changed["parts"]["train"]["shards"][0]["file"] = name
    with pytest.raises(WholewordError, match=r"parts.train.shards.0.file: .*must name a file"):
        read(tmp_path, changed)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.data())
def test_any_change_is_read_or_refused_in_one_line(
    value: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    changed = copy.deepcopy(value)
    place: Any = changed
    while True:  # walk to a random place, then replace, remove or add there
        key = data.draw(
            st.sampled_from(list(place if isinstance(place, dict) else range(len(place))))
        )
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        place = inner
    action = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if action == "replace":
        place[key] = data.draw(_json)
    elif action == "remove":
        del place[key]
    elif isinstance(place, dict):
        place[data.draw(st.text(max_size=5))] = data.draw(_json)
    folder = tmp_path_factory.mktemp("m")
    try:
        assert isinstance(read(folder, changed), Manifest)
    except WholewordError as error:
        assert str(error).startswith(f"{folder}/manifest.json: ")


@given(st.binary(max_size=40), st.integers(0, 4000))
def test_damaged_bytes_are_read_or_refused(
    built: Built, tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int
) -> None:
    data = (built[0] / "manifest.json").read_bytes()
    folder = tmp_path_factory.mktemp("m")
    damaged = data[:place] + noise + data[place + len(noise) :]
    (folder / "manifest.json").write_bytes(damaged)
    try:
        assert read_manifest(folder) == built[1]
    except WholewordError as error:
        assert str(error).startswith(f"{folder}/manifest.json: ")
