"""Tasks on a real Ray cluster of two nodes; without Ray, what is said instead."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from preprocess.errors import WholewordError
from preprocess.run import ray_engine
from preprocess.run.build import run_build
from preprocess.run.engines import WorkerFailed
from preprocess.run.events import TaskProgress
from preprocess.run.plan import plan_build
from preprocess.run.state import finished_tasks
from preprocess.write.manifest import Manifest
from tests.preprocess import support

needs_ray = pytest.mark.ray
Built = tuple[Path, Manifest]
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


def test_without_ray_one_line_says_what_to_install(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WholewordError, match=r"pip install 'wholeword\[ray\]'"):
        support.build(tmp_path / "out", corpus, engine="ray")
    with pytest.raises(WholewordError, match=r"^--ray-address here:1: give --engine ray with it"):
        support.options(tmp_path / "out", corpus, ray_address="here:1").check()
    with pytest.raises(WholewordError, match=r"^--engine spark: use local, ray"):
        support.options(tmp_path / "out", corpus, engine="spark").check()
    with pytest.raises(WholewordError, match=r"^--engine ray: writes to disks that its nodes see"):
        replace(support.options(tmp_path, corpus, engine="ray"), output="memory://out").check()


def test_what_a_lost_task_reported_is_taken_back() -> None:
    running = ray_engine._Running(None, None)
    for event in (TaskProgress(5, 2, {"documents_audited": 1}), TaskProgress(7, 3), "report"):
        running.add(event)
    assert running.undone() == TaskProgress(-12, -5, {"documents_audited": -1})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one processor each."""
    pytest.importorskip("ray", reason="ray is not installed; scripts/check_ray.sh installs it")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    made.add_node(**NODE)
    yield made
    made.shutdown()


@pytest.fixture
def on_ray(cluster: Any) -> dict[str, Any]:
    return {"engine": "ray", "ray_address": cluster.address, "workers": None}


@needs_ray
def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path, corpus: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed; scripts/check_ray.sh installs it")
    for address in ("127.0.0.1:1", "no-such-host.invalid:6379", "127.0.0.1:x", "ray://head:10001"):
        begin = time.monotonic()
        with pytest.raises(WholewordError, match=f"^--ray-address {address}: "):
            support.build(tmp_path / "out", corpus, engine="ray", ray_address=address)
        assert time.monotonic() - begin < 60


@needs_ray
def test_a_build_on_ray_is_the_same_though_a_node_is_lost(
    built: Built, tmp_path: Path, corpus: Path, cluster: Any, on_ray: dict[str, Any]
) -> None:
    output = tmp_path / "out"
    plan = plan_build(support.options(output, corpus, **on_ray))
    lost = None
    read = 0
    for event in run_build(plan):
        read += event.bytes if isinstance(event, TaskProgress) else 0
        if lost is None and finished_tasks(output):
            (lost,) = cluster.worker_nodes
            cluster.remove_node(lost, allow_graceful=False)
            cluster.add_node(wait=False, **NODE)
    assert isinstance(event, Manifest) and lost is not None
    assert read == plan.bytes
    assert support.digests(output) == support.digests(built[0])
    assert not list((output / ".build").glob("seen-*"))


@needs_ray
def test_what_tasks_raise_arrives_as_it_was(
    tmp_path: Path, on_ray: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n{broken\n')
    with pytest.raises(WholewordError, match=r"in.jsonl:2: not a JSON object"):
        support.build(tmp_path / "out", tmp_path / "in.jsonl", **on_ray)
    (tmp_path / ".build").mkdir()
    with ray_engine.open_cluster(on_ray["ray_address"], tmp_path, 1) as run:
        with pytest.raises(WorkerFailed, match="ZeroDivisionError"):
            list(run(lambda: lambda task: [1 // task], [0]))
        monkeypatch.setattr(Path, "write_text", lambda self, _: self.write_bytes(b"another disk"))
        with pytest.raises(WholewordError, match=r"does not see the output .*; name a folder"):
            list(run(lambda: lambda task: [], [0]))


@needs_ray
def test_a_full_cluster_and_ctrl_c(
    tmp_path: Path, corpus: Path, on_ray: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command holds both processors; another finds no room; Ctrl-C frees them."""
    script = tmp_path / "holds.py"
    script.write_text(HOLDS)
    with subprocess.Popen(
        [sys.executable, str(script), on_ray["ray_address"], str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(support.REPOSITORY)},
    ) as holder:
        assert holder.stdout is not None
        assert [holder.stdout.readline() for _ in range(2)] == ["held\n"] * 2
        monkeypatch.setattr(ray_engine, "ROOM_SECONDS", 3)
        with pytest.raises(WholewordError, match=r"no free processor \(of 2, all are in use\)"):
            support.build(tmp_path / "out", corpus, **on_ray)
        holder.send_signal(signal.SIGINT)
        assert holder.wait(60) == 130
    (tmp_path / "one.txt").write_text("one\ntwo\n")
    support.build(tmp_path / "out", tmp_path / "one.txt", **on_ray)


HOLDS = """
import sys, time
from pathlib import Path
from preprocess.console import run_command
from preprocess.run.ray_engine import open_cluster
def make():
    return run
def run(number):
    yield "held"
    time.sleep(600)
def main():
    (Path(sys.argv[2]) / ".build").mkdir(exist_ok=True)
    with open_cluster(sys.argv[1], Path(sys.argv[2]), None) as run_tasks:
        for event in run_tasks(make, [0, 1]):
            print(event, flush=True)
if __name__ == "__main__":
    run_command(main)
"""
