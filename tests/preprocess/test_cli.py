import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.build_command import _model_argument
from preprocess.cli import _parse_size
from preprocess.encode.encoders import make_encoder
from preprocess.errors import WholewordError
from preprocess.write.manifest import Manifest, read_manifest
from tests.preprocess import support
from tests.preprocess.support import invoke, run_cli

Built = tuple[Path, Manifest]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("天下大势，分久必合，合久必分。\n" * 30)
    return path


def build_arguments(output: Path, *inputs: Path) -> list[str]:
    """The command line of `support.options`."""
    named = [argument for path in inputs for argument in ("--input", str(path))]
    changes = ["--max-length", "64", "--validation-fraction", "0.2", "--split-size", "8KiB"]
    return ["build-shards", *named, "--output", str(output), *changes, "--workers", "1"]


# --- as a user types it


def test_the_contract_command_with_no_argument(tmp_path: Path) -> None:
    """Beside a link to the samples, so that the repository's own `shards` stay as they are."""
    (tmp_path / "samples").symlink_to(support.REPOSITORY / "samples")
    first = run_cli("build-shards", cwd=tmp_path)
    assert first.status == 0, first
    for word in (
        "documents",
        "rows",
        "tokens",
        "words",
        "share of unknown",
        "MB/s",
        "next:",
        "all equal to the reference",
    ):
        assert word in first.output
    manifest = read_manifest(tmp_path / "shards")
    assert manifest.parts["train"].rows > 1000
    second = run_cli("build-shards", cwd=tmp_path)
    assert second.status == 0
    assert "already built" in second.output


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_is_one_line_within_two_seconds(tmp_path: Path, workers: int) -> None:
    output = tmp_path / "out"
    command = ["build-shards", "--output", str(output), "--encoder", "reference"]
    command += ["--workers", str(workers), "--split-size", "16KiB"]
    with subprocess.Popen(
        [sys.executable, "-m", "preprocess", *command],
        cwd=support.REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not list(output.glob(".build/task-*.json")) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # a terminal tells all of them
        begin = time.monotonic()
        _, errors = process.communicate()
    assert time.monotonic() - begin < 2
    assert process.returncode == 130
    assert errors.startswith("error: interrupted; what is finished is kept")
    assert errors.count("\n") == 1
    assert not (output / "manifest.json").exists()


def test_bad_input_in_a_real_process(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    output = tmp_path / "out"
    done = run_cli("build-shards", "--input", tmp_path / "in.jsonl", "--output", output)
    done.assert_one_line(f"{tmp_path}/in.jsonl:2: not a JSON object", "mend or remove the line")
    assert not list(support.published(output))


# --- bad input, one line each


def test_unusable_inputs(tmp_path: Path, text: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "blank.txt").write_text(" \n\n")
    (tmp_path / "field.jsonl").write_text('{"body": "x"}\n')
    (tmp_path / "torn.txt.gz").write_bytes(b"\x1f\x8b\x08")
    for name, problem in (
        ("missing.txt", "no such file"),
        ("*.none", "matches no"),
        ("empty.txt", "the input is empty"),
        ("blank.txt", "no document with text"),
        ("field.jsonl", ":1: no field 'text' (it has body); name one with --text-field"),
        ("torn.txt.gz", "cannot be read"),
    ):
        output = tmp_path / "out" / name.replace("*", "star")
        for flag in ("--input", "--validation-input", "--test-input"):
            arguments = build_arguments(output / flag, *([] if flag == "--input" else [text]))
            done = invoke(*arguments, flag, tmp_path / name)
            if name == "blank.txt" and flag != "--input":
                assert done.status == 0  # an empty part is no error
                continue
            done.assert_one_line(f"{tmp_path / name}", problem)
            assert "manifest.json" not in set(support.published(output / flag))


def test_unusable_options(tmp_path: Path, text: Path) -> None:
    for arguments, problem in (
        (["--tokenizer", str(tmp_path / "none")], "none: not a tokenizer folder"),
        (["--tokenizer", "no-such/model"], "no-such/model: the tokenizer cannot be loaded"),
        (["--segmenter", "thulac"], "--segmenter thulac: unknown"),
        (["--user-dict", str(tmp_path / "none.txt")], "none.txt: no such file"),
        (["--segmenter", "none", "--no-hmm"], "belong to jieba"),
        (["--max-length", "2"], "--max-length 2"),
        (["--split-size", "lots"], "--split-size lots: not a size"),
        (["--split-size", "0"], "--split-size 0"),
        (["--encoder", "fastest"], "--encoder fastest"),
        (["--document-separator", "page"], "--document-separator page"),
        (["--validation-fraction", "2"], "--validation-fraction 2"),
        (["--workers", "0"], "--workers 0"),
        (["--output", str(text)], "in.txt: is a file"),
        (["--output", str(text / "under")], "under: cannot be written"),
        (["--output", str(tmp_path / ("x" * 300))], "cannot be written (File name too long)"),
        (["--output", str(tmp_path)], "holds something that is not a build"),
        (["--output", str(tmp_path), "--overwrite"], "--overwrite does not remove"),
        (["--output", "hf://datasets/a/b"], "--output hf://datasets/a/b: can be read but not"),
        (["--input", "odd://bucket/in"], "odd://bucket/in: odd:// is unknown"),
        (["--encoding", "gb13080"], "--encoding gb13080: not an encoding of text; did you mean gb"),
        (["--text-field", "a", "--text-field", "a"], "--text-field: name each field once"),
        (["--text-field", "a"], "--text-field: is of no use here, for plain text has no fields"),
        (["--field-separator", " "], "--field-separator: is of no use here, for no two fields"),
    ):
        done = invoke(*build_arguments(tmp_path / "out", text), *arguments)
        done.assert_one_line(problem)
        assert not (tmp_path / "out").exists()


def test_the_parsers_own_errors() -> None:
    for arguments, word in (
        (["build-shards", "--no-such-option"], "--no-such-option: unknown; see "),
        (["build-shards", "--max-length", "long"], "Invalid value"),
        (["build"], "No such command"),
        (["verify", "--data"], "requires an argument"),
    ):
        done = invoke(*arguments)
        assert done.status == 2
        assert word in done.errors
        assert done.errors.startswith("error: ") and done.errors.count("\n") == 1
        assert "Traceback" not in done.errors
    assert "Usage" in invoke().output + invoke().errors


def test_shards_of_other_options_are_refused_and_overwritten(tmp_path: Path, text: Path) -> None:
    arguments = build_arguments(tmp_path / "out", text)
    assert invoke(*arguments).status == 0
    assert "already built" in invoke(*arguments).output
    other = [*arguments, "--max-length", "32"]
    invoke(*other).assert_one_line(
        f"{tmp_path}/out: holds another build (--max-length 64 (now 32)); name another --output"
    )
    assert read_manifest(tmp_path / "out").max_length == 64
    assert invoke(*other, "--overwrite").status == 0
    assert read_manifest(tmp_path / "out").max_length == 32


def test_verify(built: Built, tmp_path: Path) -> None:
    shutil.copytree(built[0], tmp_path / "shards")
    assert "files match the manifest" in invoke("verify", "--data", tmp_path / "shards").output
    shard = next((tmp_path / "shards" / "train").glob("data-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    for arguments in ([], ["--reindex"]):
        done = invoke("verify", "--data", tmp_path / "shards", *arguments)
        done.assert_one_line(str(shard), "build the shards again")
    invoke("verify", "--data", tmp_path / "none").assert_one_line("holds no finished shards")


def test_describe_and_json(built: Built) -> None:
    folder, manifest = built
    assert f"{manifest.parts['train'].rows:,}" in invoke("describe", "--data", folder).output
    assert invoke("describe", folder).output == invoke("describe", "--data", folder).output
    invoke("describe", folder, "--data", "other").assert_one_line("name one folder")
    value = json.loads(invoke("describe", folder, "--json").output)
    assert value["parts"]["train"]["tokens"] == manifest.parts["train"].tokens
    assert invoke("describe", folder, "--dropped").output == f"{folder}: nothing was left out\n"


def test_samples_of_what_was_left_out(tmp_path: Path, text: Path) -> None:
    arguments = build_arguments(tmp_path / "out", text)
    assert invoke(*arguments, "--dedup", "documents", "--validation-fraction", "0").status == 0
    done = invoke("describe", tmp_path / "out", "--dropped")
    assert "documents duplicate" in done.output
    assert "天下大势" in done.output
    value = json.loads(invoke("describe", tmp_path / "out", "--json").output)
    assert value["counts"] == {"documents_duplicate": 29}
    assert [sample["place"] for sample in value["dropped"]] == [
        f"byte {46 * n}" for n in range(1, 6)
    ]


def test_a_sentence_is_previewed() -> None:
    done = invoke("preview", "--text", "天下大势，[MASK] 3.14", "--json")
    cut = json.loads(done.output)
    assert (cut["segmenter"], cut["unknown"]) == ("jieba", "[UNK]")
    words = ["天下", "大势", "，", "[", "MASK", "]", "3.14"]
    assert [word["text"] for word in cut["words"]] == words
    assert cut["words"][0]["tokens"] == ["天", "下"]
    shown = invoke("preview", "--text", "天下大势", "--segmenter", "none").output
    assert "words: pre-tokens; tokens: WordPiece" in shown
    assert "4 words, 4 tokens, 0 unknown" in shown
    invoke("preview", "--text", " ").assert_one_line("--text: holds no text")


def test_json_output_is_nothing_but_json(tmp_path: Path, text: Path) -> None:
    done = invoke(*build_arguments(tmp_path / "out", text), "--json")
    assert json.loads(done.output)["counts"] == {}
    assert [sign["sign"] for sign in json.loads(done.output)["warnings"]] == [
        "the sample's tokenizer",
        "many duplicates",
    ]
    assert done.errors == ""


def test_text_in_another_encoding_is_recognized_or_warned_of(tmp_path: Path) -> None:
    text = "天下大势，分久必合，合久必分。\n" * 50
    (tmp_path / "gbk.txt").write_text(text, encoding="gb18030")
    (tmp_path / "torn.txt").write_bytes(text.encode() + b"one \xff line\n")
    arguments = build_arguments(tmp_path / "out", tmp_path)
    done = invoke(*arguments)
    assert done.status == 0
    assert f"read as gb18030: {tmp_path}/gbk.txt\n" in done.output
    torn = f"{tmp_path}/torn.txt: 2% of its documents are not UTF-8"
    assert f"another encoding: {torn}" in done.output
    assert any(torn in sign.text for sign in read_manifest(tmp_path / "out").warnings)
    assert read_manifest(tmp_path / "out").counts["bytes_replaced"] == 1
    done = invoke(*arguments, "--encoding", "utf-8", "--overwrite")
    assert done.status == 0
    warned = [line for line in done.output.splitlines() if line.startswith("another encoding")]
    assert f"{tmp_path}/gbk.txt: 100% of its documents are not UTF-8" in warned[0]
    assert "--overwrite and --encoding NAME" in warned[0]
    assert len(warned) == 2


def test_what_a_folder_holds_is_said_and_fields_are_joined(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rows = [{"title": f"第{i}回", "meta": {"body": "天下大势，分久必合。"}} for i in range(40)]
    lines = "".join(json.dumps(row) + "\n" for row in [*rows, {"title": 5}])
    (folder / "A.JSONL").write_text(lines)
    (folder / ".hidden.txt").write_text("x\n")
    arguments = build_arguments(tmp_path / "out", folder)
    arguments += ["--text-field", "title", "--text-field", "meta.body", "--field-separator", r"\n"]
    done = invoke(*arguments)
    assert done.status == 0, done
    assert f"left out: {folder}/.hidden.txt (hidden); to read one" in done.output
    assert "words: jieba (" in done.output and "of a sample of the text is Han)" in done.output
    manifest = read_manifest(tmp_path / "out")
    assert manifest.counts["not_text"] == 1
    assert manifest.options["text_fields"] == ["title", "meta.body"]
    assert sum(part.documents for part in manifest.parts.values()) == 40
    done = invoke(*arguments, "--strict", "--overwrite")
    done.assert_one_line(f"{folder}/A.JSONL:41: the field 'title' and 'meta.body' holds a number")


def test_the_next_command_names_the_model_of_the_tokenizer(tmp_path: Path) -> None:
    for name, expected in (
        ("bert-base-chinese", "--model bert-base-chinese "),
        (str(tmp_path / "model"), f"--model {tmp_path}/model "),
        (support.TOKENIZER, ""),
    ):
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "config.json").write_text("{}")
        assert _model_argument(name) == expected


def test_the_next_command_is_given_whole(tmp_path: Path, text: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(support.TOKENIZER, model)
    (model / "config.json").write_text("{}")
    words = ["build-shards", "--input", str(text), "--tokenizer", str(model), "--workers", "1"]
    done = invoke(*words, "--output", str(tmp_path / "out"))
    said = " ".join(done.output.split())
    command = f"--data {tmp_path}/out --model {model} --deepspeed ds_configs/zero2.json"
    assert f"next: deepspeed train/pretrain.py {command}" in said


def test_train_vocab(tmp_path: Path, text: Path) -> None:
    folder = tmp_path / "tokenizer"
    arguments = ["train-vocab", "--input", str(text), "--output", str(folder), "--vocab-size", "40"]
    done = invoke(*arguments)
    assert done.status == 0, done
    few = f"{folder}: 15 entries of 40: the text has no more pieces that occur 2 times or more\n"
    again = f"build-shards --input {text} --tokenizer {folder}\n"
    assert done.output == f"{few}next: python -m preprocess {again}"
    invoke(*arguments).assert_one_line(f"{folder}: already exists")
    built = invoke(*build_arguments(tmp_path / "out", text), "--tokenizer", folder)
    assert built.status == 0, built


def test_a_defect_is_one_line_with_a_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def surprise(options: object) -> None:
        raise ZeroDivisionError("a surprise")

    monkeypatch.setattr("preprocess.build_command.plan_build", surprise)
    done = invoke("build-shards")
    assert done.status == 70
    assert done.errors.count("\n") == 1
    log = Path(done.errors.split()[-1])
    assert "ZeroDivisionError: a surprise" in log.read_text()


@pytest.mark.parametrize(
    ("text", "size"),
    [("auto", None), ("5", 5), ("64MiB", 64 << 20), ("2kB", 2000), ("1g", 1 << 30), ("7B", 7)],
)
def test_sizes(text: str, size: int | None) -> None:
    assert _parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-5", "1.5MB", "5 MB", "5XB", "9" * 5000, "²", "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(WholewordError, match="not a size"):
        _parse_size(text)


# --- any command line at all

_word = st.one_of(
    st.text(max_size=8),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.sampled_from(["", ".", "/", "~", "auto", "jieba", "none", "x" * 300, "*", "a:b", "\udcff"]),
)
_SHARED = ["--input", "--text-field", "--field-separator", "--encoding"]
_VALUES = {
    "build-shards": [
        *("--tokenizer", "--segmenter", "--user-dict", "--max-length", "--document-separator"),
        *("--validation-fraction", "--validation-input", "--test-input", "--split-size"),
        *("--encoder", "--audit", "--workers", "--output", *_SHARED),
        *("--dedup", "--near-dedup", "--min-chars", "--max-chars", "--filter"),
    ],
    "train-vocab": ["--vocab-size", "--min-frequency", "--output", *_SHARED],
    "verify": ["--data"],
    "describe": ["--data"],
    "preview": ["--text", "--tokenizer", "--segmenter", "--user-dict"],
}
_FLAGS = {
    "build-shards": ["--pairs", "--no-hmm", "--overwrite", "--json", "--append", "--strict"],
    "train-vocab": ["--no-lowercase"],
    "verify": ["--reindex"],
    "describe": ["--json", "--dropped"],
    "preview": ["--json", "--no-hmm"],
}


@st.composite
def _command_lines(draw: st.DrawFn) -> list[str]:
    command = draw(
        st.sampled_from(["build-shards"] * 4 + ["train-vocab", "verify", "describe", "preview"])
    )
    words = [command]
    for option in draw(st.lists(st.sampled_from(_VALUES[command]), max_size=2)):
        value = draw(_word)
        many = option == "--workers" and value.lstrip("-").isdigit()  # processes take seconds
        words += [option, value[:1] if many and value[:1] in "01" else value if not many else "1"]
    words += draw(st.lists(st.sampled_from(_FLAGS[command]), max_size=1))
    return words + draw(st.sampled_from([[]] * 9 + [["-h"], ["more"]]))


@settings(max_examples=150)
@given(_command_lines())
def test_any_command_line_ends_in_success_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "in.txt").write_text("天下大势，分久必合。\nplain text\n" * 5)
    command, *options = words
    defaults = {
        "build-shards": ["--tokenizer", support.TOKENIZER, "--workers", "1"],
        "train-vocab": ["--vocab-size", "40"],
    }.get(command, [])
    if defaults:
        defaults += ["--input", "in.txt", "--output", "out"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # whatever a name means, it means it here
        patch.setattr("preprocess.run.tasks.make_encoder", _cached_encoder)
        patch.setattr("preprocess.encode.audit.make_encoder", _cached_encoder)
        done = invoke(command, *defaults, *options)
    assert done.status in (0, 1, 2), done
    assert "Traceback" not in done.errors
    if done.status == 1:
        done.assert_one_line()


_cached_encoder = functools.cache(make_encoder)
