"""Metrics files and curves."""

import errno
import json
import sys
import threading
import time
import types

import pytest

from preprocess.errors import WholewordError
from train.report.curves import draw_curves
from train.report.log import METRICS, MetricsLog, read_metrics


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


def test_what_is_no_number_is_null(tmp_path):
    log = MetricsLog(tmp_path, 0, "none", {})
    log.write(1, "train", {"loss": float("nan"), "gradient_norm": float("inf"), "accuracy": 0.5})
    log.close()
    text = (tmp_path / METRICS).read_text()
    assert json.loads(text, parse_constant=pytest.fail)["accuracy"] == 0.5
    assert text.count("null") == 2
    assert draw_curves(tmp_path, "bert-tiny").stat().st_size > 1000


def test_curves_are_drawn_from_whatever_is_there(tmp_path):
    records = [{"step": 1, "kind": "train", "loss": 2.0, "tokens_per_second": 5}]
    (tmp_path / METRICS).write_text("".join(json.dumps(r) + "\n" for r in records))
    assert draw_curves(tmp_path, "bert-tiny").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("report_to", ["none", "tensorboard"])
def test_tensorboard_is_written_where_it_is_wanted(tmp_path, report_to):
    log = MetricsLog(tmp_path, 0, report_to, {})
    log.write(1, "train", {"loss": 1.0})
    log.close()
    assert len(read_metrics(tmp_path / METRICS)) == 1
    assert (tmp_path / "tensorboard").exists() == (report_to == "tensorboard")


class Wandb(types.ModuleType):
    """What the trainer uses of Weights & Biases."""

    class Error(Exception):
        pass

    def __init__(self, refusal):
        super().__init__("wandb")
        self.refusal, self.logged = refusal, []

    def init(self, **about):
        if self.refusal:
            raise self.Error(self.refusal)
        return self

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self):
        self.logged.append("finished")


def test_weights_and_biases_gets_everything(tmp_path, monkeypatch):
    wandb = Wandb(None)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    log = MetricsLog(tmp_path, 0, "wandb", {})
    log.write(3, "train", {"loss": 1.0})
    log.close()
    assert wandb.logged == [(3, {"train/loss": 1.0}), "finished"]


def test_weights_and_biases_without_a_key_or_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", Wandb("No API key configured.\nmore"))
    with pytest.raises(WholewordError, match=r"started \(No API key configured\.\); run `wandb"):
        MetricsLog(tmp_path, 0, "wandb", {})
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(WholewordError, match=r"not installed; pip install wandb$"):
        MetricsLog(tmp_path, 0, "wandb", {})


def test_a_full_disk_is_one_line_though_tensorboard_writes_on_a_thread(
    tmp_path, monkeypatch, capsys
):
    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    said = []
    monkeypatch.setattr(threading, "excepthook", lambda args: said.append(args.exc_value))
    log = MetricsLog(tmp_path, 0, "tensorboard", {})
    record_writer = log._board._get_file_writer().event_writer._async_writer._writer
    monkeypatch.setattr(record_writer, "write", no_room)
    with pytest.raises(WholewordError, match=r"cannot be written \(No space .*; make room"):
        for step in range(1000):
            log.write(step, "train", {"loss": 1.0})
            time.sleep(0.001)
    other = threading.Thread(target=no_room)
    other.start()
    other.join()
    assert len(said) == 1, "other threads are heard"


def test_the_curves_say_what_they_show(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    validation = {"loss": 6.0, "accuracy": 0.25, "word_accuracy": 0.2}
    validation |= {"unigram_loss": 5.9, "commonest_share": 0.08}
    records = [
        {"step": 1, "kind": "validation", **validation},
        {"step": 1, "kind": "train", "loss": 2.0, "accuracy": 0.5, "learning_rate": 1e-3,
         "tokens_per_second": 5},
    ]  # fmt: skip
    (tmp_path / METRICS).write_text("".join(json.dumps(r) + "\n" for r in records))
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *a, **k: (drawn.append(figure), save(figure, *a, **k))
    )
    draw_curves(tmp_path, "bert-tiny")
    (figure,) = drawn
    assert figure.get_suptitle() == f"{tmp_path}, bert-tiny"
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["loss (nats)", "masked accuracy (%)", "learning rate", "tokens per second"]
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[1].lines}
    assert list(lines["training"]) == [50.0]
    assert list(lines["validation, whole words"]) == [20.0]
    assert list(lines["token frequencies alone (no model)"]) == [8.0, 8.0]
    spell = figure.axes[2].yaxis.get_major_formatter()
    assert [spell(rate) for rate in (0.0, 1e-3, 1.75e-3, 2e-5)] == ["0", "1e-3", "1.75e-3", "2e-5"]
    assert figure.legends and not any(axes.get_legend() for axes in figure.axes)
