"""Checkpoints on disk, with an engine that only writes files."""

import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preprocess.errors import WholewordError
from train import checkpoint
from train.checkpoint import Progress
from train.ranks import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))


class Engine:
    """Writes what DeepSpeed would, or fails as a full disk makes it."""

    def __init__(self, full: bool = False) -> None:
        self.full = full

    def save_checkpoint(self, folder, tag, save_latest):
        from pathlib import Path

        state = Path(folder) / tag
        state.mkdir(parents=True)
        (state / "weights.pt").write_bytes(bytes(range(200)))
        if self.full:
            raise OSError(28, "No space left on device")
        (state / "optimizer.pt").write_bytes(b"optimizer" * 50)


def progress(step):
    return Progress(
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


def save(folder, step, keep=0, engine=None):
    return checkpoint.save(engine or Engine(), folder, progress(step), keep, ALONE)


def test_the_newest_is_found_and_the_oldest_deleted(tmp_path):
    for step in (1, 2, 10, 300):
        save(tmp_path, step, keep=2)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [
        "step-00000300",
        "step-00000010",
    ]
    newest, skipped = checkpoint.newest_whole(tmp_path)
    assert newest.name == "step-00000300" and skipped == []
    assert checkpoint.read_progress(newest) == progress(300)
    assert {path.name for path in tmp_path.iterdir()} == {"step-00000300", "step-00000010"}


def test_a_full_disk_keeps_the_one_before(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(WholewordError, match="No space left"):
        save(tmp_path, 2, engine=Engine(full=True))
    newest, skipped = checkpoint.newest_whole(tmp_path)
    assert newest.name == "step-00000001" and skipped == []
    save(tmp_path, 2)
    assert not list(tmp_path.glob(".*"))


FILES = ["manifest.json", "progress.json", "state/weights.pt", "state/optimizer.pt"]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(FILES), st.sampled_from(["flip", "cut", "delete", "swap"]), st.data())
def test_damage_anywhere_is_noticed(tmp_path, name, kind, data):
    shutil.rmtree(tmp_path)
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    file = newest / name
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if kind == "flip":
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
    elif kind == "cut":
        file.write_bytes(content[:place])
    elif kind == "delete":
        file.unlink()
    else:
        other = newest / data.draw(st.sampled_from([f for f in FILES if f != name]))
        file.write_bytes(other.read_bytes())
    found, skipped = checkpoint.newest_whole(tmp_path)
    if found == newest:  # white space or a spelling of the manifest that means the same
        assert name == "manifest.json" and kind == "flip"
        return
    assert found.name == "step-00000001"
    assert len(skipped) == 1 and str(newest) in skipped[0] and "skipped" in skipped[0]


def test_a_manifest_cannot_point_outside(tmp_path):
    newest = save(tmp_path, 1)
    manifest = newest / "manifest.json"
    manifest.write_text(manifest.read_text().replace("state/weights.pt", "../../weights.pt"))
    assert "outside" in checkpoint.find_damage(newest)
