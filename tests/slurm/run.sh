#!/usr/bin/env bash
# The smoke preset's DAG through a real Slurm on this machine. On their way one training is cancelled, one requeued and one
# comes to the end of its time; all must go on from their states and end with the weights of runs that nobody disturbed.
#
#     bash tests/slurm/run.sh          (Debian, as root, after `make setup`; ten minutes; the cluster ends with the script)
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH"
ROWS=(resnet18 pd_a_resnet18-standard1-group pd_b_resnet18)

say() { echo; echo "=== $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
wait_for() { # SECONDS COMMAND…
    local end=$((SECONDS + $1)); shift
    until "$@"; do ((SECONDS < end)) || fail "waited in vain for: $*"; sleep 0.5; done
}

say "Installing Slurm"
command -v slurmctld munged >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge; }
pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[slurm]'

WORK=$(mktemp -d)
HOST=$(hostname -s)
CONF=/etc/slurm/slurm.conf # Snakemake's plug-in keeps no SLURM_CONF
[ ! -e $CONF ] && ! pgrep -x slurmctld >/dev/null || fail "this machine has a Slurm of its own: $CONF, or a running slurmctld"
mkdir -p "$(dirname $CONF)"
cat >$CONF <<EOF
ClusterName=paradise
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$WORK/state
SlurmdSpoolDir=$WORK/spool
SlurmctldPidFile=$WORK/slurmctld.pid
SlurmdPidFile=$WORK/slurmd.pid
SlurmctldLogFile=$WORK/slurmctld.log
SlurmdLogFile=$WORK/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
KillWait=60
MpiDefault=none
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(free -m | awk '/^Mem:/ {print $2}')
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
mkdir -p "$WORK/state" "$WORK/spool" /run/munge /var/log/munge /var/lib/munge
chown munge: /run/munge /var/log/munge /var/lib/munge
pgrep -x munged >/dev/null || setpriv --reuid=munge --regid=munge --clear-groups munged
stop() {
    scancel --user=root 2>/dev/null || true
    for pid in "${SNAKEMAKE:-}" "$(cat "$WORK/slurmctld.pid")" "$(cat "$WORK/slurmd.pid")"; do
        [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    done
    rm -f $CONF
}
trap 'stop; rm -rf "$WORK"' EXIT
slurmctld && slurmd
wait_for 60 bash -c "sinfo --noheader --format=%t | grep -q idle"
sinfo

say "The project, with a longer smoke preset"
mkdir "$WORK/project"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tar --extract --directory="$WORK/project"
cd "$WORK/project"
export PYTHONPATH=$PWD/src
sed --in-place 's/epochs: 1$/epochs: 120/' config/smoke.yaml
RESULTS=results/smoke
log() { echo "$RESULTS/logs/train/$1-seed0.log"; }
says() { grep --quiet --no-messages "$2" "$(log "$1")"; }
job_of() { squeue --noheader --states=RUNNING --Format=JobID:20,Comment:200 | awk -v comment="rule_train_wildcards_$1_0" '$2 == comment {print $1}'; }

say "snakemake --profile workflow/profiles/slurm: each training has four minutes, and is warned two before they end"
snakemake --profile workflow/profiles/slurm --configfile config/smoke.yaml \
    --set-resources train:gpu=0 train:mem_mb=3000 train:runtime=4 evaluate:gpu=0 evaluate:mem_mb=3000 prepare:mem_mb=1000 \
    prepare:runtime=10 --set-threads prepare=1 train=1 evaluate=1 latency=1 \
    --slurm-no-account --slurm-status-command squeue --slurm-init-seconds-before-status-checks 5 \
    >"$WORK/snakemake.log" 2>&1 &
SNAKEMAKE=$!

for row in "${ROWS[0]}" "${ROWS[1]}"; do
    wait_for 180 says "$row" "epoch 3/120"
    job=$(job_of "$row")
    if [ "$row" = "${ROWS[0]}" ]; then command=(scancel "$job"); else command=(scontrol requeue "$job"); fi
    say "${command[*]}: $row"
    [ -n "$job" ] || fail "$row has no running job"
    "${command[@]}"
done
wait "$SNAKEMAKE" || { tail -50 "$WORK/snakemake.log"; fail "snakemake ended with $?"; }

say "The trainings' logs, epochs left out"
for row in "${ROWS[@]}"; do
    grep --invert-match "epoch [0-9]*/120, loss" "$(log "$row")"
    says "$row" "going on from step" || fail "$row was not ended on its way"
done

say "The same trainings, undisturbed"
for row in "${ROWS[@]}"; do
    paradise train "$row" --preset config/smoke.yaml --gpus 0 --output "$WORK/whole/$row" 2>/dev/null
    cmp "$WORK/whole/$row/weights.safetensors" "$RESULTS/$row/seed0/weights.safetensors" || fail "$row has other weights"
    sessions=$(python3 -c "import json; print(json.load(open(\"$RESULTS/$row/seed0/run.json\"))[\"sessions\"])")
    echo "$row: the same weights, in $sessions sessions"
done
cat "$RESULTS/tables/imagenet.md" | head -8
say "PASSED in $((SECONDS / 60)) min"
