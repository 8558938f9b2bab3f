"""The wheel: one top-level name, what the defaults need, and nobody's `train` hidden."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from preprocess.bundled import ROOT, as_called, bundled

COPIED = ("preprocess", "train", "wholeword", "ds_configs", "samples")
RUN = "import sys; from wholeword.__main__ import main; sys.argv[0] = 'wholeword'; main()"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in COPIED:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    subprocess.run(
        [sys.executable, "-c", build], cwd=source, check=True, capture_output=True, text=True
    )
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A person's own folder, with packages called as ours are."""
    (tmp_path / "train.py").write_text("OWN = True\n")
    (tmp_path / "preprocess").mkdir()
    (tmp_path / "preprocess" / "__init__.py").write_text("OWN = True\n")
    return tmp_path


def python(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_it_has_one_name_and_what_the_defaults_need(site):
    names = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"wholeword"}
    inside = site / "wholeword" / "inside"
    for folder in ("ds_configs", "samples/zh", "samples/en", "samples/tokenizer"):
        wanted = sorted(p.name for p in (ROOT / folder).iterdir() if p.is_file())
        assert sorted(p.name for p in (inside / folder).iterdir()) == wanted
    for package in ("preprocess", "train"):
        ours = {p.relative_to(ROOT) for p in (ROOT / package).rglob("*.py")}
        assert {p.relative_to(inside) for p in (inside / package).rglob("*.py")} == ours
    assert "wholeword = wholeword.__main__:main" in next(
        site.glob("*.dist-info/entry_points.txt")
    ).read_text(encoding="utf-8")


def test_the_command_is_ours_and_the_projects_modules_stay_the_projects(site, project):
    done = python(site, project, "-P", "-c", RUN, "train", "--model_name_or_path", "x")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (  # before it, this checkout's own name may be hidden
        "error: command line: --model_name_or_path: here it is --model; see --help"
    )
    assert str(project) not in done.stderr
    own = python(site, project, "-c", "import train, preprocess; print(train.OWN, preprocess.OWN)")
    assert own.stdout == "True True\n", own.stderr


def test_use_says_what_it_hides(site, project):
    program = "import wholeword; wholeword.use(); import train; print(train.__file__)"
    done = python(site, project, "-c", program)
    assert done.stdout.strip() == str(site / "wholeword" / "inside" / "train" / "__init__.py")
    assert done.stderr.count("\n") == 2
    assert f"`train` is wholeword's own, and hides {project}/train.py" in done.stderr
    late = python(site, project, "-c", "import train, wholeword; wholeword.use()")
    assert late.returncode == 1 and "is imported as `train`; call wholeword.use()" in late.stderr


def test_messages_name_commands_as_they_are_called():
    text = "next: deepspeed train/pretrain.py --data x; `python -m preprocess preview`; python -m"
    assert as_called(text, installed=False) == text
    assert as_called(text, installed=True) == (
        "next: wholeword train --data x; `wholeword preview-words`; python -m"
    )
    assert as_called("python -m train compare --task x", True) == "wholeword compare --task x"
    assert as_called("python /a/b/train/pretrain.py", True) == "python /a/b/train/pretrain.py"


def test_samples_are_found_unless_the_folder_has_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bundled("samples/zh") == str(ROOT / "samples" / "zh")
    assert bundled("samples/none") == "samples/none" and bundled("corpus") == "corpus"
    (tmp_path / "samples" / "zh").mkdir(parents=True)
    assert bundled("samples/zh") == "samples/zh"
