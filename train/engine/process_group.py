"""The processes of a run: how they form a group, agree on numbers, and part."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch

from preprocess.errors import WholewordError

# Else DeepSpeed warns that it has found no accelerator.
if not torch.accelerator.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Ranks:
    """This process among the processes of its run."""

    rank: int
    """Its number, from 0."""
    world_size: int
    """How many there are."""
    device: torch.device
    """Where its tensors live."""
    control: Any = None
    """The group in which ranks agree on numbers and objects: None for the default one. Where that
    one sends GPU memory, this is one of gloo's: a number that went through a GPU would be known
    only after everything that is queued there, and every step would wait for it."""

    @property
    def first(self) -> bool:
        """Whether this is the one that prints and writes."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """Sums over ranks, in fp64 (exact for counts), by one all-reduce."""
        if self.world_size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(tensor, group=self.control)
        return tensor.tolist()

    def share(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        if self.world_size == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def on_first(self, work: Callable[[], Result]) -> Result:
        """Rank 0's result of `work`, on every rank.

        Raises:
            WholewordError: as rank 0's `work` does, on every rank.
        """
        result, error = None, None
        if self.first:
            try:
                result = work()
            except WholewordError as caught:
                error = caught
        result, error = self.share((result, error))
        if error is not None:
            raise error
        return cast(Result, result)

    def on_first_only(self, work: Callable[[], Result]) -> Result | None:
        """Rank 0's result of `work` on rank 0, None on the others, for what cannot be sent.

        Raises:
            WholewordError: as rank 0's `work` does, on every rank.
        """
        results: list[Result] = []
        self.on_first(lambda: results.append(work()))
        return results[0] if results else None

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, on every rank."""
        values = [value] * self.world_size
        if self.world_size > 1:
            torch.distributed.all_gather_object(values, value, group=self.control)
        return values

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.world_size > 1:
            torch.distributed.barrier(group=self.control)


def rank_of_process() -> int:
    """This process's rank as the launcher says, before the process group is formed."""
    return int(os.environ.get("RANK", "0"))


def share_processors() -> None:
    """Give each rank of this machine its share of the processors, unless OMP_NUM_THREADS does.

    torch would give every rank all of them, and two ranks on two cores would fight over both.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        ranks = int(os.environ.get("LOCAL_SIZE", os.environ.get("LOCAL_WORLD_SIZE", "1")))
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // ranks))


@contextlib.contextmanager
def process_group() -> Iterator[Ranks]:
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
        world_size = torch.distributed.get_world_size()
        control = None
        if world_size > 1 and torch.distributed.get_backend() != "gloo":
            control = torch.distributed.new_group(backend="gloo")
        yield Ranks(torch.distributed.get_rank(), world_size, device, control)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def is_lost_rank(error: Exception) -> bool:
    """Whether a collective failed because a rank at its other end is gone."""
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and "/gloo/" in str(error)
    )
