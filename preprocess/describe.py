"""What a dataset holds, as tables for people."""

from pathlib import Path

from rich.table import Table

from preprocess.encode.segmenters import words_are
from preprocess.format import HISTOGRAM_BINS
from preprocess.run.signs import repeated_share
from preprocess.write.manifest import Manifest, PartEntry


def summary_table(manifest: Manifest, title: str) -> Table:
    """One column for each part, what was dropped or repaired, and in yellow what looks wrong."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for part in manifest.parts:
        table.add_column(part, justify="right", style="cyan")
    parts = manifest.parts.values()
    for figure in ("documents", "rows", "tokens", "words"):
        table.add_row(figure, *(f"{getattr(part, figure):,}" for part in parts))
    for name, above, below, form in (
        ("words a document", "words", "documents", ".1f"),
        ("tokens a document", "tokens", "documents", ".1f"),
        ("tokens a row", "tokens", "rows", ".1f"),
        ("tokens a word", "tokens", "words", ".2f"),
        ("share of unknown", "unknown", "tokens", ".3%"),
    ):
        ratios = (_ratio(getattr(part, above), getattr(part, below), form) for part in parts)
        table.add_row(name, *ratios)
    for share in (0.5, 0.9):
        lengths = (_row_length(part, share, manifest.max_row_tokens) for part in parts)
        table.add_row(f"{share:.0%} of rows have up to", *lengths)
    table.add_row("shards", *(str(len(part.shards)) for part in parts))
    _add_counts(table, manifest)
    table.caption = (
        f"words: {words_are(manifest.segmenter.name)}; rows: up to {manifest.max_length} tokens "
        f"with special ones; tokenizer: {manifest.tokenizer.kind}, "
        f"{manifest.tokenizer.vocab_size:,} entries"
    )
    table.caption_justify = "left"
    return table


def _add_counts(table: Table, manifest: Manifest) -> None:
    """What is not of one part, and the warning signs."""
    rows = [(reason.replace("_", " "), f"{count:,}") for reason, count in manifest.counts.items()]
    if manifest.distinct_texts is not None:
        rows.append(("repeated documents", f"about {repeated_share(manifest):.0%}"))
    if manifest.unknown_characters:
        rows.append(("unknown characters", _escape(" ".join(manifest.unknown_characters))))
    if len(manifest.generations) > 1:
        added = sum(step.inputs for step in manifest.generations[1:])
        rows.append(("files added later", f"{added:,}"))
    rows += [(f"[yellow]{sign}[/]", "[yellow]see below[/]") for sign in signs(manifest)]
    table.add_section()
    for name, value in rows:
        table.add_row(name, value)


def signs(manifest: Manifest) -> list[str]:
    """The warning signs, each once."""
    return list(dict.fromkeys(warning.sign for warning in manifest.warnings))


def dropped_table(manifest: Manifest) -> Table:
    """Samples of what was left out, by reason."""
    table = Table(title="samples of what was left out", title_justify="left")
    for column in ("reason", "documents", "where", "begins with"):
        table.add_column(column, justify="right" if column == "documents" else "left")
    for sample in sorted(manifest.dropped, key=lambda sample: sample.reason):
        table.add_row(
            sample.reason.replace("_", " "),
            f"{manifest.counts.get(sample.reason, 0):,}",
            _escape(f"{sample.path}, {sample.place}"),
            _escape(sample.text.replace("\n", " ")),
        )
    return table


def summary(manifest: Manifest, folder: Path) -> dict[str, object]:
    """The same for machines."""
    figures = {"documents", "rows", "tokens", "words", "unknown", "length_histogram"}
    value = manifest.model_dump(
        mode="json",
        include={
            *("counts", "segmenter", "tokenizer", "max_length", "options", "dropped"),
            *("unknown_characters", "distinct_texts", "warnings", "generations"),
        },
    )
    parts = {name: part.model_dump(include=figures) for name, part in manifest.parts.items()}
    share = round(repeated_share(manifest), 4)
    return {"output": str(folder), "parts": parts, "repeated_share": share, **value}


def _row_length(part: PartEntry, share: float, longest: int) -> str:
    """The end of the class of lengths up to which a share of the rows is."""
    begins = sorted(part.length_histogram)
    if not begins:
        return "-"
    width = -(-longest // HISTOGRAM_BINS)
    count = 0
    for begin in begins:
        count += part.length_histogram[begin]
        if count >= share * part.rows:
            break
    return f"{min(begin + width - 1, longest):,}"


def _ratio(a: int, b: int, form: str) -> str:
    return format(a / b, form) if b else "-"


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
