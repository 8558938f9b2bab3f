"""Processes that have the trainer loaded already: forks of one that imported it once.

`start` is `subprocess.Popen` for what a test would start with `python SCRIPT` or `python -m
MODULE`, less the eight seconds that importing torch, transformers and DeepSpeed takes. Tests of the
commands themselves, and of what they write while they load, start real ones.

    python -m tests.train.preloaded SOCKET      # the process that forks, until its input ends
"""

import atexit
import contextlib
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
LOADED = (
    *("deepspeed", "transformers.models.bert.modeling_bert", "matplotlib.pyplot"),
    "deepspeed.runtime.zero.muon.original_muon",  # loads the compiler of torch
    *("torch.distributed.tensor", "torch.utils.tensorboard", "train.pretrain", "tests.train.runs"),
)
_REQUEST_BYTES = 1 << 20


class Process:
    """A command in a forked process; as `subprocess.Popen` with text streams.

    Args:
        server: the socket of the process that forks.
        command: what comes after `python`.
        env: the whole environment.
        merged: whether standard error comes with standard output.
    """

    def __init__(self, server: str, command: list[str], env: Mapping[str, str], merged: bool):
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(server)
        self.stdout, output = _pipe()
        self.stderr, errors = (None, output) if merged else _pipe()
        request = json.dumps({"command": command, "env": dict(env), "cwd": str(ROOT)})
        socket.send_fds(self._connection, [request.encode()], [output, errors])
        for descriptor in {output, errors}:
            os.close(descriptor)
        self.pid = int(self._connection.recv(64))
        self.returncode: int | None = None

    def poll(self, timeout: float = 0) -> int | None:
        """The exit status, minus the number of a signal, if it has ended."""
        if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
            self.returncode = int(self._connection.recv(64))
            self._connection.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""
        status = self.poll(timeout or 3600)
        if status is None:
            raise subprocess.TimeoutExpired("a preloaded command", timeout or 3600)
        return status

    def communicate(self, timeout: float) -> tuple[str, str]:
        """All that it writes; it is killed when the time is over."""
        said = {stream: b"" for stream in (self.stdout, self.stderr) if stream}
        left = set(said)
        while left:
            ready = select.select(left, [], [], timeout)[0]
            if not ready:
                self.send_signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired("a preloaded command", timeout)
            for stream in ready:
                block = os.read(stream.fileno(), 1 << 16)
                said[stream] += block
                left -= set() if block else {stream}
        self.wait(timeout)
        texts = [said[stream].decode() if stream else "" for stream in (self.stdout, self.stderr)]
        return texts[0], texts[1]

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


def _pipe() -> tuple[IO[str], int]:
    end, begin = os.pipe()
    return os.fdopen(end, encoding="utf-8"), begin


@cache
def _server() -> tuple[str, subprocess.Popen[bytes]]:
    """Start the process that forks, which ends when its input does: its socket, and the process."""
    folder = Path(tempfile.mkdtemp(prefix="preloaded-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = str(folder / "socket")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.train.preloaded", path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return path, process


def start(command: list[str], env: Mapping[str, str], merged: bool = False) -> Process:
    """Begin a command whose first word is Python.

    Args:
        command: `[python, script, ...]`, `[python, "-m", module, ...]` or `[python, "-c", code]`.
        env: its whole environment.
        merged: whether standard error comes with standard output.
    """
    return Process(_server()[0], command[1:], env, merged)


def run(
    command: list[str], env: Mapping[str, str], timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    process = start(command, env)
    stdout, stderr = process.communicate(timeout)
    return subprocess.CompletedProcess(command, process.wait(), stdout, stderr)


def _serve(path: str) -> None:
    """Fork for every request until standard input ends; a child ends as its command does."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    children: dict[int, socket.socket] = {}
    while True:
        ready = select.select([listener, sys.stdin, wake_read], [], [])[0]
        if sys.stdin in ready:
            return
        if wake_read in ready:
            os.read(wake_read, 512)
            _reap(children)
        if listener in ready:
            connection, _ = listener.accept()
            request, streams, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 2)
            child = os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                for end in (listener, connection, *children.values()):
                    end.close()
                _become(json.loads(request), streams)
            for stream in set(streams):
                os.close(stream)
            connection.send(str(child).encode())
            children[child] = connection


def _reap(children: dict[int, socket.socket]) -> None:
    while True:
        try:
            child, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not child:
            return
        with contextlib.suppress(OSError, KeyError):
            children.pop(child).send(str(os.waitstatus_to_exitcode(code)).encode())


def _become(request: dict, streams: list[int]) -> None:
    """Be the command, to the end of the interpreter."""
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (streams[0], 1), (streams[1], 2)):
        os.dup2(source, target)
    for descriptor in {nothing, *streams} - {0, 1, 2}:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    tempfile.tempdir = None
    # -P leaves the current folder out of sys.path, where it has not been put here.
    name, *arguments = [word for word in request["command"] if word != "-P"]
    status: object = 0
    try:
        if name == "-c":
            sys.argv = [name, *arguments[1:]]
            exec(compile(arguments[0], "<string>", "exec"), {"__name__": "__main__"})
        elif name == "-m":
            name, *arguments = arguments
            sys.argv = [name, *arguments]
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            sys.argv = [name, *arguments]
            runpy.run_path(name, run_name="__main__")
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.exit(status)  # type: ignore[arg-type]


if __name__ == "__main__":
    for module in LOADED:
        importlib.import_module(module)
    _serve(sys.argv[1])
