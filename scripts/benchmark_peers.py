"""From lines of Chinese text to what a trainer reads, beside other toolkits by their commands.

    python scripts/benchmark_peers.py --text FILE --vocab FILE [--uer FOLDER] [--paddlenlp FOLDER]
        [--run-mlm FILE] [--rounds 3] [--json FILE]

`--uer` is a checkout of UER-py or TencentPretrain, `--paddlenlp` one of PaddleNLP, `--run-mlm` the
example script of transformers; what is not given is left out. A peer runs with the Python of
`.venv` in its folder if there is one, else with this one. Its options are in the functions below,
and docs/peers.md says why they are these.

Every program gets one process and one thread, and is timed by the processor time of all that it
starts, so that other programs hardly matter. A round runs all of them, one after the other, on a
few lines (start-up) and on the whole text; a rate is of the text without start-up, a ratio is of
two rates of one round, and both are medians over the rounds. Wholeword gets the text repeated to
`--megabytes`, since it would be done with a few megabytes before the clock could tell.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from preprocess.errors import WholewordError  # noqa: E402
from scripts.benchmark_report import Result, show, write_json  # noqa: E402

FEW_LINES = 20
LENGTH = "512"
OURS = "wholeword"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
# PaddleNLP makes a segmenter of LAC even where --cn_seg_func names jieba, and never calls it then.
LAC = "class LAC:\n    def __init__(self, mode):\n        pass\n"


@dataclass(frozen=True)
class Text:
    """The same documents in each form that a program reads."""

    lines: Path
    """A document a line, `.txt`."""
    blank_lines: Path
    """The same with a blank line after each."""
    bytes: int
    """Of `lines`."""


@dataclass(frozen=True)
class Peer:
    """A program that makes training data."""

    name: str
    words: str
    """Who decides what is masked together."""
    commands: Callable[[Text, Path, Path], list[list[str]]]
    """(text, tokenizer folder, empty output folder) to the commands to run, in order."""
    folder: Path | None = None
    """Where they have to run, if not in the output folder."""


@dataclass(frozen=True)
class Timing:
    """One round of one program, in seconds of processor time."""

    start_up: float
    """On a few lines."""
    whole: float
    """On the whole text."""
    bytes: int
    """By which the whole text is longer than the few lines."""

    @property
    def rate(self) -> float:
        """Bytes a second, start-up left out."""
        return self.bytes / max(self.whole - self.start_up, 1e-3)


def wholeword() -> Peer:
    """This repository's own build, all defaults but the worker."""

    def commands(text: Text, tokenizer: Path, output: Path) -> list[list[str]]:
        command = [sys.executable, "-m", "preprocess", "build-shards", "--workers", "1"]
        command += ["--input", str(text.lines), "--tokenizer", str(tokenizer)]
        return [[*command, "--segmenter", "jieba", "--output", str(output / "shards")]]

    return Peer(OURS, "jieba", commands)


def uer(folder: Path, dynamic: bool) -> Peer:
    """UER-py's or TencentPretrain's `preprocess.py`, with masks made there or left to training.

    One copy of the text: without `--dynamic_masking` its default is five. It reads and writes files
    beside its own.
    """

    def commands(text: Text, tokenizer: Path, output: Path) -> list[list[str]]:
        command = [python_of(folder), str(folder / "preprocess.py"), "--data_processor", "mlm"]
        command += ["--corpus_path", str(text.lines), "--dataset_path", str(output / "dataset.pt")]
        command += ["--vocab_path", str(tokenizer / "vocab.txt"), "--seq_length", LENGTH]
        command += ["--whole_word_masking", "--dup_factor", "1"]
        return [[*command, *(["--dynamic_masking"] if dynamic else [])]]

    name = "TencentPretrain" if (folder / "tencentpretrain").exists() else "UER-py"
    if dynamic:
        return Peer(f"{name}, dynamic masking", "none yet", commands, folder)
    return Peer(name, "jieba", commands, folder)


