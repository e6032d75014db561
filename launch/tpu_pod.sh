#!/usr/bin/env bash
# Runs main.py on a TPU slice of Google Cloud, from asking for it to giving it back.
#
#   launch/tpu_pod.sh run NAME --zone=ZONE --accelerator-type=v5litepod-16 --spot -- \
#     --config=configs/resnet50_hue.py --workdir=gs://BUCKET/resnet50_hue \
#     --config.data_dir=gs://BUCKET/tensorflow_datasets --config.shuffle=blocks
#
# Commands:
#   create   ask for the slice by queued resources, and wait until it is there
#   install  copy a commit of this checkout to every worker, and install it there
#   start    start main.py on every worker; it does not end with the connection
#   logs     follow the log of one worker until main.py ends, and end as it did
#   run      all of that, and again after each pre-emption, until main.py has ended
#   status   tell the state of the request, and of main.py on every worker
#   stop     have main.py save its state and end
#   delete   give back the slice and the request
#
# Flags, as gcloud has them; create and run also take gcloud's --service-account,
# --network, --subnetwork and --valid-until-duration:
#   --zone=ZONE, --project=PROJECT
#   --accelerator-type=TYPE     v4-32, v5litepod-16, v5p-64, v6e-16, …
#   --runtime-version=VERSION   that of the type, if left out
#   --spot | --reserved         on demand, if left out
#   --ref=COMMIT                what is installed; HEAD, if left out
#   --worker=N                  whose log is followed; 0, if left out
#   --poll-seconds=SECONDS      between two questions; 30, if left out
#   --delete                    run: give the slice back when main.py has ended well
#   --dry-run                   show the commands of gcloud; the slice is taken for there
# shellcheck disable=SC2317  # Functions are called by the names of commands.
set -euo pipefail

# How often what fails is tried again, and whether a run is followed.
most=3 following=false

# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "$0")/common.sh"

accepted=(
  [--zone]=value [--project]=value [--accelerator-type]=value [--runtime-version]=value
  [--spot]=switch [--reserved]=switch [--ref]=value [--worker]=value
  [--poll-seconds]=value [--delete]=switch [--dry-run]=switch [--service-account]=value
  [--network]=value [--subnetwork]=value [--valid-until-duration]=value
)

