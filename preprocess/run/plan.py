"""A build, decided in full before the first task runs."""

import hashlib
import importlib.metadata
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocess.clean.cleaner import Rules
from preprocess.clean.near_duplicates import load_datasketch
from preprocess.encode.auto_segmenter import choose_segmenter
from preprocess.encode.encoders import choose_encoder
from preprocess.encode.protocol import EncoderSpec
from preprocess.encode.segmenters import SegmenterSpec, parse_segmenter
from preprocess.encode.tokenizer import LoadedTokenizer
from preprocess.encode.tokenizer_cache import load_tokenizer_once
from preprocess.errors import WholewordError
from preprocess.format import Part, id_dtype
from preprocess.options import BuildOptions
from preprocess.places import place
from preprocess.read.columns import check_columns
from preprocess.read.cutting import default_split_size, plan_tasks
from preprocess.read.encodings import check_encoding
from preprocess.read.folders import list_files
from preprocess.read.formats import TABLES, Form
from preprocess.read.input_files import describe_files
from preprocess.read.sources import InputFile, ReadOptions, Task
from preprocess.run.append import Base, appended_identity, open_base
from preprocess.run.dedup import DedupSpec
from preprocess.run.task_documents import ReadSpec, sample_texts
from preprocess.run.tasks import WorkerSpec
from preprocess.user_function import load_function, source_sha256
from preprocess.write.manifest import SegmenterEntry


@dataclass(frozen=True)
class BuildPlan:
    """What will be built from what, by which tasks; of a dataset that is added to, what is new."""

    options: BuildOptions
    tokenizer: LoadedTokenizer
    segmenter: SegmenterSpec
    segmenter_reason: str
    """Why it was chosen, where nobody named it."""
    files: list[InputFile]
    left_out: dict[str, str]
    """Files of the named folders that are not read, and why."""
    known: list[str]
    """Files that the dataset was made from already, where it is added to."""
    tasks: list[Task]
    parts: tuple[Part, ...]
    encoder: str
    encoder_reason: str | None
    """Why the compiled encoder cannot be used, where it cannot."""
    split_size: int
    """Bytes of a task."""
    base: Base | None = None
    """The dataset that is added to."""

    @property
    def output(self) -> Path:
        """The dataset's folder."""
        return place(self.options.output)

    @property
    def earlier(self) -> int:
        """Tasks, and shards, that are there already."""
        return self.base.shards if self.base else 0

    @property
    def total(self) -> int:
        """Tasks, and shards, of the whole dataset."""
        return self.earlier + len(self.tasks)

    @property
    def goes_on(self) -> bool:
        """Whether the first task goes on with the last one of the dataset that is added to."""
        return bool(self.tasks and (self.tasks[0].begin or 0) % (1 << 32))

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
    if options.near_dedup is not None:
        load_datasketch()
    files, left_out = _find_files(options)
    base = open_base(place(options.output)) if options.append else None
    known: list[str] = []
    if base is None:
        _check_used(options, {file.form for file in files})
    else:
        files, known = base.new_files(files, options.dedup == "documents")
    check_columns(files, options.text_fields)
    tokenizer = load_tokenizer_once(options.tokenizer)
    room = options.max_length - tokenizer.special.overhead(options.pairs)
    if room < 2:
        raise WholewordError(f"--max-length {options.max_length}: leaves no room for text")
    segmenter, why = _choose_segmenter(options, files, tokenizer, base)
    encoder, reason = choose_encoder(options.encoder, tokenizer.json, segmenter)
    if options.encoder == "compiled" and reason:
        raise WholewordError(f"--encoder compiled: {reason}; use --encoder auto or library")
    parts = _parts(options)
    tasks, split_size = _cut_tasks(options, files, parts, base)
    return BuildPlan(
        options=options,
        tokenizer=tokenizer,
        segmenter=segmenter,
        segmenter_reason=why,
        files=files,
        left_out=left_out,
        known=known,
        tasks=tasks,
        parts=parts,
        encoder=encoder,
        encoder_reason=reason,
        split_size=split_size,
        base=base,
    )


def _cut_tasks(
    options: BuildOptions, files: list[InputFile], parts: tuple[Part, ...], base: Base | None
) -> tuple[list[Task], int]:
    """The tasks, and about how many bytes one has."""
    if base is None:
        size = options.split_size or default_split_size(files)
        return plan_tasks(files, options.document_separator, size), size
    if parts != tuple(base.manifest.parts):
        raise WholewordError(
            f"--append: the dataset has the parts {', '.join(base.manifest.parts)}, and this "
            f"command makes {', '.join(parts)}; name validation and test text as it was built"
        )
    tasks = base.tail.tasks(files, options.document_separator, base.shards)
    return tasks, base.tail.split_size


