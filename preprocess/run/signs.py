"""Warning signs: what about a finished dataset may not be what its maker wanted."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from preprocess.clean.holdout import LEFT_OUT, MOST_COPIES
from preprocess.encode.dictionary import never_match, read_words
from preprocess.run.plan import BuildPlan
from preprocess.run.state import TaskReport
from preprocess.write.manifest import Manifest

MUCH_UNKNOWN = 0.03
"""Share of unknown tokens; vocabularies that are made for a text have a thousandth."""
MANY_REPEATED = 0.2
"""Share of documents that repeat others: four times the error of the estimate above none."""
NOT_UTF8 = 0.1
"""Share of invalid documents above which a file is hardly UTF-8 with a few damaged characters."""
MOST_NAMED = 3
"""Files or words that one sign names."""
SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def warning_signs(plan: BuildPlan, manifest: Manifest, reports: list[TaskReport]) -> list[str]:
    """A line for each sign, with its remedy; those of a dataset that is added to remain."""
    signs = list(plan.base.manifest.warnings) if plan.base else []
    for sign in _signs(plan, manifest, reports):
        kind = sign.split(":")[0]
        signs = [s for s in signs if s.split(":")[0] != kind] + [sign]
    return signs


def _signs(plan: BuildPlan, manifest: Manifest, reports: list[TaskReport]) -> Iterator[str]:
    yield from _unknown(manifest)
    yield from _sample_tokenizer(plan)
    yield from _repeated(manifest)
    yield from _validation(manifest)
    yield from _not_utf8(reports)
    yield from _dictionaries(plan, reports)


def _unknown(manifest: Manifest) -> Iterator[str]:
    tokens = sum(part.tokens for part in manifest.parts.values())
    unknown = sum(part.unknown for part in manifest.parts.values())
    if unknown > MUCH_UNKNOWN * tokens:
        lacks = "".join(manifest.unknown_characters)
        named = f" (it lacks {lacks})" if lacks else ""
        yield (
            f"much is unknown: {unknown / tokens:.0%} of the tokens are the tokenizer's unknown "
            f"one{named}; take a tokenizer that knows this text, or make one with train-vocab"
        )


def _sample_tokenizer(plan: BuildPlan) -> Iterator[str]:
    if Path(plan.options.tokenizer).resolve() != SAMPLES / "tokenizer":
        return
    if any(SAMPLES not in Path(file.path).resolve().parents for file in plan.files):
        yield (
            f"the sample's tokenizer: these {plan.tokenizer.vocab_size:,} entries were made from "
            "the bundled novels; name your model's tokenizer with --tokenizer"
        )


def _repeated(manifest: Manifest) -> Iterator[str]:
    documents = sum(part.documents for part in manifest.parts.values())
    share = repeated_share(manifest)
    if share > MANY_REPEATED:
        yield (
            f"many duplicates: about {share:.0%} of {documents:,} documents repeat another word "
            "for word; --dedup documents keeps the first of each"
        )


def repeated_share(manifest: Manifest) -> float:
    """The share of documents that repeat another, about; 0 where nobody counted."""
    documents = sum(part.documents for part in manifest.parts.values())
    if not documents or manifest.distinct_texts is None:
        return 0.0
    return max(0.0, 1 - manifest.distinct_texts / documents)


def _validation(manifest: Manifest) -> Iterator[str]:
    if left_out := manifest.counts.get(LEFT_OUT):
        yield (
            f"repeated validation text: {left_out:,} more copies of what is in validation were "
            f"left out of both parts (a task gives it at most {MOST_COPIES} of one text); "
            "--dedup documents keeps one"
        )


def _not_utf8(reports: list[TaskReport]) -> Iterator[str]:
    files: dict[str, tuple[int, int]] = {}
    for report in reports:
        for path, (documents, invalid) in report.not_utf8.items():
            before = files.get(path, (0, 0))
            files[path] = (before[0] + documents, before[1] + invalid)
    bad = {path: i / d for path, (d, i) in sorted(files.items()) if i > NOT_UTF8 * d}
    for path, share in list(bad.items())[:MOST_NAMED]:
        yield (
            f"{path}: {share:.0%} of its documents are not UTF-8, and what was "
            "replaced in them is lost; if it is in another encoding, convert it, for example "
            f"with `iconv -f GB18030 -t UTF-8 {shlex.quote(path)} > utf8.txt`, and build again "
            "with --overwrite"
        )
    if len(bad) > MOST_NAMED:
        yield f"not UTF-8: {len(bad) - MOST_NAMED} more files are like that"


def _dictionaries(plan: BuildPlan, reports: list[TaskReport]) -> Iterator[str]:
    dictionaries = plan.segmenter.user_dicts
    for path in dictionaries:
        words = read_words(path)
        if never := never_match(words):
            yield (
                f"{path}: {len(never):,} of its {len(words):,} words can never match, such as "
                f"{', '.join(map(repr, never[:MOST_NAMED]))}: jieba ends a word at spaces, commas "
                "and most other marks"
            )
    if dictionaries and not any(report.has_dictionary_words for report in reports):
        yield (
            f"user dictionary: none of the words of {', '.join(dictionaries)} was seen in the "
            "text; check that it is the right one, and that both are written the same way"
        )
