"""How two builds differ, in words."""

import json
from typing import Any

MOST_FILES = 3


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What distinguishes the build that is there from the one that is wanted, each in a few words.

    Args:
        found: how the build that is there was made (`identity`).
        wanted: the same of the other.
    """
    found, wanted = json.loads(json.dumps(found)), json.loads(json.dumps(wanted))
    inputs = _inputs(all_inputs(found), all_inputs(wanted))
    lines = [
        *_options(found.get("options", {}), wanted.get("options", {})),
        *_segmenter(found.get("segmenter", {}), wanted.get("segmenter", {})),
        *inputs,
    ]
    if found.get("tokenizer") != wanted.get("tokenizer") and not any(
        line.startswith("--tokenizer") for line in lines
    ):
        lines.append("another content of the tokenizer's folder")
    if not lines and found != wanted:  # all else is the same, so nothing else explains it
        lines.append("tasks of other sizes")
    return lines


def all_inputs(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The input files of a build, and of what was appended."""
    additions = [plan, *plan.get("appended", [])]
    return [file for addition in additions for file in addition.get("inputs", [])]


def _options(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    names = [n for n in dict.fromkeys([*found, *wanted]) if found.get(n) != wanted.get(n)]
    lines = [
        f"--{name.replace('_', '-')} {_spell(found.get(name))} (now {_spell(wanted.get(name))})"
        for name in names
        if name != "filter_sha256"
    ]
    edited = "filter_sha256" in names and "filter" not in names
    return [*lines, f"--filter {wanted['filter']}, whose file was edited"] if edited else lines


def _spell(value: Any) -> str:
    return "not given" if value is None else str(value)


def _segmenter(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    if found.get("name") != wanted.get("name"):
        return [f"--segmenter {found.get('name')} (now {wanted.get('name')})"]
    lines = []
    if found.get("version") != wanted.get("version"):
        lines.append(f"jieba {found.get('version')} (now {wanted.get('version')})")
    elif found.get("dictionary_sha256") != wanted.get("dictionary_sha256"):
        lines.append("another user dictionary")
    if found.get("hmm") != wanted.get("hmm"):
        lines.append("--hmm" if found.get("hmm") else "--no-hmm")
    return lines


def _inputs(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> list[str]:
    before = {file["path"]: file for file in found}
    now = {file["path"]: file for file in wanted}
    changed = [path for path in before if path in now and before[path] != now[path]]
    groups = (
        ("without", [path for path in now if path not in before]),
        ("with", [path for path in before if path not in now]),
        ("other content of", changed),
    )
    lines = [f"{word} {_name(paths)}" for word, paths in groups if paths]
    if not lines and found != wanted:
        lines.append("the inputs in another order")
    return lines


def _name(paths: list[str]) -> str:
    more = len(paths) - MOST_FILES
    return ", ".join(paths[:MOST_FILES]) + (f" and {more} more" if more > 0 else "")