def paddlenlp(folder: Path) -> Peer:
    """PaddleNLP's two steps for ERNIE: text to JSON lines, JSON lines to ids."""
    tools = folder / "llm" / "tools" / "preprocess"

    def commands(text: Text, tokenizer: Path, output: Path) -> list[list[str]]:
        python = python_of(folder)
        ids = [python, str(tools / "create_pretraining_data.py"), "--workers", "1"]
        ids += ["--model_name_or_path", str(tokenizer), "--input_path", str(output / "text.jsonl")]
        ids += ["--output_prefix", str(output / "text"), "--data_format", "JSON"]
        ids += ["--split_sentences", "--chinese", "--cn_whole_word_segment"]
        lines = [python, str(tools / "trans_to_json.py"), "--input_path", str(text.blank_lines)]
        lines += ["--output_path", str(output / "text"), "--no-shuffle"]
        return [lines, [*ids, "--cn_seg_func", "jieba"]]

    return Peer("PaddleNLP", "jieba", commands)


def run_mlm(script: Path) -> Peer:
    """The `run_mlm.py` of transformers up to its trainer, with a model that takes no time."""

    def commands(text: Text, tokenizer: Path, output: Path) -> list[list[str]]:
        command = [python_of(script.parent), str(script), "--tokenizer_name", str(tokenizer)]
        command += ["--model_type", "bert", "--config_overrides", TINY_MODEL]
        command += ["--train_file", str(text.lines), "--max_seq_length", LENGTH]
        return [[*command, "--output_dir", str(output), "--cache_dir", str(output / "cache")]]

    return Peer("run_mlm", "none", commands)


TINY_MODEL = "hidden_size=8,num_hidden_layers=1,num_attention_heads=1,intermediate_size=8"


def python_of(folder: Path) -> str:
    """The interpreter that a checkout brings, else this one."""
    own = folder.absolute() / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


def prepare(lines: list[str], folder: Path) -> Text:
    """Lines written in each form.

    Args:
        lines: documents without line ends, none blank.
        folder: where to; made here.
    """
    folder.mkdir()
    text = Text(folder / "lines.txt", folder / "blank.txt", sum(len(x.encode()) + 1 for x in lines))
    text.lines.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    blank = "".join(f"{line}\n\n" for line in lines)
    text.blank_lines.write_text(blank, encoding="utf-8", newline="\n")
    return text