def _choose_segmenter(
    options: BuildOptions, files: list[InputFile], tokenizer: LoadedTokenizer, base: Base | None
) -> tuple[SegmenterSpec, str]:
    """The segmenter, and why it was chosen where nobody named it."""
    name, why = options.segmenter, ""
    if name == "auto" and base:
        name, why = base.manifest.segmenter.name, "as the dataset was built"
    elif name == "auto":
        sample = sample_texts(files, read_options(options))
        has_options = bool(options.user_dicts) or not options.hmm
        unk_id = tokenizer.special.unk_id
        name, why = choose_segmenter(sample, tokenizer.json, unk_id, has_options)
    return parse_segmenter(name, options.user_dicts, options.hmm), why


def _parts(options: BuildOptions) -> tuple[Part, ...]:
    parts: list[Part] = ["train"]
    if options.validation_inputs or options.validation_fraction > 0:
        parts.append("validation")
    if options.test_inputs:
        parts.append("test")
    return tuple(parts)


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
        files += describe_files(listing.paths, part, options.encoding)
        left_out |= listing.left_out
    return files, _unread(left_out, [*itertools.chain(*named.values()), *(f.path for f in files)])


def _check_used(options: BuildOptions, forms: set[Form]) -> None:
    """Refuse options that shape a text of some form where no input file is of it."""
    named = options.text_fields != BuildOptions.text_fields
    separated = options.field_separator != BuildOptions.field_separator
    for flag, given, used, why in (
        ("--text-field", named, forms != {"text"}, "plain text has no fields"),
        ("--field-separator", separated, len(options.text_fields) > 1, "no two fields are named"),
        (
            f"--document-separator {options.document_separator}",
            options.document_separator != "line",
            "text" in forms,
            "the input holds no plain text, and a record is a document",
        ),
        (
            f"--encoding {options.encoding}",
            options.encoding != "auto",
            bool(forms - {*TABLES}),
            "Parquet and Arrow know their own",
        ),
    ):
        if given and not used:
            raise WholewordError(f"{flag}: is of no use here, for {why}; leave it out")


def _unread(left_out: dict[str, str], named: list[str]) -> dict[str, str]:
    """What is left out less what is read for another part (paths of folders and files)."""
    read = set(map(os.path.normpath, named))
    return {path: why for path, why in left_out.items() if os.path.normpath(path) not in read}


def identity(plan: BuildPlan) -> dict[str, Any]:
    """Everything that shapes the output; the files' times too, so that changed input is noticed."""
    own = {
        "options": shaping_options(plan.options),
        "tokenizer": plan.tokenizer.sha256,
        "segmenter": segmenter_entry(plan.segmenter).model_dump(),
        "inputs": [dict(vars(file)) for file in plan.files],
        "split sizes": [task.bytes for task in plan.tasks],
    }
    return appended_identity(plan.base, own) if plan.base else own


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
        **_cleaning_options(options),
    }


def _cleaning_options(options: BuildOptions) -> dict[str, Any]:
    """Those that are given: manifests without any are those of older versions."""
    given: dict[str, Any] = {} if options.dedup == "none" else {"dedup": options.dedup}
    for name in ("near_dedup", "min_chars", "max_chars", "filter"):
        if (value := getattr(options, name)) is not None:
            given[name] = value
    if options.filter:
        given["filter_sha256"] = source_sha256(load_function("--filter", options.filter))
    return given


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
        tasks=plan.total,
        max_tokens=options.max_length - plan.tokenizer.special.overhead(options.pairs),
        reading=read_spec(plan),
        dedup=DedupSpec(options.dedup == "documents", options.near_dedup),
        validation_fraction=_validation_fraction(options),
        copies=plan.base.tail.copies if plan.base and plan.goes_on else {},
        first_task=plan.earlier,
    )


def read_options(options: BuildOptions) -> ReadOptions:
    """What decides which documents the input holds."""
    return ReadOptions(
        options.document_separator,
        options.text_fields,
        options.field_separator,
        options.strict,
    )


def read_spec(plan: BuildPlan) -> ReadSpec:
    """How a plan's input becomes documents that stay."""
    options = plan.options
    return ReadSpec(
        options=read_options(options),
        rules=Rules(options.filter, options.min_chars, options.max_chars),
        slow=plan.encoder != "compiled" or bool(options.filter) or options.near_dedup is not None,
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
