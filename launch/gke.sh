#!/usr/bin/env bash
# Runs main.py on a TPU slice of Google Kubernetes Engine, as a JobSet.
#
#   launch/gke.sh build --image=REGION-docker.pkg.dev/PROJECT/REPOSITORY/hue_jax:TAG
#   launch/gke.sh create NAME --image=… --topology=v5e:4x4 --spot -- \
#     --config=configs/resnet50_hue.py --workdir=gs://BUCKET/resnet50_hue \
#     --config.data_dir=gs://BUCKET/tensorflow_datasets --config.shuffle=blocks
#
# Commands:
#   build    build the container of a commit (launch/Containerfile), and push it
#   render   print the manifest (launch/jobset.yaml) that create applies
#   create   apply it with kubectl
#   logs     follow the log of the first host
#   status   tell the state of the JobSet and its pods
#   delete   delete it; main.py saves its state and ends
#
# The cluster has JobSet installed and a node pool of the slice; kubectl's context names
# it. A node that is taken away begins the run anew, and main.py goes on.
#
# Flags:
#   --image=IMAGE
#   --topology=SLICE          v4:2x2x4, v5e:4x4, v5p:2x4x4, v6e:4x4, …
#   --namespace=NAMESPACE     default, if left out
#   --service-account=NAME    of Kubernetes, that may use the bucket; default, if left out
#   --spot                    on nodes that may be taken away
#   --max-restarts=NUMBER     after failures of main.py itself; 3, if left out
#   --ref=COMMIT              build: of what; HEAD, if left out
#   --dry-run                 show what would be run
# shellcheck disable=SC2317  # Functions are called by the names of commands.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "$0")/common.sh"

accepted=(
  [--image]=value [--topology]=value [--namespace]=value [--service-account]=value
  [--spot]=switch [--max-restarts]=value [--ref]=value [--dry-run]=switch
)

main() {
  local commands='build|render|create|logs|status|delete'
  (($#)) || usage
  read_flags "$@"
  dry_run=${flags[--dry-run]:-false}
  command=${names[0]:-}
  check "the command" "$command" "$commands" "one of ${commands//|/, }"
  local words=2
  [[ $command != build ]] || words=1
  ((${#names[@]} == words)) ||
    fail "$command takes $((words - 1)) name; $((${#names[@]} - 1)) are given"
  check_flags
  "${command}_jobset"
}

check_flags() {
  name=${names[1]:-hue-jax} namespace=${flags[--namespace]:-default}
  account=${flags[--service-account]:-default} image=${flags[--image]:-}
  # Pods are called NAME-slice-0-0-…, of at most 63 letters.
  local label='[a-z]([-a-z0-9]{0,38}[a-z0-9])?'
  local words="a letter and then up to 39 of a to z, 0 to 9 and -, as in resnet50-hue"
  check NAME "$name" "$label" "$words"
  check --namespace "$namespace" "$label" "$words"
  check --service-account "$account" "$label" "$words"
  if [[ $command == build || $command == render || $command == create ]]; then
    check --image "$image" '[a-z0-9.:-]+(/[a-z0-9._-]+)+(:[A-Za-z0-9._-]+)?(@sha256:[a-f0-9]{64})?' \
      "an image of a registry, as in europe-docker.pkg.dev/project/repository/hue_jax:1"
  fi
  if [[ $command == render || $command == create ]]; then
    check_slice "${flags[--topology]:-}"
    restarts=${flags[--max-restarts]:-3}
    check --max-restarts "$restarts" '[0-9]+' "a number"
    check_main_flags gs://
  elif ((${#main_flags[@]})); then
    fail "flags of main.py are given after --; $command takes none"
  fi
}

# Finds the names that GKE has for a slice, and its hosts.
check_slice() {
  local -A accelerators=(
    [v4]=tpu-v4-podslice [v5e]=tpu-v5-lite-podslice [v5p]=tpu-v5p-slice [v6e]=tpu-v6e-slice
  )
  check --topology "$1" '((v4|v5p):[0-9]+x[0-9]+x[0-9]+)|((v5e|v6e):[0-9]+x[0-9]+)' \
    "a TPU generation and a layout of chips, as in v4:2x2x4, v5e:4x4 or v5p:2x4x4"
  accelerator=${accelerators[${1%%:*}]} layout=${1#*:}
  local all=$((${layout//x/ * }))
  # Four chips a host, but for v5e's and v6e's small slices of one host.
  case $all in
    1 | 4) chips=$all ;;
    8) [[ $layout == 2x4 ]] && chips=8 || chips=4 ;;
    *) chips=4 ;;
  esac
  ((all > 0 && all % chips == 0)) ||
    fail "--topology is '$1', of $all chips; it must have 1, or a multiple of 4"
  hosts=$((all / chips))
}

# --- Commands ---------------------------------------------------------------------

build_jobset() {
  local root ref=${flags[--ref]:-HEAD} commit
  root=$(cd "$(dirname "$0")/.." && pwd)
  commit=$(git -C "$root" rev-parse --verify --quiet "$ref^{commit}") ||
    fail "--ref is '$ref'; it must be a commit of this checkout"
  if $dry_run; then
    echo "git -C $(printf %q "$root") archive $commit | docker build --file=launch/Containerfile --tag=$image -"
  else
    git -C "$root" archive "$commit" |
      docker build --file=launch/Containerfile "--tag=$image" -
  fi
  run docker push "$image"
}

render_jobset() {
  local text spot=''
  text=$(<"$(dirname "$0")/jobset.yaml")
  [[ -z ${flags[--spot]:-} ]] || spot='cloud.google.com/gke-spot: "true"'
  local -A words=(
    [NAME]=$name [NAMESPACE]=$namespace [SERVICE_ACCOUNT]=$account [IMAGE]=$image
    [MAX_RESTARTS]=$restarts [HOSTS]=$hosts [CHIPS]=$chips [TOPOLOGY]=$layout
    [ACCELERATOR]=$accelerator [SPOT]=$spot
  )
  local word
  for word in "${!words[@]}"; do
    text=${text//"@$word@"/"${words[$word]}"}
  done
  # Last, for a flag of main.py may have such a word in it.
  local arguments
  arguments=$(json_list "${main_flags[@]}")
  grep -v '^ *$' <<<"${text//'@ARGUMENTS@'/"$arguments"}"
}

create_jobset() {
  local manifest
  manifest=$(render_jobset)
  if $dry_run; then
    echo "$manifest"
    echo "# kubectl apply --filename=-"
  else
    kubectl apply --filename=- <<<"$manifest"
  fi
}

logs_jobset() {
  # Of a selector, kubectl shows ten lines if nothing else is said.
  run kubectl logs "--namespace=$namespace" --follow --tail=-1 --pod-running-timeout=1h \
    "--selector=jobset.sigs.k8s.io/jobset-name=$name,batch.kubernetes.io/job-completion-index=0"
}

status_jobset() {
  run kubectl get jobset "$name" "--namespace=$namespace"
  run kubectl get pods "--namespace=$namespace" "--selector=jobset.sigs.k8s.io/jobset-name=$name"
}

delete_jobset() {
  run kubectl delete jobset "$name" "--namespace=$namespace"
}

# --- Words ------------------------------------------------------------------------

# Prints strings as a JSON list, which YAML reads, too.
json_list() {
  local text list='' comma=''
  for text in "$@"; do
    text=${text//\\/\\\\}
    list+="$comma\"${text//\"/\\\"}\""
    comma=', '
  done
  echo "[$list]"
}

# On one line, for the file may be another when main is done.
main "$@"; exit
