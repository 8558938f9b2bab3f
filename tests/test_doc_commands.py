"""The commands that the documentation shows: found, and each with a rule of what becomes of it."""

import re

import pytest

from scripts.doc_commands import ROOT, Command, Rule, commands, commands_of, rule_for, rules

PAGE = """
Text, and `python -m preprocess inline`.

    python -m preprocess build-shards --input "a b" \\
        --output shards      # a comment; it's here
    from transformers import pipeline
    $ deepspeed train/pretrain.py   --max-steps 1

```bash
# only a comment
OMP_NUM_THREADS=1 python train/pretrain.py --data '#1'
```

- a list
  with python in it
"""


def test_commands_are_found():
    assert list(commands_of(PAGE)) == [
        (4, 'python -m preprocess build-shards --input "a b" --output shards'),
        (7, "deepspeed train/pretrain.py --max-steps 1"),
        (11, "OMP_NUM_THREADS=1 python train/pretrain.py --data '#1'"),
    ]


def test_the_first_rule_that_fits_decides():
    known = [Rule("needs", "python *--hub*", "the hub"), Rule("run", "python *", "--quick")]
    assert rule_for(Command("a.md", 1, "python x --hub"), known) is known[0]
    assert rule_for(Command("a.md", 1, "python x"), known) is known[1]
    assert rule_for(Command("a.md", 1, "ruby x"), known) is None


@pytest.mark.parametrize("line", ["walk python x :: y", "needs python x", "needs  :: why", "run"])
def test_what_is_no_rule(tmp_path, line):
    (tmp_path / "rules.txt").write_text(f"# a comment\n\n{line}\n")
    with pytest.raises(ValueError, match=r"rules\.txt:3: not a rule"):
        rules(tmp_path / "rules.txt")


def test_every_command_has_a_rule():
    known = rules()
    found = commands()
    assert len(found) > 40
    lacking = [f"{c.page}:{c.line}: {c.text}" for c in found if rule_for(c, known) is None]
    if lacking:
        pytest.fail(
            "\n".join(["add a rule to scripts/doc_commands.txt for", *lacking]), pytrace=False
        )


def test_tests_that_rules_name_exist():
    named = [path for rule in rules() for path in re.findall(r"tests/[\w/]+\.py", rule.rest)]
    assert named and not [path for path in named if not (ROOT / path).is_file()]
