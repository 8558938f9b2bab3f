"""A build, decided in full before the first task runs."""

import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocess.encode.encoders import choose_encoder
from preprocess.encode.protocol import EncoderSpec
from preprocess.encode.segmenters import SegmenterSpec, parse_segmenter
from preprocess.encode.tokenizer import LoadedTokenizer, has_han
from preprocess.encode.tokenizer_cache import load_tokenizer_once
from preprocess.errors import WholewordError
from preprocess.format import Part, id_dtype
from preprocess.options import BuildOptions
from preprocess.read.cutting import default_split_size, plan_tasks
from preprocess.read.encodings import check_encoding
from preprocess.read.folders import list_files
from preprocess.read.input_files import describe_files
from preprocess.read.sources import InputFile, ReadOptions, Task
from preprocess.run.tasks import WorkerSpec
from preprocess.write.manifest import SegmenterEntry


@dataclass(frozen=True)
class BuildPlan:
    """What will be built from what, by which tasks."""

    options: BuildOptions
    tokenizer: LoadedTokenizer
    segmenter: SegmenterSpec
    files: list[InputFile]
    left_out: dict[str, str]
    """Files of the named folders that are not read, and why."""
    tasks: list[Task]
    parts: tuple[Part, ...]
    encoder: str
    encoder_reason: str | None
    """Why the compiled encoder cannot be used, where it cannot."""

    @property
    def output(self) -> Path:
        """The dataset's folder."""
        return Path(self.options.output)

    @property
    def bytes(self) -> int:
        """Size of the input."""
        return sum(file.bytes for file in self.files)


def plan_build(options: BuildOptions) -> BuildPlan:
    """Find the input, load the tokenizer, choose the encoder, cut tasks.

    Raises:
        WholewordError: an option or an input is unusable.
    """
    options.check()
    files, left_out = _find_files(options)
    tokenizer = load_tokenizer_once(options.tokenizer)
    room = options.max_length - tokenizer.special.overhead(options.pairs)
    if room < 2:
        raise WholewordError(f"--max-length {options.max_length}: leaves no room for text")
    name = options.segmenter
    if name == "auto":
        name = "jieba" if has_han(tokenizer.json) else "none"
    segmenter = parse_segmenter(name, options.user_dicts, options.hmm)
    encoder, reason = choose_encoder(options.encoder, tokenizer.json, segmenter)
    if options.encoder == "compiled" and reason:
        raise WholewordError(f"--encoder compiled: {reason}; use --encoder auto or library")
    parts: list[Part] = ["train"]
    if options.validation_inputs or options.validation_fraction > 0:
        parts.append("validation")
    if options.test_inputs:
        parts.append("test")
    split_size = options.split_size or default_split_size(files)
    return BuildPlan(
        options=options,
        tokenizer=tokenizer,
        segmenter=segmenter,
        files=files,
        left_out=left_out,
        tasks=plan_tasks(files, options.document_separator, split_size),
        parts=tuple(parts),
        encoder=encoder,
        encoder_reason=reason,
    )


def _find_files(options: BuildOptions) -> tuple[list[InputFile], dict[str, str]]:
    """The input files of all parts, and what their folders hold besides."""
    check_encoding(options.encoding)
    files: list[InputFile] = []
    left_out: dict[str, str] = {}
    named: dict[Part, tuple[str, ...]] = {
        "train": options.inputs,
        "validation": options.validation_inputs,
        "test": options.test_inputs,
    }
    for part, patterns in named.items():
        listing = list_files(patterns)
        files += describe_files(list(listing.paths), part, options.encoding)
        left_out |= listing.left_out
    return files, left_out


def identity(plan: BuildPlan) -> dict[str, Any]:
    """Everything that shapes the output; the files' times too, so that changed input is noticed."""
    return {
        "options": shaping_options(plan.options),
        "tokenizer": plan.tokenizer.sha256,
        "segmenter": segmenter_entry(plan.segmenter).model_dump(),
        "inputs": [dict(vars(file)) for file in plan.files],
        "split sizes": [task.bytes for task in plan.tasks],
    }


def shaping_options(options: BuildOptions) -> dict[str, Any]:
    """The options that the manifest records."""
    return {
        "tokenizer": options.tokenizer,
        "max_length": options.max_length,
        "pairs": options.pairs,
        "document_separator": options.document_separator,
        "text_fields": list(options.text_fields),
        "field_separator": options.field_separator,
        "validation_fraction": _validation_fraction(options),
        "split_size": options.split_size,
    }


def _validation_fraction(options: BuildOptions) -> float:
    return 0.0 if options.validation_inputs else options.validation_fraction


def worker_spec(plan: BuildPlan) -> WorkerSpec:
    """What a worker must know about a plan."""
    options = plan.options
    return WorkerSpec(
        output=options.output,
        encoder=EncoderSpec(plan.tokenizer.json, plan.segmenter, plan.encoder),
        audit=options.audit if plan.encoder != "reference" else 0,
        id_dtype=id_dtype(plan.tokenizer.vocab_size).name,
        unk_id=plan.tokenizer.special.unk_id,
        parts=plan.parts,
        tasks=len(plan.tasks),
        max_tokens=options.max_length - plan.tokenizer.special.overhead(options.pairs),
        reading=ReadOptions(
            options.document_separator,
            options.text_fields,
            options.field_separator,
            options.strict,
        ),
        validation_fraction=_validation_fraction(options),
    )


def segmenter_entry(spec: SegmenterSpec) -> SegmenterEntry:
    """The segmenter as the manifest records it, with a hash of all dictionaries."""
    digest = hashlib.sha256()
    version = ""
    if spec.kind == "jieba":
        import jieba

        version = importlib.metadata.version("jieba")
        with jieba.get_module_res(jieba.DEFAULT_DICT_NAME) as dictionary:
            digest.update(dictionary.read())
        for path in spec.user_dicts:
            digest.update(Path(path).read_bytes())
    return SegmenterEntry(
        name=spec.function or spec.kind,
        version=version,
        dictionary_sha256=digest.hexdigest() if spec.kind == "jieba" else "",
        hmm=spec.hmm,
    )
