"""Warning signs: what about a finished dataset may not be what its maker wanted."""

from collections.abc import Iterator
from pathlib import Path

from preprocess.clean.distinct import DistinctTexts
from preprocess.clean.holdout import LEFT_OUT, MOST_COPIES, held_below
from preprocess.encode.dictionary import never_match, read_words
from preprocess.read.input_report import encoding_warning
from preprocess.run.plan import BuildPlan
from preprocess.run.state import TaskReport
from preprocess.write.manifest import Manifest, WarningSign

Found = Iterator[tuple[str, str]]
MUCH_UNKNOWN = 0.03
"""Share of unknown tokens; vocabularies that are made for a text have a thousandth."""
MANY_REPEATED = 0.2
"""Share of documents that repeat others: four times the error of the estimate above none."""
CONTRADICTS = 0.01
"""Share of damaged documents above which a file may have another encoding than it was read in."""
MOST_NAMED = 3
"""Files or words that one sign names."""
SAMPLES = Path(__file__).resolve().parents[2] / "samples"


UNKNOWN = "much is unknown"
SAMPLE = "the sample's tokenizer"
REPEATED = "many duplicates"
VALIDATION = "repeated validation text"
CONTRADICTING = "another encoding"
RETURNS = "carriage returns inside documents"
NEVER = "dictionary words that never match"
UNSEEN = "a dictionary without effect"
_OF_THE_WHOLE = (UNKNOWN, REPEATED, VALIDATION)
"""Signs that follow from the manifest; the others are of what one command read."""


def warning_signs(
    plan: BuildPlan, manifest: Manifest, distinct: DistinctTexts, reports: list[TaskReport]
) -> list[WarningSign]:
    """What is wrong, and those of a dataset that is added to.

    Args:
        plan: of the build.
        manifest: of the whole dataset.
        distinct: all of its texts.
        reports: of the tasks of this build.
    """
    before = plan.base.manifest.warnings if plan.base else ()
    signs = [sign for sign in before if sign.sign not in _OF_THE_WHOLE]
    found = (
        *_unknown(manifest),
        *_sample_tokenizer(plan),
        *_repeated(manifest),
        *_validation(manifest, distinct),
        *_contradicting(plan, reports),
        *_lone_returns(reports),
        *_dictionaries(plan, reports),
    )
    for sign, text in found:
        if (new := WarningSign(sign=sign, text=text)) not in signs:
            signs.append(new)
    return signs


def _unknown(manifest: Manifest) -> Found:
    tokens = sum(part.tokens for part in manifest.parts.values())
    unknown = sum(part.unknown for part in manifest.parts.values())
    if unknown > MUCH_UNKNOWN * tokens:
        lacks = " ".join(manifest.unknown_characters)
        named = f"; it lacks {lacks}" if lacks else ""
        yield (
            UNKNOWN,
            f"{unknown / tokens:.0%} of the tokens are the tokenizer's unknown one{named}; take "
            "a tokenizer that knows this text, or make one with train-vocab",
        )


def _sample_tokenizer(plan: BuildPlan) -> Found:
    if Path(plan.options.tokenizer).resolve() != SAMPLES / "tokenizer":
        return
    if any(SAMPLES not in Path(file.path).resolve().parents for file in plan.files):
        yield (
            SAMPLE,
            f"{plan.options.tokenizer} has {plan.tokenizer.vocab_size:,} entries, made from the "
            "bundled books alone; name your model's tokenizer with --tokenizer",
        )


def _repeated(manifest: Manifest) -> Found:
    documents = _all_documents(manifest)
    share = repeated_share(manifest)
    if share > MANY_REPEATED:
        yield (
            REPEATED,
            f"about {share:.0%} of {documents:,} documents repeat another word for word; --dedup "
            "documents keeps the first of each",
        )


def _validation(manifest: Manifest, distinct: DistinctTexts) -> Found:
    """Counted before a task leaves out what is too much: that depends on where tasks are cut."""
    fraction = manifest.options.get("validation_fraction", 0)
    if not fraction:
        return
    left_out = manifest.counts.get(LEFT_OUT, 0)
    held = manifest.parts["validation"].documents + left_out
    copies = held - distinct.count(held_below(fraction))
    if copies > max(MANY_REPEATED * held, MOST_COPIES):
        yield (
            VALIDATION,
            f"about {copies / held:.0%} of the {held:,} documents that fall to validation repeat "
            f"another; {left_out:,} of them were left out of it, and of training too (a task gives "
            f"it {MOST_COPIES} of one text at most); --dedup documents keeps one of each",
        )


def _contradicting(plan: BuildPlan, reports: list[TaskReport]) -> Found:
    files: dict[str, tuple[int, int]] = {}
    for report in reports:
        for path, (documents, invalid) in report.contradicting.items():
            before = files.get(path, (0, 0))
            files[path] = (before[0] + documents, before[1] + invalid)
    by_path = {file.path: file for file in plan.files}
    bad = {path: i / d for path, (d, i) in sorted(files.items()) if i > CONTRADICTS * d}
    for path, share in list(bad.items())[:MOST_NAMED]:
        yield CONTRADICTING, encoding_warning(by_path[path], share)
    if len(bad) > MOST_NAMED:
        yield CONTRADICTING, f"{len(bad) - MOST_NAMED} more files are like that"


def _lone_returns(reports: list[TaskReport]) -> Found:
    """As in files of old Macs: there they end lines, and here a whole file becomes a document."""
    returns = sum(report.carriage_returns for report in reports)
    documents = sum(report.documents for report in reports)
    if returns > documents:
        yield (
            RETURNS,
            f"{returns:,} in {documents:,} documents, with no line feed behind them; if they end "
            "lines, convert the files, for example with tr '\\r' '\\n', and build again with "
            "--overwrite",
        )


def _dictionaries(plan: BuildPlan, reports: list[TaskReport]) -> Found:
    dictionaries = plan.segmenter.user_dicts
    for path in dictionaries:
        words = read_words(path)
        if never := never_match(words):
            yield (
                NEVER,
                f"{path}: {len(never):,} of its {len(words):,} words, such as "
                f"{', '.join(map(repr, never[:MOST_NAMED]))}: jieba ends a word at spaces, commas "
                "and most other marks",
            )
    if dictionaries and not any(report.has_dictionary_words for report in reports):
        yield (
            UNSEEN,
            f"no word of {', '.join(dictionaries)} was seen in the text; check that it is the "
            "right one, and that both are written the same way",
        )


def repeated_share(manifest: Manifest) -> float:
    """The share of documents that repeat another, about; 0 where none is left or none counted."""
    documents = _all_documents(manifest)
    clean = manifest.options.get("dedup") == "documents"
    if clean or not documents or manifest.distinct_texts is None:
        return 0.0
    return max(0.0, 1 - manifest.distinct_texts / documents)


def _all_documents(manifest: Manifest) -> int:
    """Those of all parts, and the copies that were too many for validation."""
    documents = sum(part.documents for part in manifest.parts.values())
    return documents + manifest.counts.get(LEFT_OUT, 0)