def prepare_tokenizer(vocabulary: Path, folder: Path) -> None:
    """A folder of one vocabulary that transformers, PaddleNLP and Wholeword all load.

    PaddleNLP can mark Chinese words with ERNIE's class only; its rules are BERT's.
    """
    folder.mkdir()
    (folder / "vocab.txt").write_bytes(vocabulary.read_bytes())
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    config = {
        "tokenizer_class": "BertTokenizer",
        "init_class": "ErnieTokenizer",
        "do_lower_case": True,
        "model_max_length": int(LENGTH),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def processor_seconds(peer: Peer, text: Text, tokenizer: Path) -> float:
    """Processor time of a program's commands and of all that they start, in seconds.

    Raises:
        WholewordError: a command failed.
    """
    with tempfile.TemporaryDirectory() as name:
        output = Path(name) / "output"
        output.mkdir()
        (Path(name) / "LAC.py").write_text(LAC)
        own = {"HF_HOME": name, "PYTHONPATH": name}
        if peer.name == OURS:
            own = {"PYTHONPATH": str(ROOT)}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for command in peer.commands(text, tokenizer, output):
            finished = subprocess.run(
                command,
                cwd=peer.folder or output,
                env=os.environ | ENVIRONMENT | own,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if finished.returncode:
                last = "\n".join(finished.stdout.strip().splitlines()[-15:])
                raise WholewordError(f"{peer.name} failed: {' '.join(command)}\n{last}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(
    peers: list[Peer], few: Text, texts: dict[str, Text], tokenizer: Path, rounds: int
) -> dict[str, list[Timing]]:
    """The timings of every program on its text, in rounds of all of them.

    Each runs once on the few lines before, uncounted: kernels are compiled then, and jieba's
    dictionary and modules are cached.
    """
    timings: dict[str, list[Timing]] = {peer.name: [] for peer in peers}
    for peer in peers:
        processor_seconds(peer, few, tokenizer)
    for number in range(rounds):
        for peer in peers:
            text = texts[peer.name]
            start_up = processor_seconds(peer, few, tokenizer)
            seconds = processor_seconds(peer, text, tokenizer)
            timing = Timing(start_up, seconds, text.bytes - few.bytes)
            timings[peer.name].append(timing)
            print(f"round {number + 1}: {peer.name} {timing}", flush=True)
    return timings


def figures(timings: dict[str, list[Timing]]) -> dict[str, Result]:
    """Per program its rate, its start-up, and our rate by its own."""
    results = {}
    for name, rounds in timings.items():
        pairs = zip(timings[OURS], rounds, strict=True)
        ratios = [ours.rate / theirs.rate for ours, theirs in pairs]
        rates = [timing.rate for timing in rounds]
        start_ups = [timing.start_up for timing in rounds]
        results[f"{name}: rate"] = Result(statistics.median(rates), "bytes/s")
        results[f"{name}: start_up"] = Result(statistics.median(start_ups), "s")
        results[f"{name}: ours_by_theirs"] = Result(statistics.median(ratios), "times")
    return results


def report(peers: list[Peer], results: dict[str, Result], size: int, rounds: int) -> None:
    """Print the figures as a table, ours first."""
    rows = []
    for peer in peers:
        row = [peer.name, peer.words, f"{results[f'{peer.name}: rate'].value / 1e6:,.2f}"]
        row += [f"{results[f'{peer.name}: ours_by_theirs'].value:,.1f}x"]
        rows.append([*row, f"{results[f'{peer.name}: start_up'].value:.1f}"])
    show(
        f"From lines to what the trainer reads, {size / 1e6:.1f} MB, medians of {rounds} rounds",
        ["", "words", "MB/s", "wholeword is", "start-up, s"],
        rows,
        ["seconds are of processor time, one process each, one after the other in each round"],
    )


def read_lines(path: Path) -> list[str]:
    """The documents of a file of lines, blank ones left out.

    Raises:
        WholewordError: there are too few to measure.
    """
    content = path.read_bytes().decode("utf-8")
    lines = [line.strip() for line in content.split("\n") if line.strip()]
    if len(lines) <= FEW_LINES:
        raise WholewordError(f"{path}: has {len(lines)} lines; give --text a file of thousands")
    return lines


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="UTF-8, a document a line")
    parser.add_argument("--vocab", type=Path, required=True, help="vocab.txt of a Chinese BERT")
    parser.add_argument("--uer", type=Path, metavar="FOLDER", help="UER-py or TencentPretrain")
    parser.add_argument("--paddlenlp", type=Path, metavar="FOLDER")
    parser.add_argument("--run-mlm", type=Path, metavar="FILE", help="run_mlm.py of transformers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=100, help="for wholeword, by repeating")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    peers = [wholeword()]
    if arguments.uer:
        peers += [uer(arguments.uer.absolute(), dynamic) for dynamic in (False, True)]
    if arguments.paddlenlp:
        peers.append(paddlenlp(arguments.paddlenlp.absolute()))
    if arguments.run_mlm:
        peers.append(run_mlm(arguments.run_mlm.absolute()))
    try:
        lines = read_lines(arguments.text)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            few, whole = prepare(lines[:FEW_LINES], folder / "few"), prepare(lines, folder / "all")
            copies = -(-arguments.megabytes * 1_000_000 // whole.bytes)
            texts = {peer.name: whole for peer in peers}
            texts[OURS] = prepare(lines * copies, folder / "copies")
            prepare_tokenizer(arguments.vocab, folder / "tokenizer")
            timings = measure(peers, few, texts, folder / "tokenizer", arguments.rounds)
    except (OSError, WholewordError) as error:
        sys.exit(str(error))
    results = figures(timings)
    report(peers, results, whole.bytes, arguments.rounds)
    write_json(arguments.json, "peers", results)


if __name__ == "__main__":
    main()
