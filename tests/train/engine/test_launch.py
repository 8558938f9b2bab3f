"""What launchers tell a process, by table: one run of many ranks, one process, or one line."""

import pytest

from preprocess.errors import WholewordError
from train.engine.launch import Launch, first_host, plain_note, read_launch

FIVE = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "10.0.0.7",
    "MASTER_PORT": "29511",
}
JOB = {"SLURM_JOB_ID": "71", "SLURM_JOB_NODELIST": "node[03-04]", "SLURM_NTASKS": "4"}
BATCH = JOB | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NNODES": "2"}
STEP = JOB | {
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "node[03-04]",
    "SLURM_LAUNCH_NODE_IPADDR": "10.9.9.9",  # of the login node, where srun was called
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "PMIX_NAMESPACE": "1650065409",
}
HYDRA = {"PMI_RANK": "3", "MPI_LOCALRANKID": "1", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "4"}
DAEMON = STEP | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}  # mpirun's, by srun
ONE_TASK = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "1"}


def without(env: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in names}


@pytest.mark.parametrize(
    ("env", "address", "by"),
    [
        (FIVE, "10.0.0.7", "RANK and WORLD_SIZE"),
        (FIVE | STEP | {"SLURM_PROCID": "1"}, "10.0.0.7", "RANK and WORLD_SIZE"),  # srun torchrun
        (STEP, "node03", "Slurm"),
        (STEP | {"SLURM_STEP_NUM_NODES": "1"}, "127.0.0.1", "Slurm"),
        (STEP | {"SLURM_STEP_NODELIST": "node04"}, "node04", "Slurm"),  # srun -w node04
        (STEP | {"MASTER_ADDR": "ib-03", "WORLD_SIZE": "4"}, "ib-03", "Slurm"),  # a job script's
        (STEP | {"PMI_RANK": "3", "PMI_SIZE": "4"}, "node03", "Slurm"),  # srun --mpi=pmi2
        (without(STEP, "SLURM_STEP_NUM_TASKS"), "node03", "Slurm"),
        (OPEN_MPI, "127.0.0.1", "Open MPI"),
        (OPEN_MPI | BATCH | {"OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, "node03", "Open MPI"),
        (DAEMON | OPEN_MPI, "127.0.0.1", "Open MPI"),
        (HYDRA, "127.0.0.1", "MPICH or Intel MPI"),
        (HYDRA | {"MPI_LOCALNRANKS": "2", "MASTER_ADDR": "a"}, "a", "MPICH or Intel MPI"),
    ],
)  # fmt: skip
def test_every_launcher_makes_one_run(env, address, by):
    launch = read_launch(env)
    assert launch == Launch(3, 1, 4, address, launch.port, by)
    assert 0 < launch.port < 32_768
    five = launch.variables()
    assert read_launch(env | five) == read_launch(five)


def test_a_port_is_the_jobs_own():
    def port(env):
        return read_launch(env).port

    assert port(FIVE) == 29511
    assert port(STEP | {"MASTER_PORT": "4000"}) == 4000
    others = [{"SLURM_PROCID": "0"}, {"SLURM_JOB_ID": "72"}, {"SLURM_STEP_ID": "1"}]
    assert [port(STEP | other) == port(STEP) for other in others] == [True, False, False]
    # the step that holds a daemon of mpirun is another on every machine
    assert port(OPEN_MPI | STEP) == port(OPEN_MPI | BATCH) == port(OPEN_MPI)
    assert port(HYDRA) == 29500


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},  # from a process of ours, alone
        {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
        {"PMI_SIZE": "1", "PMI_RANK": "0", "MPI_LOCALRANKID": "0"},
        STEP | ONE_TASK,  # srun --pty
        BATCH,
        without(BATCH, "SLURM_PROCID", "SLURM_LOCALID"),  # salloc
        BATCH | {"SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"},  # its own step
        {"SLURM_CONF": "/etc/slurm.conf", "PMIX_MCA_ptl": "tcp"},
    ],
)
def test_a_process_without_ranks_is_a_run_of_its_own(env):
    assert read_launch(env) is None


@pytest.mark.parametrize(
    ("env", "note"),
    [(BATCH, True), (BATCH | FIVE, False), (STEP, False), (STEP | ONE_TASK, False), ({}, False)],
)
def test_one_process_in_a_job_of_several_tasks_is_told(env, note):
    said = plain_note(env)
    assert bool(said) == note
    assert not said or ("has 4 tasks" in said and "srun" in said)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        *(
            (without(FIVE, name), ("a rank needs all five", f"and {name} is not"))
            for name in FIVE
        ),
        ({"WORLD_SIZE": "2"}, ("WORLD_SIZE is set", "env -u WORLD_SIZE COMMAND")),
        ({"MASTER_ADDR": "node03"}, ("MASTER_ADDR is set and RANK", "are not")),
        (FIVE | {"RANK": "4"}, ("RANK=4", "no rank of a run")),
        (FIVE | {"RANK": "first"}, ("RANK=first is no number",)),
        (FIVE | {"MASTER_PORT": "65536"}, ("MASTER_PORT=65536",)),
        (FIVE | {"LOCAL_RANK": "-1"}, ("LOCAL_RANK=-1",)),
        (without(STEP, "SLURM_PROCID"), ("of Slurm, but no SLURM_PROCID",)),
        (without(STEP, "SLURM_LOCALID"), ("of Slurm, but no SLURM_LOCALID",)),
        ({"SLURM_NTASKS": "2"}, ("SLURM_NTASKS=2 of Slurm", "SLURM_PROCID, SLURM_LOCALID")),
        (STEP | {"WORLD_SIZE": "8"}, ("WORLD_SIZE=8", "Slurm says SLURM_STEP_NUM_TASKS=4")),
        (without(OPEN_MPI, "OMPI_COMM_WORLD_RANK"), ("no OMPI_COMM_WORLD_RANK",)),
        (without(HYDRA, "PMI_RANK"), ("no PMI_RANK",)),
        (without(HYDRA, "MPI_LOCALRANKID"), ("no MPI_LOCALRANKID",)),
        (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, ("where rank 0 is", "MASTER_ADDR")),
    ],
)  # fmt: skip
def test_half_an_environment_is_one_line_and_never_several_runs(env, words):
    with pytest.raises(WholewordError) as caught:
        read_launch(env)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("vm", "vm"),
        ("node[03-05,9],gpu1", "node03"),
        ("gpu1,node[03-05]", "gpu1"),
        ("rack[2-3]n[07,09]", "rack2n07"),
        ("a[12]-ib.example.org,b", "a12-ib.example.org"),
    ],
)
def test_the_first_host_of_slurms_list(hosts, first):
    assert first_host(hosts) == first
