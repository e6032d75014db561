#!/usr/bin/env bash
# Several processes of one run on this machine, joined as the hosts of a pod are.
#
#   launch/local_processes.sh 2 --config=configs/digits_hue.py --workdir=runs/two
#
# PYTHON names the interpreter. On CPUs each process has its own devices; on GPUs give
# each its part with CUDA_VISIBLE_DEVICES inside a wrapper named by PYTHON.
set -euo pipefail

if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: launch/local_processes.sh NUM_PROCESSES [flags of main.py]" >&2
  exit 2
fi
num_processes=$1
shift
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python}
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

processes=()
trap 'kill "${processes[@]}" 2>/dev/null || true' EXIT
trap 'exit 143' INT TERM
for ((i = 0; i < num_processes; i++)); do
  JAX_COORDINATOR_ADDRESS=127.0.0.1:$port JAX_NUM_PROCESSES=$num_processes \
    JAX_PROCESS_ID=$i "$python" "$root/main.py" "$@" &
  processes+=($!)
done
for process in "${processes[@]}"; do
  # The first that fails ends the others: they would wait for it forever.
  wait -n || exit $?
done
