"""What a dataset holds, as a table for people."""

from pathlib import Path

from rich.table import Table

from preprocess.write.manifest import Manifest


def summary_table(manifest: Manifest, title: str) -> Table:
    """One column for each part, and what was dropped or repaired."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for part in manifest.parts:
        table.add_column(part, justify="right", style="cyan")
    parts = manifest.parts.values()
    for figure in ("documents", "rows", "tokens", "words"):
        table.add_row(figure, *(f"{getattr(part, figure):,}" for part in parts))
    table.add_row("tokens a row", *(_ratio(part.tokens, part.rows, ".1f") for part in parts))
    table.add_row("tokens a word", *(_ratio(part.tokens, part.words, ".2f") for part in parts))
    table.add_row("share of unknown", *(_ratio(part.unknown, part.tokens, ".3%") for part in parts))
    table.add_row("shards", *(str(len(part.shards)) for part in parts))
    if manifest.counts:
        table.add_section()
        for reason, count in manifest.counts.items():
            table.add_row(reason.replace("_", " "), f"{count:,}")
    table.caption = (
        f"words: {manifest.segmenter.name}; rows: up to {manifest.max_length} tokens with special "
        f"ones; tokenizer: {manifest.tokenizer.kind}, {manifest.tokenizer.vocab_size:,} entries"
    )
    table.caption_justify = "left"
    return table


def summary(manifest: Manifest, folder: Path) -> dict[str, object]:
    """The same for machines."""
    parts = {
        name: part.model_dump(include={"documents", "rows", "tokens", "words", "unknown"})
        for name, part in manifest.parts.items()
    }
    return {
        "output": str(folder),
        "parts": parts,
        "counts": manifest.counts,
        "segmenter": manifest.segmenter.model_dump(),
        "tokenizer": manifest.tokenizer.model_dump(),
        "max_length": manifest.max_length,
        "options": manifest.options,
    }


def _ratio(a: int, b: int, form: str) -> str:
    return format(a / b, form) if b else "-"
