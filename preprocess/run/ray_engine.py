"""Where tasks run: in actors over the processors of a Ray cluster.

The nodes see the output and the input under the same paths as this machine. The project's code
travels with the job, except to nodes that see the very same sources under the same path: there
they are used in place, because compiled kernels are kept by where their source lies.
"""

import contextlib
import logging
import os
import pickle
import secrets
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import xxhash

from preprocess.console import warn
from preprocess.errors import WholewordError
from preprocess.run.engines import RunTasks, WorkerFailed
from preprocess.run.events import TaskProgress
from preprocess.run.state import STATE

ROOT = Path(__file__).resolve().parents[2]
ATTEMPTS = 3
"""How often a task may be begun whose worker dies."""
ROOM_SECONDS = 30
"""How long a cluster without a free processor may stay so."""
START_SECONDS = 300
"""How long nothing at all may happen at the start: code is sent, libraries are imported."""
CONNECT_SECONDS = 5


@contextmanager
def open_cluster(address: str, output: Path, workers: int | None) -> Iterator[RunTasks]:
    """Join a cluster; what runs tasks on it, until the context ends.

    Args:
        address: `HOST:PORT`, or `auto`.
        output: the dataset's folder, which every node must see.
        workers: processors to take; None: all.

    Raises:
        WholewordError: Ray is not installed, or the cluster cannot be joined.
    """
    ray = _load_ray()
    _connect(ray, address)
    try:
        yield partial(_run_tasks, ray, workers, output.absolute() / STATE / "seen-by-nodes")
    finally:
        ray.shutdown()


def _load_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise WholewordError(
            "--engine ray: needs Ray; run `pip install 'wholeword[ray]'`, or `pip install ray`, in "
            "the version of the cluster"
        ) from error
    return ray


def _connect(ray: Any, address: str) -> None:
    given = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if "://" in given:
        raise WholewordError(
            f"--ray-address {given}: give HOST:PORT of the cluster's head, on a machine of the "
            "cluster (a Ray client's address cannot stream events)"
        )
    host, _, port = given.rpartition(":")
    try:
        if host:
            with socket.create_connection((host, int(port)), CONNECT_SECONDS):
                pass
        ray.init(
            address=given,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={
                "py_modules": [str(ROOT / "preprocess")],
                "excludes": ["__pycache__"],
            },
        )
    except (OSError, ValueError, RuntimeError, OverflowError, ray.exceptions.RayError) as error:
        cause = " ".join(str(error).split())
        raise WholewordError(
            f"--ray-address {address}: no Ray cluster can be joined there ({cause}); start one "
            "with `ray start --head`, or name HOST:PORT of its head"
        ) from error


@dataclass
class _Running:
    """A task on an actor, and what it reported."""

    actor: Any
    task: Any
    bytes: int = 0
    tokens: int = 0
    audit: Counter[str] = field(default_factory=Counter)

    def add(self, event: Any) -> None:
        """Remember what would have to be taken back."""
        if isinstance(event, TaskProgress):
            self.bytes += event.bytes
            self.tokens += event.tokens
            self.audit.update(event.audit)

    def undone(self) -> TaskProgress:
        """Progress that takes back what was reported."""
        audit = {what: -count for what, count in self.audit.items()}
        return TaskProgress(-self.bytes, -self.tokens, audit)


def _run_tasks(
    ray: Any,
    workers: int | None,
    token: Path,
    make_run: Callable[[], Callable[[Any], Iterable[Any]]],
    tasks: list[Any],
    holds_lock: bool = False,  # an actor is a process of its own
) -> Iterator[Any]:
    """Run every task on the cluster; yields what `make_run()(task)` yields.

    Raises:
        WholewordError: as a worker raised it, or because the cluster has no room, its nodes do not
            see the output, or a task's workers die again and again.
        WorkerFailed: a worker raised anything else.
    """
    if not tasks:
        return
    text = secrets.token_hex(8)
    token.write_text(text)
    pool = _Pool(ray, (str(token), text), make_run, tasks)
    try:
        yield from pool.run(min(workers or len(tasks), len(tasks)))
    finally:
        pool.end()
        token.unlink(missing_ok=True)


