#!/usr/bin/env bash
# Whether every launcher starts the same run: two ranks by srun, by mpirun and by two torchruns on
# 127.0.0.1 must end in the weights of `deepspeed --num_accelerators 2`, bit for bit.
#
#     bash scripts/check_slurm.sh            # Debian, as root: a Slurm of one node, all of it in one folder
#
# Installs slurmctld slurmd slurm-client munge openmpi-bin where they are missing. The daemons that it
# starts end with it. FOLDER=... keeps what the runs wrote.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
bin=$(dirname "$(command -v python)")
[ -x .venv/bin/python ] && bin=$PWD/.venv/bin
python=$bin/python
folder=${FOLDER:-$(mktemp -d)}
mkdir -p "$folder"/{state,spool}

install() {
    local missing=()
    for pair in slurmctld:slurmctld slurmd:slurmd srun:slurm-client munged:munge mpirun:openmpi-bin; do
        PATH=$PATH:/usr/sbin command -v "${pair%:*}" > /dev/null || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} = 0 ] || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
}

start_slurm() {
    export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin
    local host
    host=$(hostname -s)
    cat > "$SLURM_CONF" <<END
ClusterName=check
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SelectType=select/cons_tres
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=check Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    if ! munge -n > /dev/null 2>&1; then
        install -d -o munge /run/munge /var/log/munge /var/lib/munge
        runuser -u munge -- munged --pid-file "/run/munge/munged.pid"
        munged=$(cat /run/munge/munged.pid)
    fi
    slurmctld -c -D 2> /dev/null &
    daemons="$!"
    slurmd -D 2> /dev/null &
    daemons="$daemons $!"
    for _ in $(seq 60); do
        sinfo -h -o %t 2> /dev/null | grep -q idle && return
        sleep 1
    done
    echo "Slurm does not start; see $folder/slurmctld.log and $folder/slurmd.log" >&2
    exit 1
}

stop() {
    kill ${daemons:-} ${munged:-} 2> /dev/null || true
    [ -n "${FOLDER:-}" ] || rm -rf "$folder"
}
trap stop EXIT

command_of() { # NAME: the run that every launcher is given
    echo train/pretrain.py --data "$folder/shards" --output-dir "$folder/$1" --model bert-tiny \
        --max-steps 4 --per-device-train-batch-size 2 --gradient-accumulation-steps 2 --precision fp32 \
        --eval-steps 0 --report-to none
}

check() { # NAME COMMAND...: runs it, and compares its weights with the first one's
    local name=$1 begin=$SECONDS
    shift
    "$@" > "$folder/$name.log" 2>&1 || { cat "$folder/$name.log"; echo "$name: failed" >&2; exit 1; }
    grep -q 'on 2 x ' "$folder"/"$name"*.log || { echo "$name: not one run of two ranks" >&2; exit 1; }
    cmp "$folder/deepspeed/final/model.safetensors" "$folder/$name/final/model.safetensors" ||
        { echo "$name: other weights" >&2; exit 1; }
    echo "$name: one run of two ranks, the same weights ($((SECONDS - begin)) s)"
}

two_torchruns() {
    local other
    torchrun_of 1 > "$folder/torchrun-1.log" 2>&1 &
    other=$!
    torchrun_of 0
    wait $other
}

torchrun_of() { # NODE
    "$bin/torchrun" --nnodes 2 --node_rank "$1" --nproc_per_node 1 --master_addr 127.0.0.1 \
        --master_port 29517 $(command_of torchrun)
}

install
start_slurm
head -c 60000 samples/zh/*.txt > "$folder/text.txt" 2> /dev/null
"$python" -m preprocess build-shards --input "$folder/text.txt" --output "$folder/shards" \
    --max-length 64 --workers 1 > "$folder/shards.log" 2>&1 || { cat "$folder/shards.log"; exit 1; }
check deepspeed "$bin/deepspeed" --num_accelerators 2 --master_port 29516 $(command_of deepspeed)
check srun srun -n 2 --overcommit "$python" $(command_of srun)
check mpirun mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 "$python" $(command_of mpirun)
check torchrun two_torchruns
