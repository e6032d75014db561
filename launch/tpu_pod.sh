#!/usr/bin/env bash
# Starts main.py on every host of a TPU pod slice, or shows the commands.
#
#   launch/tpu_pod.sh --name=NAME --zone=ZONE --repository=URL [--dry-run] -- \
#     --config=configs/resnet50_hue.py --workdir=gs://BUCKET/resnet50_hue \
#     --config.data_dir=gs://BUCKET/tensorflow_datasets
#
# The slice exists already (gcloud compute tpus tpu-vm create). Each host clones the
# repository, makes a virtual environment with JAX for TPU, and runs main.py, which
# joins the others. Started again after a pre-emption, the run goes on.
set -euo pipefail

usage() {
  sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

name='' zone='' repository='' dry_run=false
while (($#)); do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --repository=*) repository=${1#*=} ;;
    --dry-run) dry_run=true ;;
    --)
      shift
      break
      ;;
    *)
      echo "launch/tpu_pod.sh: unknown argument '$1'" >&2
      usage
      ;;
  esac
  shift
done
for required in name zone repository; do
  if [[ -z ${!required} ]]; then
    echo "launch/tpu_pod.sh: --$required is missing" >&2
    usage
  fi
done
if [[ " $* " != *" --config="* || " $* " != *" --workdir=gs://"* ]]; then
  echo "launch/tpu_pod.sh: after -- give main.py's --config and a --workdir=gs://… that all hosts reach" >&2
  exit 2
fi

on_every_host() {
  local command=(gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1")
  if $dry_run; then
    printf '%q ' "${command[@]}"
    printf '\n'
  else
    "${command[@]}"
  fi
}

arguments=$(printf '%q ' "$@")
on_every_host "set -e
test -d hue_jax || git clone $(printf %q "$repository") hue_jax
cd hue_jax
test -d .venv || python3 -m venv .venv
.venv/bin/pip install -q -c constraints.txt -e '.[train]' 'jax[tpu]'"
on_every_host "cd hue_jax && HUE_JAX_DISTRIBUTED=1 .venv/bin/python main.py $arguments"
