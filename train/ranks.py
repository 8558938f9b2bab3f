"""The processes of a run: how they meet, agree on numbers, and part."""

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

# Else DeepSpeed warns that it has found no accelerator.
if not torch.accelerator.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h

_FIRST_WORD = 15.0  # seconds that other ranks leave rank 0 to report an error that all of them have


@dataclass(frozen=True)
class Ranks:
    """This process among the processes of its run.

    Attributes:
        rank: its number, from 0.
        world_size: how many there are.
        device: where its tensors live.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that prints and writes."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """Sums over ranks, in fp64 (exact for counts), by one all-reduce."""
        if self.world_size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor)
        return tensor.tolist()

    def share(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        if self.world_size == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, on every rank."""
        values = [value] * self.world_size
        if self.world_size > 1:
            torch.distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Return when every rank is here."""
        if self.world_size > 1:
            torch.distributed.barrier()


def rank_of_process() -> int:
    """This process's rank as the launcher says, before the processes have met."""
    return int(os.environ.get("RANK", "0"))


def share_processors() -> None:
    """Give each rank of this machine its share of the processors, unless OMP_NUM_THREADS does.

    torch would give every rank all of them, and two ranks on two cores would fight over both.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        ranks = int(os.environ.get("LOCAL_SIZE", os.environ.get("LOCAL_WORLD_SIZE", "1")))
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // ranks))


def keep_freed_memory() -> None:
    """Let glibc keep what is freed; where there is another C library, do nothing.

    It gives large blocks back to the system, which has to clear them when the next micro-batch
    asks for them: 4% of a BERT-base step. To be called when everything is loaded, so that only what
    steps need is kept.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that it accepts
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 256 << 20)


def quieten() -> None:
    """Keep libraries from talking over the run's own account."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")


@contextlib.contextmanager
def meet() -> Iterator[Ranks]:
    """Form the process group, and take it apart on every way out.

    Without a launcher this process is the only rank; its group needs no network. DeepSpeed's
    shared-memory operator is not built: that takes a compiler and a minute and a half.
    """
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    alone = "RANK" not in os.environ
    share_processors()
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    try:
        if alone:
            os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
            torch.distributed.init_process_group(
                get_accelerator().communication_backend_name(),
                store=torch.distributed.HashStore(),
                rank=0,
                world_size=1,
            )
        deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)
        name = get_accelerator().device_name()
        local = int(os.environ["LOCAL_RANK"])
        if name != "cpu":
            get_accelerator().set_device(local)
        device = torch.device(name if name == "cpu" else f"{name}:{local}")
        yield Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size(), device)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def report_error(line: str) -> int:
    """Print one line on standard error, once, whatever the number of ranks; returns 1.

    When all ranks fail alike, rank 0 speaks and the launcher ends the others while they wait.
    A rank that is still there after that failed alone, and speaks.
    """
    if rank_of_process() != 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # training only takes note of it
        time.sleep(_FIRST_WORD)
    print(line, file=sys.stderr, flush=True)
    return 1


def report_lost_rank(error: Exception) -> int:
    """Say that another rank is gone, and leave it time to say why; returns 1."""
    cause = next(iter(str(error).splitlines()), type(error).__name__)[:200]
    line = (
        f"error: the connection to another rank is lost ({cause}); it says why itself, or it was "
        "killed, perhaps because memory ran out; run the same command again, it continues from "
        "the last checkpoint"
    )
    status = report_error(line)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(2 * _FIRST_WORD)  # this rank's end would be the other's; the launcher ends both
    return status


def is_lost_rank(error: Exception) -> bool:
    """Whether a collective failed because a rank at its other end is gone."""
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and "/gloo/" in str(error)
    )


def report_defect(folder: Path | None) -> int:
    """Write the current exception to a log file and its path on standard error; returns 70.

    70 is EX_SOFTWARE of sysexits.h. The log is in the run's folder, or else in a temporary one.
    """
    text = traceback.format_exc()
    name = f"error-rank{rank_of_process()}.log"
    if folder is None or not folder.is_dir():
        folder = Path(tempfile.mkdtemp(prefix="wholeword-"))
    (folder / name).write_text(text, encoding="utf-8")
    last = text.strip().splitlines()[-1][:200]
    report_error(f"internal error: {last}; the traceback is in {folder / name}")
    return 70
