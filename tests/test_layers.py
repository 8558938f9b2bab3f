"""The house's plan: a folder is a stage, and imports go one way."""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Every package may import those before it, and the base modules; what stands on top may import all.
STAGES = {
    "preprocess": ("read", "clean", "encode", "write", "run"),
    "train": ("data", "model", "engine", "evaluate", "report", "run", "adapt"),
}
BASE = {
    "preprocess": {
        "arrays",
        "bundled",
        "addresses",
        "cache",
        "command_line",
        "console",
        "errors",
        "files",
        "foreign_options",
        "format",
        "help_page",
        "kernels",
        "options",
        "packages",
        "places",
        "sigbus",
        "sizes",
        "user_function",
    },
    "train": {"argument_lists", "option_parser", "options", "panels", "recipes"},
}
# Stages that do not see each other although one stands before the other.
STRANGERS = {("preprocess", "write", "encode")}
# Names that mean the same wherever they stand.
SAME_MEANING = {
    "__init__",
    "__main__",
    "cli",
    "options",
    "panels",
    "sentences",
    "whitespace",
    "run",
}


def modules() -> dict[str, Path]:
    """Every module of both packages by its dotted name; a package by its own."""
    found = {}
    for package in STAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(tree: ast.AST, at_import: bool = False) -> Iterator[str]:
    """Our modules that a source imports; only those that importing it runs, if `at_import`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in MODULES or node.module in MODULES:
                    yield full if full in MODULES else node.module
        if not (at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from imports(node, at_import)


def imported(name: str) -> set[str]:
    return set(imports(ast.parse(MODULES[name].read_text(encoding="utf-8"))))


def stage(name: str) -> str | None:
    """The stage that a module is of; None for one that stands beside the stages."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in STAGES[parts[0]] else None


def fault(importer: str, module: str) -> str | None:
    """What is wrong with an import, or None."""
    package, other = importer.split(".")[0], module.split(".")[0]
    if package == "preprocess" and other == "train":
        return "preprocess never imports train"
    if package != other or stage(importer) is None:
        inside = module.split(".")[1] if "." in module else ""
        if importer.count(".") and importer.split(".")[1] in BASE[package]:
            return None if inside in BASE[other] else "a base module imports base modules alone"
        return None
    here, there = stage(importer), stage(module)
    if there is None:
        base = module.split(".")[1] if "." in module else ""
        return None if base in BASE[package] else f"{here} imports what stands on top of it"
    order = STAGES[package]
    if order.index(there) > order.index(here) or (package, here, there) in STRANGERS:
        return f"{here} never imports {there}"
    return None


@pytest.mark.parametrize("importer", MODULES)
def test_imports_go_one_way(importer):
    faults = {module: fault(importer, module) for module in imported(importer)}
    assert not {module: why for module, why in faults.items() if why}


def test_there_is_no_cycle():
    graph = {name: imported(name) - {name} for name in MODULES}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


def test_a_name_means_one_thing():
    places: dict[str, list[str]] = {}
    for name in MODULES:
        places.setdefault(name.split(".")[-1], []).append(name)
    twice = {k: v for k, v in places.items() if len(v) > 1 and k not in SAME_MEANING}
    assert not twice


def test_every_stage_has_its_folder():
    for package, stages in STAGES.items():
        folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert folders == set(stages)


@pytest.mark.parametrize(
    ("importer", "module"),
    [
        ("preprocess.read.lines", "train.data.bits"),
        ("preprocess.read.sources", "preprocess.encode.audit"),
        ("preprocess.write.rows", "preprocess.encode.protocol"),
        ("preprocess.clean.cleaner", "preprocess.encode.audit"),
        ("preprocess.errors", "preprocess.read.lines"),
        ("train.options", "train.compare_cli"),
        ("preprocess.run.tasks", "preprocess.cli"),
        ("train.data.loader", "train.model.load"),
        ("train.engine.health", "train.run.run"),
        ("train.report.log", "train.pretrain"),
    ],
)
def test_a_planted_import_is_found(importer, module):
    assert fault(importer, module)


def test_tests_mirror_the_stages():
    for package, stages in STAGES.items():
        for name in stages:
            assert (ROOT / "tests" / package / name).is_dir(), (package, name)


def test_no_stage_is_a_folder_that_tools_leave_out():
    """Ruff, pytest and .gitignore pass over such names in silence."""
    left_out = {"build", "dist", "venv", "node_modules", "site-packages", "_build", "buck-out"}
    names = set(itertools.chain(*STAGES.values()))
    assert not names & left_out
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert not {f"{name}/" for name in names} & set(ignored)
