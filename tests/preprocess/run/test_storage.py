"""Builds whose output is at an address."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from preprocess.errors import WholewordError
from preprocess.places import place
from preprocess.run import lease
from preprocess.run.build import run_build
from preprocess.run.plan import plan_build
from preprocess.write.manifest import Manifest, read_manifest
from tests import object_store
from tests.preprocess import support
from tests.preprocess.support import invoke

Built = tuple[Path, Manifest]


def build(output: str, *inputs: object, **changes: Any) -> Manifest:
    return support.build(output, *inputs, **changes)  # type: ignore[arg-type]


def same_as(folder: Path, address: str, **paths: str) -> bool:
    """Whether both hold the same bytes; the manifests may name other inputs."""
    return object_store.local_content(folder) == object_store.content(address)


def part_way(output: str, corpus: Path, events: int) -> None:
    """Begin a build and stop it after some events, as an exception would."""
    running = run_build(plan_build(support.options(output, corpus)))  # type: ignore[arg-type]
    for _ in range(events):
        assert not isinstance(next(running), Manifest)
    running.close()


@pytest.mark.parametrize("events", [3, 6])
def test_a_build_to_s3_that_was_stopped_continues_to_the_same_bytes(
    built: Built, corpus: Path, s3: str, events: int
) -> None:
    output = f"{s3}/stopped-{events}"
    part_way(output, corpus, events)
    done = len(list((place(output) / ".build").glob("task-*.json")))
    assert done >= 1 and not (place(output) / "manifest.json").exists()
    build(output, corpus)
    assert same_as(built[0], output)
    assert sorted(path.name for path in (place(output) / ".build").iterdir()) == [
        "plan.json",
        "tail-1.json",
    ]
    said = invoke(*_command(output, corpus))
    assert said.status == 0 and "already built" in said.output, said
    assert invoke("verify", output).status == 0
    assert "words a document" in invoke("describe", output).output


def _command(output: str, *inputs: object) -> list[str]:
    named = [word for path in inputs for word in ("--input", str(path))]
    sizes = ["--max-length", "64", "--validation-fraction", "0.2", "--split-size", "8KiB"]
    tokenizer = ["--tokenizer", str(support.TOKENIZER)]
    return ["build-shards", *named, "--output", output, *tokenizer, *sizes, "--workers", "1"]


def test_input_from_s3_and_two_workers(built: Built, corpus: Path, s3: str) -> None:
    object_store.upload(corpus, f"{s3}/corpus")
    manifest = build(f"{s3}/out", f"{s3}/corpus", workers=2)
    found, wanted = object_store.content(f"{s3}/out"), object_store.local_content(built[0])
    differing = {name for name in wanted if wanted[name] != found[name]}
    assert found.keys() == wanted.keys() and differing == {"manifest.json"}
    assert [entry.path for entry in manifest.inputs] == [
        f"{s3}/corpus/en.jsonl",
        f"{s3}/corpus/zh.txt",
    ]
    assert object_store.SECRET not in json.dumps(manifest.model_dump(mode="json"))


def test_another_build_is_refused_and_overwritten_when_asked(corpus: Path) -> None:
    output = "memory://storage/refused"
    build(output, corpus / "en.jsonl")
    said = invoke(*_command(output, corpus / "zh.txt"))
    said.assert_one_line(output, "holds another build")
    assert invoke(*_command(output, corpus / "zh.txt"), "--overwrite").status == 0
    inputs = read_manifest(place(output)).inputs
    assert [Path(entry.path).name for entry in inputs] == ["zh.txt"]
    (place(output) / "mine.txt").write_bytes(b"x")
    refused = invoke(*_command(output, corpus / "en.jsonl"), "--overwrite")
    refused.assert_one_line("mine.txt", "does not remove")


def test_append_and_dedup(corpus: Path, tmp_path: Path) -> None:
    address = "memory://storage/grown"
    for output in (str(tmp_path / "out"), address):
        build(output, corpus / "zh.txt", dedup="documents")
        build(output, corpus / "en.jsonl", dedup="documents", append=True)
    assert same_as(tmp_path / "out", address)
    assert len(read_manifest(place(address)).generations) == 2


# --- two builds


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.4)


OUTPUT = place("memory://storage/lease")
LEASE = OUTPUT / ".build" / "lock"


def test_a_second_build_is_refused_while_the_first_renews_its_lease(quick: None) -> None:
    with lease.lease(OUTPUT, LEASE) as check:
        check()
        with (
            pytest.raises(WholewordError, match="another build is writing here"),
            lease.lease(OUTPUT, LEASE),
        ):
            pass
        check()
    assert not LEASE.exists()


@pytest.mark.parametrize("machine", ["elsewhere", None])
def test_a_dead_build_is_taken_over(quick: None, machine: str | None) -> None:
    owner = {"machine": machine or lease._machine(), "process": 2**22 + 1}
    LEASE.write_bytes(json.dumps({"token": "old", "count": 3, **owner}).encode())
    with lease.lease(OUTPUT, LEASE) as check:
        check()


def test_a_build_whose_lease_was_taken_over_ends(quick: None) -> None:
    with lease.lease(OUTPUT, LEASE) as check:
        LEASE.write_bytes(json.dumps({"token": "other"}).encode())
        with pytest.raises(WholewordError, match="another build"):
            for _ in range(200):
                check()
                lease.time.sleep(0.02)
    assert json.loads(LEASE.read_bytes()) == {"token": "other"}
    LEASE.unlink()


# --- what fails


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--output", "s3://no-such-bucket/x"], "no such bucket"),
        (["--input", "s3://no-such-bucket/x"], "there is no such bucket"),
        (["--input", "s3://bucket/no-such-key.txt"], "there is nothing of that name"),
        (["--output", "s3://me:hush@bucket/x"], "stands in the address"),
        (["--output", "hf://datasets/o/n"], "can be read but not written"),
    ],
)
def test_what_is_missing_is_one_line(s3: str, words: list[str], said: str) -> None:
    found = invoke("build-shards", "--workers", "1", *words)
    found.assert_one_line(said)
    assert "hush" not in found.errors and object_store.SECRET not in found.errors


def test_verify_names_a_shard_that_is_missing(s3: str, built: Built) -> None:
    object_store.upload(built[0], f"{s3}/hole")
    shard = place(f"{s3}/hole") / built[1].parts["train"].shards[0].file
    shard.unlink()
    invoke("verify", f"{s3}/hole").assert_one_line(str(shard), "it is missing")


def test_without_credentials_it_is_one_line(s3: str) -> None:
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("AWS_ACCESS")
    }
    environment |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/nowhere"}
    environment |= {"AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}
    environment.pop("AWS_SECRET_ACCESS_KEY")
    found = support.run_cli("describe", f"{s3}/out", environment=environment)
    found.assert_one_line("no credentials", "AWS_ACCESS_KEY_ID", "docs/storage.md")
