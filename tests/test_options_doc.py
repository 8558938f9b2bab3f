"""The command line, frozen: docs/options.md is what the code says."""

import pytest

from scripts import make_options


def test_the_command_line_is_as_documented():
    written = make_options.PAGE.read_text(encoding="utf-8").splitlines()
    made = make_options.page().splitlines()
    changed = [f"- {line}" for line in written if line not in made]
    changed += [f"+ {line}" for line in made if line not in written]
    if changed or written != made:
        pytest.fail("\n".join([make_options.STALE, *changed]), pytrace=False)


def test_the_page_does_not_depend_on_the_machine():
    found = {
        spelling: entry
        for section in make_options.sections()
        for entry in section.entries
        for spelling in entry.flags
    }
    assert found["--workers"].default == "one a processor"
    assert str(make_options.ROOT) not in make_options.page()


def test_check_says_in_one_line_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(make_options, "PAGE", make_options.ROOT / "docs" / "no-such-page.md")
    monkeypatch.setattr("sys.argv", ["make_options.py", "--check"])
    assert make_options.main() == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "python scripts/make_options.py" in errors
