"""The processes of a run: how they form a group, agree on numbers, and part."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch

from preprocess.errors import WholewordError
from train.engine.launch import ALONE, read_launch
from train.engine.peers import PATIENCE, Peers, meeting

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

    def together(self, work: Callable[[], Result]) -> Result:
        """This rank's result of `work`, once every rank has done its own.

        Raises:
            WholewordError: as `work` of the first rank that fails does, on every rank.
        """
        result, error = None, None
        try:
            result = work()
        except WholewordError as caught:
            error = caught
        self.raise_first(error)
        return cast(Result, result)

    def raise_first(self, error: BaseException | None) -> None:
        """Raise the error of the first rank that has one, on every rank."""
        for found in self.gather(error):
            if found is not None:
                raise found

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


@contextlib.contextmanager
def process_group(peers: Peers | None = None) -> Iterator[Ranks]:
    """Form the process group, and take it apart on every way out.

    A process that is alone is the only rank; its group needs no network. DeepSpeed's shared-memory
    operator is not built: that takes a compiler and a minute and a half.

    Args:
        peers: the other processes, once met; without them, those that the environment names.
    """
    if peers is None:
        with meeting(read_launch(os.environ), PATIENCE) as peers, process_group(peers) as ranks:
            yield ranks
        return
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    launch, kind = peers.launch, get_accelerator().device_name()
    place = launch.variables() if launch else ALONE
    local = int(place["LOCAL_RANK"])
    if kind != "cpu" and get_accelerator().device_count() == 1:
        local = 0  # the launcher has bound each rank to a GPU of its own
    place = {**place, "LOCAL_RANK": str(local)}
    device = torch.device(kind if kind == "cpu" else f"{kind}:{local}")
    peers.wait_for_all()
    os.environ.update(place)
    if "OMPI_COMM_WORLD_LOCAL_RANK" in os.environ:  # DeepSpeed wants both to be the same
        os.environ["OMPI_COMM_WORLD_LOCAL_RANK"] = str(local)
    try:
        torch.distributed.init_process_group(
            get_accelerator().communication_backend_name(),
            store=peers.store or torch.distributed.HashStore(),
            rank=int(place["RANK"]),
            world_size=int(place["WORLD_SIZE"]),
            device_id=device if kind == "cuda" else None,
        )
        deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)
        if kind != "cpu":
            get_accelerator().set_device(local)
        world_size = torch.distributed.get_world_size()
        control = None
        if world_size > 1 and torch.distributed.get_backend() != "gloo":
            control = torch.distributed.new_group(backend="gloo")
        ranks = Ranks(torch.distributed.get_rank(), world_size, device, control)
        share_processors(ranks)
        yield ranks
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def share_processors(ranks: Ranks) -> None:
    """Give each rank of this machine its share of the processors, unless OMP_NUM_THREADS does.

    torch would give every rank all that it may use, and two ranks on two cores would fight over
    both. A launcher that binds ranks to processors has divided them already.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    mine = os.sched_getaffinity(0)
    host = socket.gethostname()
    sharing = [of for where, of in ranks.gather((host, mine)) if where == host and of & mine]
    torch.set_num_threads(max(1, len(mine) // len(sharing)))


def is_lost_rank(error: BaseException) -> bool:
    """Whether a collective failed because a rank at its other end is gone."""
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and "/gloo/" in str(error)
    )
