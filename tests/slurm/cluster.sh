#!/bin/bash
# A real SLURM of one node, which is this machine. It writes into one folder only; it needs no systemd and nothing in /etc.
#
#   tests/slurm/cluster.sh up DIR      then: export SLURM_CONF=DIR/slurm.conf; sinfo
#   tests/slurm/cluster.sh down DIR    cancels all jobs and ends its processes; the folder stays
#
# CPUS=N: number of processors that the node reports (default: those it has). WAIT=N: seconds that a requeued job waits.
set -euo pipefail

fail() {
  echo "cluster.sh: $*" >&2
  exit 1
}

[[ $# == 2 && $1 =~ ^(up|down)$ ]] || fail "usage: cluster.sh up DIR | down DIR"
[[ $(id -u) == 0 ]] || fail "starting a SLURM node needs root"
PATH=$PATH:/usr/sbin:/sbin
for program in munged slurmctld slurmd sinfo scancel; do
  command -v "$program" >/dev/null || fail "$program is missing (Debian: apt install munge slurm-wlm)"
done
[[ $1 == down ]] || mkdir -p "$2"
dir=$(cd "$2" && pwd)
export SLURM_CONF=$dir/slurm.conf
(( ${#dir} < 80 )) || fail "the path of $dir is too long for the sockets in it"

free_ports() { # two TCP ports on which no process listens
  local port found=()
  while (( ${#found[@]} < 2 )); do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || found+=("$port")
  done
  echo "${found[@]}"
}

configure() {
  local controller node host
  read -r controller node < <(free_ports)
  host=$(hostname -s)
  mkdir -p state spool
  (umask 077 && head -c 1024 /dev/urandom >munge.key)
  cat >slurm.conf <<END
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$node
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire: a requeued job also waits this long before it can start (120 s by default)
AuthInfo=socket=$dir/munge.socket,cred_expire=${WAIT:-5}
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
ReturnToService=2
JobRequeue=1
KillWait=10
OverTimeLimit=0
MinJobAge=300
# The node may report more processors than it has.
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=${CPUS:-$(nproc)} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
}

up() {
  cd "$dir"
  [[ ! -e munged.pid && ! -e slurmctld.pid ]] || fail "$dir has a cluster already: cluster.sh down $dir"
  configure
  # --force: the socket may be in a folder that only this user can enter.
  munged --force --socket="$dir/munge.socket" --key-file="$dir/munge.key" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/munged.seed" --num-threads=2 2>munged.err || fail "$(cat munged.err)"
  slurmctld -c >slurmctld.out 2>&1 || fail "slurmctld did not start, see $dir/slurmctld.log"
  slurmd -c >slurmd.out 2>&1 || fail "slurmd did not start, see $dir/slurmd.log"
  for _ in {1..150}; do
    [[ $(sinfo --noheader --format=%t 2>/dev/null) != idle ]] || return 0
    sleep 0.2
  done
  sinfo --long --Node >&2 || true
  down
  fail "the node is not ready, see $dir/slurmctld.log and $dir/slurmd.log"
}

down() {
  cd "$dir"
  local name pid
  if [[ -e slurmctld.pid ]] && timeout 5 scancel --full --user=root 2>/dev/null; then
    for _ in {1..75}; do
      [[ -n $(timeout 5 squeue --noheader 2>/dev/null) ]] || break
      sleep 0.2
    done
  fi
  for name in slurmd slurmctld munged; do
    pid=$(cat "$name.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null || true
    for _ in {1..50}; do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.2
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$name.pid"
  done
}

"$1"
