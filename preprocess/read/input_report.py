"""What people are told about the input, in words."""

from collections import Counter

from preprocess.read.encodings import UTF8
from preprocess.read.formats import compression_of, form_of
from preprocess.read.sources import InputFile

MAX_NAMES = 3
_FORMS = {"text": "plain text"}
_UNCUTTABLE = {"csv": "a CSV file", "tsv": "a TSV file", "json": "a JSON array"} | {
    "arrow": "an Arrow file"
}


def input_lines(files: list[InputFile], left_out: dict[str, str], known: list[str]) -> list[str]:
    """What is read and what is not, a line each, and a line for each encoding besides UTF-8.

    Args:
        files: what is read.
        left_out: what folders hold besides, and why it is not read.
        known: what a dataset that is added to was made from already.
    """
    size = sum(file.bytes for file in files)
    forms = Counter(file.form for file in files)
    counts = ", ".join(
        f"{count:,} {_FORMS.get(form, form)}" if len(forms) > 1 else _FORMS.get(form, form)
        for form, count in forms.most_common()
    )
    lines = [f"input: {size / 1e6:,.1f} MB in {_files(len(files))} ({counts})"]
    if known:
        lines.append(f"in the dataset already: {_names(known)}")
    if left_out:
        reasons: dict[str, list[str]] = {}
        for path, reason in sorted(left_out.items()):
            reasons.setdefault(reason, []).append(path)
        parts = [f"{_names(paths)} ({reason})" for reason, paths in reasons.items()]
        lines.append(f"left out: {'; '.join(parts)}; to read one, name it with --input")
    encodings: dict[str, list[str]] = {}
    for file in files:
        if file.encoding != UTF8:
            encodings.setdefault(file.encoding, []).append(file.path)
    lines += [f"read as {name}: {_names(paths)}" for name, paths in encodings.items()]
    return lines


def _files(count: int) -> str:
    return f"{count:,} file{'s' if count > 1 else ''}"


def _names(paths: list[str]) -> str:
    more = f" and {len(paths) - MAX_NAMES:,} more" if len(paths) > MAX_NAMES else ""
    # A terminal takes no name that is not UTF-8.
    return ", ".join(paths[:MAX_NAMES]).encode(errors="replace").decode() + more


def encoding_warning(file: InputFile, share: float) -> str:
    """The line about a file of whose documents `share` contradict its encoding."""
    other = "gb18030" if file.encoding == UTF8 else UTF8
    return (
        f"{file.path}: {share:.0%} of its documents are not {file.encoding.upper()}, and what was "
        "replaced in them is lost; if the file is in another encoding, build again with "
        f"--overwrite and --encoding NAME, such as --encoding {other}"
    )


def uncuttable(path: str) -> str | None:
    """Why only one worker can read a file, None if several can."""
    if compression_of(path):
        return "a compressed file"
    return _UNCUTTABLE.get(form_of(path) or "")
