#!/usr/bin/env bash
# A SLURM of this one machine, without systemd, a database or cgroups, so also in a container:
#
#     tests/slurm_one_node.sh start FOLDER    installs what is missing, starts it; it is used with
#                                             SLURM_CONF=FOLDER/slurm.conf PATH=FOLDER/bin:$PATH
#     tests/slurm_one_node.sh stop FOLDER     cancels its jobs and ends the daemons that it started
#
# Key, socket, ports, logs and state are its own, in FOLDER: a SLURM that the machine has already is left alone.
set -euo pipefail
ask=${1:-} folder=${2:-}
[[ $ask =~ ^(start|stop)$ && -n $folder ]] || { echo "usage: $0 start|stop FOLDER" >&2; exit 2; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin:/sbin
socket=$folder/munge/socket

end() { # the daemon whose process id lies in a file
  [[ -s $1 ]] || return 0
  local process
  process=$(<"$1")
  kill "$process" 2>/dev/null || true
  for _ in {1..50}; do kill -0 "$process" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$process" 2>/dev/null || true
  rm -f "$1"
}

stop() {
  if [[ -e $SLURM_CONF ]] && timeout 5 scontrol ping >/dev/null 2>&1; then
    timeout 10 scancel --user "$(id -un)" || true
    for _ in {1..50}; do [[ -n $(timeout 5 squeue --noheader) ]] || break; sleep 0.1; done
  fi
  for daemon in slurmd slurmctld munge/munged; do end "$folder/$daemon.pid"; done
}

if [[ $ask == stop ]]; then stop; exit; fi

[[ $(id -u) == 0 ]] || { echo "SLURM's daemons start other users' jobs, so they need root" >&2; exit 1; }
if ! { command -v munged && command -v slurmctld && command -v slurmd; } >/dev/null; then
  command -v apt-get >/dev/null || { echo "no SLURM here, and no apt-get to install slurm-wlm and munge with" >&2; exit 1; }
  # its own daemons are not started by the installation: some containers would
  export DEBIAN_FRONTEND=noninteractive
  install=(apt-get install --yes -qq --no-install-recommends slurm-wlm munge)
  timeout 120 "${install[@]}" >"$folder/apt.log" 2>&1 \
    || { timeout 60 apt-get update -qq >>"$folder/apt.log" 2>&1 && timeout 120 "${install[@]}" >>"$folder/apt.log" 2>&1; } \
    || { echo "slurm-wlm and munge could not be installed: $(tail -n 1 "$folder/apt.log")" >&2; exit 1; }
fi

mkdir -p "$folder"/{munge,state,spool,bin}
chmod 700 "$folder/munge"
( umask 077; head -c 128 /dev/urandom >"$folder/munge/key" )
name=$(hostname -s)
memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
cat >"$SLURM_CONF" <<CONF
ClusterName=one-node
SlurmctldHost=$name(127.0.0.1)
SlurmUser=root
SlurmctldPort=36817
SlurmdPort=36818
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
# no cgroups: a container may not make any
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# a GPU that does not exist, so that jobs which ask for one are taken
GresTypes=gpu
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
MinJobAge=300
KillWait=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
NodeName=$name NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes=$name Default=YES MaxTime=INFINITE State=UP
CONF
echo "NodeName=$name Name=gpu File=/dev/null" >"$folder/gres.conf"
# Snakemake's jobs call srun without SLURM_CONF
printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$SLURM_CONF" "$(command -v srun)" >"$folder/bin/srun"
chmod +x "$folder/bin/srun"

trap 'stop; echo "SLURM did not start: $(cat "$folder"/{munge/munged,slurmctld,slurmd}.log 2>/dev/null | grep -E "error|fatal" | grep -v -i mpi | tail -n 1)" >&2' ERR
munged --force --socket "$socket" --key-file "$folder/munge/key" --pid-file "$folder/munge/munged.pid" \
  --log-file "$folder/munge/munged.log" --seed-file "$folder/munge/seed" >"$folder/munge/start.log" 2>&1
slurmctld -c
slurmd -c
for _ in {1..100}; do
  [[ $(timeout 5 sinfo --noheader --format %T 2>/dev/null) == idle ]] && exit 0
  sleep 0.1
done
false