class _Pool:
    """The actors of one pass over tasks."""

    def __init__(
        self, ray: Any, seen: tuple[str, str], make_run: Callable[[], Any], tasks: list[Any]
    ) -> None:
        self._ray = ray
        self._actor = ray.remote(_actor_class()).options(
            num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD"
        )
        sources = (str(ROOT), _sources_hash(ROOT))
        folder = str(Path.cwd())
        self._arguments = (sources, folder, seen, ray.cloudpickle.dumps(make_run))
        self._waiting = deque(tasks)
        self._begun: Counter[Any] = Counter()
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, _Running] = {}

    def run(self, count: int) -> Iterator[Any]:
        """Run the tasks on so many actors, or on as many as there are processors."""
        processors = int(self._ray.cluster_resources().get("CPU", 0))
        has_room = self._ray.available_resources().get("CPU", 0) >= 1
        for _ in range(min(count, processors)):
            self._start()
        since = time.monotonic()
        while self._waiting or self._running:
            references = [*self._starting, *self._running]
            ready = self._ray.wait(references, timeout=1)[0] if references else []
            if ready or self._running:
                since = time.monotonic()
            else:
                self._check_start(has_room, time.monotonic() - since)
                time.sleep(0 if references else 1)
            for reference in ready:
                if reference in self._starting:
                    self._welcome(reference)
                else:
                    yield from self._receive(reference)

    def end(self) -> None:
        """End all actors, whatever they do."""
        for actor in (*self._starting.values(), *(r.actor for r in self._running.values())):
            with contextlib.suppress(Exception):
                self._ray.kill(actor)

    def _start(self) -> None:
        actor = self._actor.remote(*self._arguments)
        self._starting[actor.problem.remote()] = actor

    def _check_start(self, has_room: bool, seconds: float) -> None:
        """End when nothing starts for too long."""
        if not has_room and seconds > ROOM_SECONDS:
            total = int(self._ray.cluster_resources().get("CPU", 0))
            raise WholewordError(
                f"--engine ray: the cluster has no free processor (of {total}, all are in use); "
                "wait for its other jobs, or add nodes, and run the same command again"
            )
        if seconds > START_SECONDS:
            raise WholewordError(
                f"--engine ray: no worker started in {START_SECONDS} seconds; look at the logs in "
                "/tmp/ray/session_latest/logs on the cluster's nodes"
            )

    def _welcome(self, reference: Any) -> None:
        """Give the first task to an actor that has started."""
        actor = self._starting.pop(reference)
        try:
            problem = self._ray.get(reference)
        except self._ray.exceptions.RuntimeEnvSetupError as error:
            raise WholewordError(
                "--engine ray: the project's code could not be sent to a node "
                f"({str(error).splitlines()[0]}); install it there with `pip install wholeword`"
            ) from error
        except self._ray.exceptions.RayActorError:  # its node was lost while it started
            self._lose(None)
            return
        except self._ray.exceptions.RayTaskError as error:
            raise WorkerFailed(str(error)) from None
        if problem:
            raise WholewordError(f"--engine ray: {problem}")
        self._give(actor)

    def _give(self, actor: Any) -> None:
        if not self._waiting:
            self._ray.kill(actor)
            return
        task = self._waiting.popleft()
        self._begun[task] += 1
        stream = actor.run.options(num_returns="streaming").remote(pickle.dumps(task))
        self._running[stream] = _Running(actor, task)

    def _receive(self, stream: Any) -> Iterator[Any]:
        running = self._running[stream]
        try:
            kind, value = self._ray.get(next(stream))
        except StopIteration:
            del self._running[stream]
            self._give(running.actor)
            return
        except self._ray.exceptions.RayError as error:
            del self._running[stream]
            yield running.undone()
            self._waiting.appendleft(running.task)
            if self._begun[running.task] >= ATTEMPTS:
                raise WholewordError(
                    f"--engine ray: the workers of one task died {ATTEMPTS} times "
                    f"({str(error).splitlines()[0]}), most likely because memory ran out; give "
                    "fewer --workers, or a smaller --split-size (a new build)"
                ) from error
            self._lose(running.actor)
            return
        if kind == "error":
            raise WholewordError(value)
        if kind == "failed":
            raise WorkerFailed(value)
        running.add(value)
        yield value

    def _lose(self, actor: Any) -> None:
        """Go on without an actor: another takes its place, here or where there is room."""
        if actor is not None:
            warn("a worker of the Ray cluster was lost; its task is run again")
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
        self._start()


def _actor_class() -> type:
    """The class of actors; it is sent as it is, because it chooses where the code comes from."""

    class Worker:
        """Runs tasks in a process of a node."""

        def __init__(
            self,
            sources: tuple[str, str],
            folder: str,
            seen: tuple[str, str],
            make_run: bytes,
        ) -> None:
            self._arguments = sources, folder, seen, make_run
            self._run: Any = None

        def problem(self) -> str | None:
            """Make ready to run; what is wrong with this node, if anything."""
            import os
            import pickle
            import socket
            import sys

            (root, sources), folder, (token, text), make_run = self._arguments
            node = f"node {socket.gethostname()}"
            try:
                with open(token) as file:  # noqa: PTH123 (nothing is imported here but builtins)
                    same = file.read() == text
            except OSError:
                same = False
            if not same:
                where = os.path.dirname(os.path.dirname(token))  # noqa: PTH120
                return (
                    f"{node} does not see the output {where}; name a folder on a disk that all "
                    "nodes share with --output"
                )
            if os.path.isdir(folder):  # noqa: PTH112
                os.chdir(folder)
                sys.path.append(folder)  # for functions of the user's own
            try:
                from preprocess.run import ray_engine

                if ray_engine._sources_hash(root) == sources:
                    for name in [n for n in sys.modules if n.split(".")[0] == "preprocess"]:
                        del sys.modules[name]
                    sys.path.insert(0, root)
                from preprocess.errors import WholewordError

                try:
                    self._run = pickle.loads(make_run)()
                except WholewordError as error:
                    return f"{node}: {error}"
            except ImportError as error:
                return (
                    f"{node} lacks what the project needs ({error}); run `pip install wholeword` "
                    f"with {sys.executable} there"
                )
            return None

        def run(self, task: bytes) -> Any:
            """Run a task; yields what kind of event each is, and the event."""
            import pickle
            import traceback

            from preprocess.errors import WholewordError

            try:
                for event in self._run(pickle.loads(task)):
                    yield "event", event
            except WholewordError as error:
                yield "error", str(error)
            except BaseException:
                yield "failed", traceback.format_exc()

    return Worker


def _sources_hash(root: str | Path) -> str:
    """What the sources of `preprocess` under a folder hash to."""
    digest = xxhash.xxh3_128()
    for path in sorted(Path(root, "preprocess").rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
