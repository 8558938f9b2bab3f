"""Metrics files and curves."""

import json

from train.metrics import METRICS, MetricsLog, draw_curves, read_metrics


def test_a_run_that_continues_drops_what_came_after_its_checkpoint(tmp_path):
    log = MetricsLog(tmp_path, 0, "none", {})
    for step in (1, 2, 3):
        log.write(step, "train", {"loss": 1.0 / step})
    log.close()
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 4, "kind": "tr')  # torn by a crash
    log = MetricsLog(tmp_path, 2, "none", {})
    log.write(3, "train", {"loss": 7.0})
    log.close()
    assert [(r["step"], r["loss"]) for r in read_metrics(tmp_path / METRICS)] == [
        (1, 1.0),
        (2, 0.5),
        (3, 7.0),
    ]
    MetricsLog(tmp_path, 0, "none", {}).close()
    assert read_metrics(tmp_path / METRICS) == []


def test_curves_are_drawn_from_whatever_is_there(tmp_path):
    records = [{"step": 1, "kind": "train", "loss": 2.0, "tokens_per_second": 5}]
    (tmp_path / METRICS).write_text("".join(json.dumps(r) + "\n" for r in records))
    assert draw_curves(tmp_path).read_bytes().startswith(b"\x89PNG")
