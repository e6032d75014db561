#!/usr/bin/env bash
# Several processes of one run on this machine, joined as the hosts of a pod are.
#
#   launch/local_processes.sh [--dry-run] 2 --config=configs/digits_hue.py --workdir=runs/two
#
# --dry-run shows the commands.
#
# Ctrl-C, or SIGTERM, has all of them save their state, and waits for it; a second one
# ends them at once.
#
# PYTHON names the interpreter. On CPUs each process has its own devices; on GPUs give
# each its part with CUDA_VISIBLE_DEVICES inside a wrapper named by PYTHON.
set -euo pipefail

dry_run=false
if [[ ${1:-} == --dry-run ]]; then
  dry_run=true
  shift
fi
if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: launch/local_processes.sh [--dry-run] NUM_PROCESSES [flags of main.py]" >&2
  exit 2
fi
num_processes=$1
shift
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python}
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

processes=()
stopped=0

if $dry_run; then
  for ((i = 0; i < num_processes; i++)); do
    printf '%q ' env "JAX_COORDINATOR_ADDRESS=127.0.0.1:$port" \
      "JAX_NUM_PROCESSES=$num_processes" "JAX_PROCESS_ID=$i" "$python" "$root/main.py" "$@"
    echo '&'
  done
  exit 0
fi

# Tells all processes to stop: they save what they have. Told again, they are killed.
# shellcheck disable=SC2317  # A trap calls it.
stop() {
  if ((stopped)); then
    kill -KILL "${processes[@]}" 2>/dev/null || true
  else
    stopped=$1
    kill -TERM "${processes[@]}" 2>/dev/null || true
  fi
}
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'kill -KILL "${processes[@]}" 2>/dev/null || true' EXIT

for ((i = 0; i < num_processes; i++)); do
  JAX_COORDINATOR_ADDRESS=127.0.0.1:$port JAX_NUM_PROCESSES=$num_processes \
    JAX_PROCESS_ID=$i "$python" "$root/main.py" "$@" &
  processes+=($!)
done

status=0
while [[ -n $(jobs -rp) ]]; do
  code=0
  wait -n || code=$?
  if ((code && !stopped)); then
    # The first that fails ends the others: they would wait for it forever.
    status=$code
    stopped=$code
    kill -TERM "${processes[@]}" 2>/dev/null || true
    for ((i = 0; i < 100; i++)); do
      [[ -z $(jobs -rp) ]] && break
      sleep 0.1
    done
    kill -KILL "${processes[@]}" 2>/dev/null || true
  fi
done
for process in "${processes[@]}"; do
  code=0
  wait "$process" || code=$?
  if ((code && !status)); then
    status=$((stopped ? stopped : code))
  fi
done
trap - EXIT
exit "$status"