main() {
  local commands='create|install|start|logs|run|status|stop|delete'
  (($#)) || usage
  read_flags "$@"
  dry_run=${flags[--dry-run]:-false}
  check "the command" "${names[0]:-}" "$commands" "one of ${commands//|/, }"
  ((${#names[@]} == 2)) ||
    fail "after ${names[0]} one name of a slice is needed; ${#names[@]} words are given"
  check_flags
  "${names[0]}_slice"
}

check_flags() {
  command=${names[0]} name=${names[1]} zone=${flags[--zone]:-}
  check NAME "$name" '[a-z]([-a-z0-9]{0,38}[a-z0-9])?' \
    "a letter and then up to 39 of a to z, 0 to 9 and -, as in resnet50-hue"
  check --zone "$zone" '[a-z]+-[a-z]+[0-9]+-[a-z]' "a zone, as in us-west4-a"
  ref=${flags[--ref]:-HEAD} worker=${flags[--worker]:-0}
  seconds=${flags[--poll-seconds]:-30}
  check --worker "$worker" '[0-9]+' "the number of a worker, from 0"
  check --poll-seconds "$seconds" '[0-9]+' "a number of seconds"
  place=("--zone=$zone" ${flags[--project]:+"--project=${flags[--project]}"})
  if [[ $command == create || $command == run ]]; then
    check_request
  fi
  if [[ $command == start || $command == run ]]; then
    check_main_flags gs://
  elif ((${#main_flags[@]})); then
    fail "flags of main.py are given after --; $command takes none"
  fi
  if [[ $command == install || $command == run ]]; then
    commit=$(git -C "$(dirname "$0")" rev-parse --verify --quiet "$ref^{commit}") ||
      fail "--ref is '$ref'; it must be a commit of this checkout"
  fi
}

# What a request for a slice needs.
check_request() {
  local type=${flags[--accelerator-type]:-}
  check --accelerator-type "$type" '(v4|v5p|v5litepod|v6e)-[0-9]+' \
    "a type of TPU slice, as in v4-32, v5litepod-16, v5p-64 or v6e-16"
  local -A runtimes=(
    [v4]=tpu-ubuntu2204-base [v5litepod]=v2-alpha-tpuv5-lite
    [v5p]=v2-alpha-tpuv5 [v6e]=v2-alpha-tpuv6e
  )
  request=(
    "--accelerator-type=$type"
    "--runtime-version=${flags[--runtime-version]:-${runtimes[${type%-*}]}}"
  )
  [[ -z ${flags[--spot]:-} || -z ${flags[--reserved]:-} ]] ||
    fail "--spot and --reserved are both given; only one of them may be"
  local flag
  for flag in --spot --reserved; do
    [[ -z ${flags[$flag]:-} ]] || request+=("$flag")
  done
  for flag in --service-account --network --subnetwork --valid-until-duration; do
    [[ -z ${flags[$flag]:-} ]] || request+=("$flag=${flags[$flag]}")
  done
}

# --- Commands ---------------------------------------------------------------------

create_slice() {
  read_state
  if [[ $state == NONE ]] || $dry_run; then
    ask_for_slice
  fi
  wait_for_slice
}

ask_for_slice() {
  run gcloud compute tpus queued-resources create "$name" "--node-id=$name" \
    "${place[@]}" "${request[@]}"
}

install_slice() {
  read_work
  [[ $at_work == none ]] ||
    fail "main.py is at work on $name; stop it before a commit is installed"
  install_on_workers
}

install_on_workers() {
  local folder code=0
  folder=$(mktemp -d)
  tell "installing commit $commit on every worker"
  [[ $ref != HEAD ]] || git -C "$(dirname "$0")/.." diff --quiet HEAD ||
    tell "what is changed in this checkout and not committed is left out"
  git -C "$(dirname "$0")/.." archive --prefix=hue_jax/ -o "$folder/hue_jax.tgz" "$commit"
  run gcloud compute tpus tpu-vm scp "$folder/hue_jax.tgz" "$name:" "${place[@]}" \
    --worker=all || code=$?
  rm -r "$folder"
  ((code == 0)) || return "$code"
  on_workers all "$(remote_install)"
}

start_slice() {
  read_work
  if [[ $at_work == same ]]; then
    tell "main.py is at work with these flags already"
  else
    refuse_other_flags
    on_workers all "$(remote_start)"
  fi
}

logs_slice() {
  on_workers "$worker" "$(remote_logs)"
}

status_slice() {
  read_state
  echo "$name: $state"
  [[ $state != ACTIVE ]] || on_workers all "$(remote_status)"
}

stop_slice() {
  on_workers all "$(remote_stop)"
}

delete_slice() {
  run gcloud compute tpus queued-resources delete "$name" "${place[@]}" --force --quiet
}

run_slice() {
  local code times=0 doing
  while true; do
    create_slice
    code=0
    # What fails while a slice is taken away tells nothing; the state does.
    start_and_follow || code=$?
    if ((code == 0)); then
      break
    elif ! is_there; then
      tell "the slice was taken away; asking for another"
      delete_slice
    elif [[ -n $doing ]]; then
      tell "$doing has failed with status $code; the slice is kept"
      exit "$code"
    elif ((code == 75 && times++ < 3)); then
      tell "main.py died on another worker; starting again"
    else
      tell "main.py has ended with status $code; the slice is kept"
      exit "$code"
    fi
  done
  [[ -z ${flags[--delete]:-} ]] || delete_slice
}

# Leaves in `doing` what has failed before main.py was at work.
start_and_follow() {
  doing='asking the workers'
  read_work || return
  if [[ $at_work == same ]]; then
    tell "main.py is at work with these flags; following it"
  else
    refuse_other_flags
    doing='installing'
    install_on_workers || return
    doing='starting main.py'
    on_workers all "$(remote_start)" || return
  fi
  doing='' following=true
  follow
}

# Follows the log; a connection that breaks (255) is made anew while the slice is there.
follow() {
  local code
  while true; do
    code=0
    logs_slice || code=$?
    ((code == 255)) || return "$code"
    read_state
    [[ $state == ACTIVE ]] || return "$code"
    tell "the connection broke; following again"
    sleep "$seconds"
  done
}

# --- The state of the request -----------------------------------------------------

# Puts gcloud's state of the request into `state`, or NONE if there is no request. Where
# gcloud fails it is asked again, without end for a run that is followed.
read_state() {
  state=ACTIVE
  $dry_run && return
  local failed=0
  until state=$(describe state.state 2>&1); do
    if [[ $state == *NOT_FOUND* ]]; then
      state=NONE
      return
    fi
    echo "$state" >&2
    if [[ $state =~ PERMISSION_DENIED|UNAUTHENTICATED|INVALID ]] ||
      { ! $following && ((failed++ >= most)); }; then
      fail "gcloud does not tell the state of $name"
    fi
    tell "gcloud does not tell the state of $name; asking again"
    sleep "$seconds"
  done
  state=${state##*$'\n'}
}

describe() {
  gcloud compute tpus queued-resources describe "$name" "${place[@]}" "--format=value($1)"
}

wait_for_slice() {
  local before='' remade=0
  while read_state && [[ $state != ACTIVE ]]; do
    [[ $state == "$before" ]] || tell "the request is $state"
    before=$state
    case $state in
      SUSPENDED | FAILED)
        [[ $command == run ]] ||
          fail "the request is $state; delete it and create another"
        ((remade++ < most)) ||
          fail "the request is $state, as $most before it:" \
            "$(describe state.failedData.error.message || true)"
        delete_slice
        ask_for_slice
        ;;
      NONE) fail "there is no request $name in $zone any more; it was deleted" ;;
    esac
    sleep "$seconds"
  done
}

# Whether the slice is still there some time after main.py has ended: a pre-emption is
# told to main.py first, and in the state of the request later.
is_there() {
  local times
  for times in 1 2 3; do
    read_state
    [[ $state == ACTIVE ]] || return
    ((times == 3)) || sleep "$seconds"
  done
}

# Puts into `at_work` what main.py does on the workers: none, same (it is at work with the
# flags that are given) or other. What is left of it on some of them is stopped.
read_work() {
  at_work=none
  $dry_run && return
  local told
  told=$(on_workers all "$(remote_work)") || return
  if [[ $told == *"main.py has other flags"* ]]; then
    at_work=other
  elif [[ $told != *"main.py has these flags"* ]]; then
    return
  elif [[ $told != *"main.py is not at work"* ]]; then
    at_work=same
  else
    tell "main.py is at work on some workers alone; stopping it"
    stop_slice
  fi
}

refuse_other_flags() {
  [[ $at_work != other ]] ||
    fail "main.py is at work on $name with other flags; stop it, or give those"
}

tell() {
  echo "$program: $*" >&2
}

# --- What workers do --------------------------------------------------------------

on_workers() {
  run gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" "--worker=$1" "--command=$2"
}

# The newest Python has no TensorFlow; uv fetches the container's where it is missing.
remote_install() {
  cat <<'END'
set -eu
mkdir -p hue_jax
find hue_jax -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
tar -xzf hue_jax.tgz
cd hue_jax
export PATH=$PATH:~/.local/bin
command -v uv >/dev/null || python3 -m pip install -q --user uv
test -d .venv || uv venv -q --python 3.11 .venv
uv pip install -q --python .venv/bin/python -c constraints.txt -e '.[train,gcs,tpu]'
END
}

# The shell that waits for main.py lives through SIGTERM, to note how main.py ended.
remote_start() {
  local arguments
  printf -v arguments '%q ' "${main_flags[@]}"
  cat <<END
set -eu
mkdir -p hue_jax_run
rm -f hue_jax_run/status
printf '%s\n' $(printf %q "$arguments") >hue_jax_run/flags
cd hue_jax
HUE_JAX_DISTRIBUTED=1 nohup setsid bash -c 'trap : TERM
.venv/bin/python main.py "\$@"
echo \$? >../hue_jax_run/status' main.py $arguments>../hue_jax_run/log 2>&1 </dev/null &
echo \$! >../hue_jax_run/pid
END
}

remote_work() {
  local arguments=''
  ((${#main_flags[@]} == 0)) || printf -v arguments '%q ' "${main_flags[@]}"
  cat <<END
if ! kill -0 "\$(cat hue_jax_run/pid 2>/dev/null)" 2>/dev/null; then
  echo "main.py is not at work"
elif test "\$(cat hue_jax_run/flags 2>/dev/null)" = $(printf %q "$arguments"); then
  echo "main.py has these flags"
else
  echo "main.py has other flags"
fi
END
}

remote_logs() {
  cat <<'END'
set -eu
cd hue_jax_run
tail -n +1 -f --pid="$(cat pid)" log
exit "$(cat status || echo 254)"
END
}

remote_status() {
  cat <<'END'
cd hue_jax_run 2>/dev/null || { echo "main.py was not started"; exit 0; }
if kill -0 "$(cat pid)" 2>/dev/null; then
  echo "main.py is at work: $(tail -n 1 log)"
else
  echo "main.py has ended with status $(cat status 2>/dev/null || echo unknown)"
fi
END
}

remote_stop() {
  cat <<'END'
cd hue_jax_run 2>/dev/null || exit 0
pid=$(cat pid)
kill -TERM -- "-$pid" 2>/dev/null || exit 0
while kill -0 "$pid" 2>/dev/null; do sleep 1; done
tail -n 1 log
END
}

# On one line, for the file may be another when main is done.
main "$@"; exit
