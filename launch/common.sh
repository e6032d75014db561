# What the launchers share: one line for what cannot be used, and commands that are shown
# instead of run. Sourced by them; `$0` is the launcher.
# shellcheck shell=bash

program=launch/$(basename "$0")
dry_run=false
# What the launcher accepts, --name → "value" or "switch"; what it is given; the words
# that are no flags; and what follows --, for main.py.
declare -A accepted=() flags=()
names=() main_flags=()

# Ends with one line on standard error.
fail() {
  echo "error: $program: $*" >&2
  exit 2
}

# Prints the comment at the head of the launcher, and ends.
usage() {
  sed -n '2,/^# shellcheck/{/^# shellcheck/d;/^#SBATCH/d;s/^# \{0,1\}//p}' "$0"
  exit 0
}

# Runs a command, or with --dry-run prints it as a shell would read it.
run() {
  if $dry_run; then
    local line
    printf -v line '%q ' "$@"
    echo "${line% }"
  else
    "$@"
  fi
}

# Ends unless $2, the value of $1, matches the pattern $3; $4 says what is accepted.
check() {
  [[ $2 =~ ^($3)$ ]] || fail "$1 is '$2'; it must be $4"
}

# Reads flags, as --name=value, --name value or --name.
read_flags() {
  local word name
  while (($#)); do
    word=$1
    shift
    case $word in
      --)
        main_flags=("$@")
        return
        ;;
      --help | -h) usage ;;
      --*)
        name=${word%%=*}
        case ${accepted[$name]:-} in
          switch)
            [[ $word == "$name" ]] || fail "$name is '${word#*=}'; it takes no value"
            flags[$name]=true
            ;;
          value)
            if [[ $word == *=* ]]; then
              flags[$name]=${word#*=}
            else
              (($#)) || fail "$name is the last argument; it takes a value"
              flags[$name]=$1
              shift
            fi
            [[ -n ${flags[$name]} ]] || fail "$name is ''; it takes a value"
            ;;
          *) fail "'$word' is no flag; it must be one of $(sorted "${!accepted[@]}")" ;;
        esac
        ;;
      *) names+=("$word") ;;
    esac
  done
}

sorted() {
  printf '%s\n' "$@" | sort | paste -sd, | sed 's/,/, /g'
}

# Ends unless main.py is given a --config and, if $1 is not empty, a --workdir that begins
# with it, for every host must reach it.
check_main_flags() {
  local flag config='' workdir=''
  for flag in "${main_flags[@]}"; do
    case $flag in
      --config=?*) config=${flag#*=} ;;
      --workdir=?*) workdir=${flag#*=} ;;
      --config | --workdir) fail "$flag is apart from its value; write it as $flag=…" ;;
      *[[:cntrl:]]*) fail "${flag%%=*} has a line break or a control character in it" ;;
    esac
  done
  [[ -n $config ]] || fail "after -- no --config=… of main.py is given"
  [[ -n $workdir ]] || fail "after -- no --workdir=… of main.py is given"
  [[ $workdir == "$1"* ]] ||
    fail "--workdir is '$workdir'; it must begin with $1, which every host reaches"
}
