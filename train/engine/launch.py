"""What a launcher tells a process of its run, whichever launcher it was.

torchrun and DeepSpeed set five variables: RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT.
`srun` and `mpirun` set names of their own, which become those five here. What a person has set
among the five (many job scripts export MASTER_ADDR and WORLD_SIZE) is kept where it agrees.

Sources: the man pages of srun (OUTPUT ENVIRONMENT VARIABLES) and of Open MPI's mpirun; Hydra's
variables, which MPICH and Intel MPI share.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import xxhash

from preprocess.errors import WholewordError

_FIVE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
"""What a process that runs alone sets for DeepSpeed, and hands on to those it starts."""
_BY_FIVE = "RANK and WORLD_SIZE"
_USUAL_PORT = 29500  # torchrun's and DeepSpeed's
_PORTS = range(20_000, 30_000)
"""Ports that are derived from a job's name; Linux gives connections those from 32,768 on."""
_JOBS = ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
"""Names of a job that all processes of an `mpirun` see, the most particular first."""
_LOCAL = "127.0.0.1"


@dataclass(frozen=True)
class Launch:
    """A process's place among the processes of its run."""

    rank: int
    local_rank: int
    """Its number on its machine."""
    world_size: int
    address: str
    """Of rank 0's machine, for all others."""
    port: int
    by: str
    """The launcher, for people."""

    @property
    def joined(self) -> bool:
        """Whether the launcher gives each rank pipes of its own and joins what comes out."""
        return self.by != _BY_FIVE

    def variables(self) -> dict[str, str]:
        """The five variables that torch and DeepSpeed read."""
        values = (self.rank, self.local_rank, self.world_size, self.address, self.port)
        return dict(zip(_FIVE, map(str, values), strict=True))


@dataclass(frozen=True)
class _Launcher:
    """The variables of a launcher that has names of its own."""

    name: str
    rank: str
    local_rank: str
    size: str


