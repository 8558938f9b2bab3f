"""Checkpoints on disk, with an engine that only writes files."""

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preprocess.errors import WholewordError
from train.engine import checkpoint
from train.engine.checkpoint import RunProgress, Saver
from train.engine.process_group import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))
FILES = ["manifest.json", "progress.json", "state/weights.pt", "state/optimizer.pt"]


class Engine:
    """Writes what DeepSpeed would, or fails as a full disk makes it, by a call that it names."""

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at = fails_at
        self.steps = 0
        self.checkpoint_engine = self

    def save(self, state, path):
        if self.fails_at == "save":
            raise RuntimeError(
                "[enforce fail at inline_container.cc:672] . No space left on device"
            )
        path.write_bytes(state)

    def save_checkpoint(self, folder, tag, save_latest):
        self.steps += 1
        state = Path(folder) / tag
        state.mkdir(parents=True)
        self.checkpoint_engine.save(bytes(range(200)) + bytes([self.steps]), state / "weights.pt")
        if self.fails_at == "save_checkpoint":
            raise OSError(28, "No space left on device")
        if self.fails_at == "barrier":
            raise RuntimeError("Connection closed by peer")
        self.checkpoint_engine.save(b"optimizer" * 50 + bytes([self.steps]), state / "optimizer.pt")


def progress(step):
    return RunProgress(
        step=step,
        epoch=0,
        cursor={"epoch": 0, "window": 0, "pack": step},
        best_loss=None,
        evaluations_since_best=0,
        world_size=2,
        stage=2,
        precision="fp32",
        settings={"seed": 1},
    )


def save(folder, *steps, keep=0, engine=None):
    engine = engine or Engine()
    with Saver(folder, keep, ALONE) as saver:
        for step in steps:
            saver.save(engine, progress(step))
        saver.wait()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_is_found_and_the_oldest_deleted(tmp_path):
    save(tmp_path, 1, 2, 10, 300, keep=2)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [
        "step-00000300",
        "step-00000010",
    ]
    newest, skipped = checkpoint.newest_whole(tmp_path)
    assert newest.name == "step-00000300" and skipped == []
    assert checkpoint.read_progress(newest) == progress(300)
    assert names(tmp_path) == ["step-00000010", "step-00000300"]


def test_what_was_just_written_is_not_deleted_for_a_newer_damaged_one(tmp_path):
    save(tmp_path, 5, 9)
    (tmp_path / "step-00000009" / "progress.json").unlink()
    save(tmp_path, 6, 7, keep=1)
    assert names(tmp_path) == ["step-00000007", "step-00000009"]
    assert checkpoint.newest_whole(tmp_path)[0].name == "step-00000007"


@pytest.mark.parametrize("call", ["save", "save_checkpoint"])
def test_a_full_disk_keeps_the_one_before(tmp_path, call):
    save(tmp_path, 1)
    with pytest.raises(WholewordError, match="No space left"):
        save(tmp_path, 2, engine=Engine(call))
    newest, skipped = checkpoint.newest_whole(tmp_path)
    assert newest.name == "step-00000001" and skipped == []
    save(tmp_path, 2)
    assert not list(tmp_path.glob(".*"))


def test_a_rank_that_is_gone_is_no_full_disk(tmp_path):
    with pytest.raises(RuntimeError, match="Connection closed"):
        save(tmp_path, 1, engine=Engine("barrier"))


@pytest.fixture
def gate(monkeypatch):
    """Holds the thread back, between what all ranks wrote and the rename, until it is set."""
    opened = threading.Event()
    finish = checkpoint._write_manifest

    def wait_and_finish(folder):
        assert opened.wait(10)
        finish(folder)

    monkeypatch.setattr(checkpoint, "_write_manifest", wait_and_finish)
    return opened


def test_training_goes_on_while_a_checkpoint_is_finished(tmp_path, gate):
    engine = Engine()
    with Saver(tmp_path, 0, ALONE) as saver:
        saver.save(engine, progress(1))
        assert checkpoint.newest_whole(tmp_path) == (None, [])
        assert names(tmp_path) == [".writing-step-00000001"]
        threading.Timer(0.2, gate.set).start()
        saver.save(engine, progress(2))  # waits for the one before: never two under way
        assert (tmp_path / "step-00000001").exists()
    assert names(tmp_path) == ["step-00000001", "step-00000002"]  # the end waits as well
    assert checkpoint.newest_whole(tmp_path)[1] == []


def test_an_exception_on_the_loop_does_not_lose_the_checkpoint(tmp_path, gate):
    with pytest.raises(KeyError), Saver(tmp_path, 0, ALONE) as saver:
        saver.save(Engine(), progress(1))
        threading.Timer(0.2, gate.set).start()
        raise KeyError
    assert checkpoint.newest_whole(tmp_path)[0].name == "step-00000001"


@pytest.mark.parametrize("call", ["wait", "save"])
def test_a_disk_that_is_full_later_is_heard_of_at_the_next_call(tmp_path, monkeypatch, call):
    save(tmp_path, 1)
    failing = threading.Event()

    def fill(folder):
        assert failing.wait(10)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write_manifest", fill)
    saver = Saver(tmp_path, 1, ALONE)
    saver.save(Engine(), progress(2))
    assert not saver.failed
    failing.set()
    with pytest.raises(WholewordError, match="No space left") as caught, saver:
        saver.save(Engine(), progress(3)) if call == "save" else saver.wait()
    assert "\n" not in str(caught.value) and "step-00000002" in str(caught.value)
    assert not saver.failed
    assert checkpoint.newest_whole(tmp_path)[0].name == "step-00000001"


