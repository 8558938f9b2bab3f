"""What the benchmark of training needs, before it works for minutes."""

import importlib.util

import pytest

from scripts import benchmark_training


def test_without_accelerate_the_trainer_is_refused_at_once(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "accelerate" else found(name)
    )
    monkeypatch.setattr("sys.argv", ["benchmark_training.py"])
    with pytest.raises(SystemExit) as end:
        benchmark_training.parse()
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install accelerate" in said
    monkeypatch.setattr("sys.argv", ["benchmark_training.py", "--peers"])
    assert benchmark_training.parse().peers == []