_SLURM = _Launcher("Slurm", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS")
_OPEN_MPI = _Launcher(
    "Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE"
)
_HYDRA = _Launcher("MPICH or Intel MPI", "PMI_RANK", "MPI_LOCALRANKID", "PMI_SIZE")


def read_launch(env: Mapping[str, str]) -> Launch | None:
    """A process's place in its run; None for a process that is a run of its own.

    Args:
        env: the process's environment.

    Raises:
        WholewordError: a launcher left traces that make no rank.
    """
    given = {name: env[name] for name in _FIVE if env.get(name)}
    launcher = None if len(given) == len(_FIVE) else _launcher(env)
    if launcher is None:
        if not given or given == ALONE:
            return None
        if missing := [name for name in _FIVE if name not in given]:
            raise WholewordError(
                f"environment: {', '.join(given)} {_are(given)} set and {', '.join(missing)} "
                f"{_are(missing)} not; a rank needs all five, a run of one process needs none "
                f"of them (env -u {' -u '.join(given)} COMMAND)"
            )
        ours, by = given, _BY_FIVE
    else:
        ours, by = _translated(env, launcher, given), launcher.name
        if ours == ALONE:
            return None
    rank, local_rank, size, port = (
        _number(name, ours[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")
    )
    if not (rank < size and local_rank < size and 0 < port < 1 << 16):
        values = " ".join(f"{name}={value}" for name, value in ours.items())
        raise WholewordError(f"environment: {values}: no rank of a run; start it again")
    return Launch(rank, local_rank, size, ours["MASTER_ADDR"], port, by)


def plain_note(env: Mapping[str, str]) -> str | None:
    """What to tell a person whose job has several tasks, and who started one process in it."""
    tasks = env.get("SLURM_NTASKS", "1")
    if _is_step(env) or tasks == "1" or any(env.get(name) for name in _FIVE):
        return None
    return (
        f"Slurm: the job has {tasks} tasks, and this is one process for itself; for one run of "
        f"{tasks} ranks put srun before the command"
    )


def _launcher(env: Mapping[str, str]) -> _Launcher | None:
    """The launcher whose variables are there, the innermost first.

    mpirun starts its daemons with srun, so what it starts has Slurm's variables of a step too.
    A step of Slurm's may have PMI's, for programs that speak it.
    """
    if _has_any(env, _OPEN_MPI):
        return _OPEN_MPI
    if _HYDRA.local_rank in env or (_has_any(env, _HYDRA) and not _is_step(env)):
        return _HYDRA
    return _SLURM if _is_step(env) else None


def _has_any(env: Mapping[str, str], launcher: _Launcher) -> bool:
    return launcher.rank in env or launcher.size in env


def _is_step(env: Mapping[str, str]) -> bool:
    """Whether `srun` started this process.

    The shell of an sbatch script has a SLURM_PROCID too, 0, and SLURM_NTASKS of the whole job. That
    of salloc is an "interactive step" on some clusters, with one of the last numbers of 32 bits.
    """
    step = env.get("SLURM_STEP_ID", "")
    if step.isdigit():
        return int(step) < 0xFFFF0000
    return not env.get("SLURM_JOB_ID") and ("SLURM_PROCID" in env or "SLURM_NTASKS" in env)


def _translated(
    env: Mapping[str, str], launcher: _Launcher, given: dict[str, str]
) -> dict[str, str]:
    """The five variables from a launcher's own."""
    size = launcher.size
    if launcher is _SLURM and size not in env:
        size = "SLURM_NTASKS"
    if env.get(size) == "1":
        return dict(ALONE)
    names = {"RANK": launcher.rank, "LOCAL_RANK": launcher.local_rank, "WORLD_SIZE": size}
    if missing := [name for name in names.values() if not env.get(name)]:
        found = [name for name in names.values() if env.get(name)]
        raise WholewordError(
            f"environment: {', '.join(f'{name}={env[name]}' for name in found)} of "
            f"{launcher.name}, but no {', '.join(missing)}: this process would be a run of its own "
            "beside the others; hand on the whole environment, or unset all of it for one process"
        )
    ours = {five: env[name] for five, name in names.items()}
    for five, value in ours.items():
        if given.get(five, value) != value:
            raise WholewordError(
                f"environment: {five}={given[five]}, but {launcher.name} says "
                f"{names[five]}={value}; unset {five}"
            )
    address = given.get("MASTER_ADDR") or _address(env, launcher)
    port = given.get("MASTER_PORT") or _port(env, launcher)
    return {**ours, "MASTER_ADDR": address, "MASTER_PORT": port}


def _address(env: Mapping[str, str], launcher: _Launcher) -> str:
    """Of rank 0's machine: the first of those that Slurm lists."""
    local_size = {_OPEN_MPI: "OMPI_COMM_WORLD_LOCAL_SIZE", _HYDRA: "MPI_LOCALNRANKS"}
    on_one = (
        env.get("SLURM_STEP_NUM_NODES", env.get("SLURM_NNODES")) == "1"
        if launcher is _SLURM
        else env.get(local_size[launcher]) == env[launcher.size]
    )
    if on_one:
        return _LOCAL
    lists = ["SLURM_JOB_NODELIST", "SLURM_NODELIST"]
    if launcher is _SLURM:  # a step may be on some of the job's machines only
        lists = ["SLURM_STEP_NODELIST", *lists]
    for name in lists:
        if env.get(name):
            return first_host(env[name])
    raise WholewordError(
        f"environment: {launcher.name} does not say where rank 0 is; set MASTER_ADDR to its "
        "machine on all ranks (Open MPI: mpirun -x MASTER_ADDR=HOST; MPICH: mpiexec -genv "
        "MASTER_ADDR HOST)"
    )


def first_host(hosts: str) -> str:
    """The first host of Slurm's list: "node03" of "node[03-05,9],gpu1"."""
    first = re.split(r",(?![^\[]*\])", hosts)[0]
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first)


def _port(env: Mapping[str, str], launcher: _Launcher) -> str:
    """One that all ranks of a job derive, and those of another job on the machine don't."""
    if launcher is _SLURM:
        job = f"{env.get('SLURM_JOB_ID')} {env.get('SLURM_STEP_ID')}"
    else:
        job = next((env[name] for name in _JOBS if env.get(name)), "")
    if not job:
        return str(_USUAL_PORT)
    return str(_PORTS[xxhash.xxh3_64_intdigest(job.encode()) % len(_PORTS)])


def _number(name: str, value: str) -> int:
    if not value.isdecimal():
        raise WholewordError(f"environment: {name}={value} is no number; start the run again")
    return int(value)


def _are(names: Collection[str]) -> str:
    return "is" if len(names) == 1 else "are"