def damage(newest, kind, name, data):
    """Do something to a file of a checkpoint; returns whether its meaning may be the same."""
    file = newest / name
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if kind == "flip":
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
        return name == "manifest.json"  # white space, for one
    if kind == "cut":
        file.write_bytes(content[:place])
    elif kind == "grow":
        file.write_bytes(content + content[: place + 1])
        return not content[: place + 1].strip()
    elif kind == "delete":
        file.unlink()
    elif kind == "folder":
        file.unlink()
        file.mkdir()
    elif kind == "older":  # the same file of the checkpoint before, of the same size
        file.write_bytes((newest.parent / "step-00000001" / name).read_bytes())
    else:
        other = newest / data.draw(st.sampled_from([f for f in FILES if f != name]))
        file.write_bytes(other.read_bytes())
        if kind == "swap":
            other.write_bytes(content)
    return False


KINDS = ["flip", "cut", "grow", "delete", "folder", "older", "copy", "swap"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save(folder, 1, 2)
    return folder


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KINDS), st.sampled_from(FILES), st.data())
def test_damage_anywhere_is_noticed(tmp_path, saved, kind, name, data):
    shutil.rmtree(tmp_path)
    shutil.copytree(saved, tmp_path)
    newest = tmp_path / "step-00000002"
    may_be_the_same = damage(newest, kind, name, data)
    found, skipped = checkpoint.newest_whole(tmp_path)
    if found == newest:
        assert may_be_the_same
        return
    assert found.name == "step-00000001"
    assert len(skipped) == 1 and skipped[0].startswith(f"{newest}: skipped, ")
    assert "\n" not in skipped[0]


def test_other_things_in_the_folder(tmp_path):
    save(tmp_path, 1, 2)
    (tmp_path / "step-00000003").mkdir()
    (tmp_path / "step-00000004").write_text("no folder")
    (tmp_path / "step-00000005").symlink_to("nowhere")
    shutil.copytree(tmp_path / "step-00000002", tmp_path / "step-00000006")
    (tmp_path / "step-00000006" / "state" / "mp_rank_01_model_states.pt").write_text("unknown")
    (tmp_path / "step-00000002" / "state" / ".DS_Store").write_text("harmless")
    found, skipped = checkpoint.newest_whole(tmp_path)
    assert found.name == "step-00000002"
    assert [line.split(": skipped, ")[1] for line in skipped] == [
        "state/mp_rank_01_model_states.pt is not in the manifest",
        *["manifest.json is missing or damaged"] * 3,
    ]


def test_a_file_that_cannot_be_read_is_damage(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def fail(file):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkpoint, "_digest", fail)
    damage = checkpoint.find_damage(tmp_path / "step-00000001")
    assert damage == "progress.json cannot be read (Input/output error)"


@pytest.mark.parametrize(
    ("cursor", "possible"),
    [
        ((3, 5, 70), True),  # of the last step's own epoch: any place
        ((4, 0, 3), True),  # that step's other packs began the next one
        ((4, 0, 4), False),
        ((4, 1, 2), True),  # a window of one pack lies between
        ((4, 1, 3), False),
        ((6, 0, 1), True),  # epochs of one pack each
        ((6, 0, 2), False),
        ((2, 0, 0), False),
    ],
)
def test_a_cursor_of_another_epoch_than_the_last_step_is_damage(tmp_path, cursor, possible):
    named = dict(zip(("epoch", "window", "pack"), cursor, strict=True))
    settings = {"global_batch_size": 32, "per_device_train_batch_size": 8}
    update = {"epoch": 3, "cursor": named, "settings": settings}
    with Saver(tmp_path, 0, ALONE) as saver:
        saver.save(Engine(), progress(1).model_copy(update=update))
    damage = checkpoint.find_damage(tmp_path / "step-00000001")
    assert damage == (None if possible else "progress.json is damaged")


def test_a_manifest_cannot_point_outside(tmp_path):
    save(tmp_path, 1)
    newest = tmp_path / "step-00000001"
    manifest = newest / "manifest.json"
    manifest.write_text(manifest.read_text().replace("state/weights.pt", "../../weights.pt"))
    assert "outside" in checkpoint.find_damage(newest)


def test_only_a_failed_write_is_a_full_disk():
    with (
        pytest.raises(RuntimeError, match="exp_avg"),
        checkpoint.room_for("x", "try again", *checkpoint.FULL_DISK),
    ):
        raise RuntimeError("no exp_avg in the state")
    with (
        pytest.raises(WholewordError, match="make room"),
        checkpoint.room_for("x", "try again", *checkpoint.FULL_DISK),
    ):
        torch.save({"weights": torch.zeros(1 << 20)}, "/dev/full")


@pytest.mark.parametrize("number", ["ENOENT", "EACCES", "EROFS"])
def test_another_error_than_a_full_disk_has_another_remedy(number):
    number = getattr(errno, number)
    with (
        pytest.raises((WholewordError, OSError)) as caught,
        checkpoint.room_for("x", "try again", *checkpoint.FULL_DISK),
    ):
        raise OSError(number, os.strerror(number))
    assert "make room" not in str(caught.value)
