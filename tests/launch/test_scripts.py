"""What all launchers have in common: they are clean, and tell what they accept."""

import configparser
import re
import shlex
import shutil
import subprocess

import pytest

from tests.launch.conftest import ROOT

_SCRIPTS = sorted(
  path for path in (ROOT / "launch").iterdir() if path.suffix in (".sh", ".sbatch")
)
_WHOLE = [path for path in _SCRIPTS if path.stem not in ("common", "local_processes")]
_MAIN = ("--", "--config=c", "--workdir=gs://b/r")
_TPU = ("--zone=us-west4-a",)
_REQUEST = (*_TPU, "--accelerator-type=v5litepod-16")
_GKE = ("--image=a.dev/b/c", "--topology=v5e:4x4")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not there")
@pytest.mark.parametrize("path", _SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path):
  done = subprocess.run(
    ["shellcheck", "-x", path], capture_output=True, text=True, check=False
  )
  assert not done.returncode, done.stdout


@pytest.mark.parametrize("path", _WHOLE, ids=lambda path: path.name)
def test_help_tells_every_flag(stand_ins, path):
  done = stand_ins.run(path.name, "--help")
  assert done.returncode == 0
  (accepted,) = re.findall(r"^accepted=\((.*?)\)", path.read_text(), re.M | re.S)
  for flag in re.findall(r"\[(--[\w-]+)\]", accepted):
    short = flag.removeprefix("--") if path.suffix == ".sbatch" else flag
    assert short in done.stdout, flag
  assert "set -euo" not in done.stdout


@pytest.mark.parametrize(
  ("script", "arguments", "line"),
  [
    ("tpu_pod.sh", ("begin", "n"), "the command is 'begin'; it must be one of create,"),
    ("tpu_pod.sh", ("create",), "after create one name of a slice is needed; 1 words"),
    (
      "tpu_pod.sh",
      ("status", "Name", *_TPU),
      "NAME is 'Name'; it must be a letter and",
    ),
    (
      "tpu_pod.sh",
      ("status", "n"),
      "--zone is ''; it must be a zone, as in us-west4-a",
    ),
    (
      "tpu_pod.sh",
      ("status", "n", "--zone=west"),
      "--zone is 'west'; it must be a zone",
    ),
    (
      "tpu_pod.sh",
      ("status", "n", "--zome=x"),
      "'--zome=x' is no flag; it must be one ",
    ),
    (
      "tpu_pod.sh",
      ("status", "n", "--zone"),
      "--zone is the last argument; it takes a",
    ),
    ("tpu_pod.sh", ("status", "n", "--zone="), "--zone is ''; it takes a value"),
    ("tpu_pod.sh", ("create", "n", "--spot=1"), "--spot is '1'; it takes no value"),
    (
      "tpu_pod.sh",
      ("create", "n", *_TPU, "--accelerator-type=v5e-16"),
      "--accelerator-type is 'v5e-16'; it must be a type of TPU slice, as in v4-32,",
    ),
    (
      "tpu_pod.sh",
      ("create", "n", *_REQUEST, "--spot", "--reserved"),
      "--spot and --reserved are both given; only one of them may be",
    ),
    (
      "tpu_pod.sh",
      ("install", "n", *_TPU, "--ref=none"),
      "--ref is 'none'; it must be a commit of this checkout",
    ),
    (
      "tpu_pod.sh",
      ("logs", "n", *_TPU, "--worker=all"),
      "--worker is 'all'; it must be the number of a worker, from 0",
    ),
    (
      "tpu_pod.sh",
      ("stop", "n", *_TPU, "--poll-seconds=soon"),
      "--poll-seconds is 'soon'; it must be a number of seconds",
    ),
    (
      "tpu_pod.sh",
      ("stop", "n", *_TPU, *_MAIN),
      "flags of main.py are given after --;",
    ),
    ("tpu_pod.sh", ("start", "n", *_TPU), "after -- no --config=… of main.py is given"),
    (
      "tpu_pod.sh",
      ("start", "n", *_TPU, "--", "--config=c"),
      "after -- no --workdir=… of main.py is given",
    ),
    (
      "tpu_pod.sh",
      ("start", "n", *_TPU, "--", "--config=c", "--workdir=runs"),
      "--workdir is 'runs'; it must begin with gs://, which every host reaches",
    ),
    (
      "tpu_pod.sh",
      ("start", "n", *_TPU, "--", "--config", "c"),
      "--config is apart from its value; write it as --config=…",
    ),
    (
      "gke.sh",
      ("apply", "n"),
      "the command is 'apply'; it must be one of build, render",
    ),
    ("gke.sh", ("create", *_GKE), "create takes 1 name; 0 are given"),
    ("gke.sh", ("build", "n", *_GKE), "build takes 0 name; 1 are given"),
    ("gke.sh", ("create", "n_1", *_GKE), "NAME is 'n_1'; it must be a letter and then"),
    (
      "gke.sh",
      ("status", "n", "--namespace=A"),
      "--namespace is 'A'; it must be a let",
    ),
    (
      "gke.sh",
      ("create", "n", *_MAIN),
      "--image is ''; it must be an image of a regis",
    ),
    (
      "gke.sh",
      ("create", "n", "--image=a.dev/b/c", "--topology=v5e-16", *_MAIN),
      "--topology is 'v5e-16'; it must be a TPU generation and a layout of chips, as i",
    ),
    (
      "gke.sh",
      ("create", "n", "--image=a.dev/b/c", "--topology=v5e:3x3", *_MAIN),
      "--topology is 'v5e:3x3', of 9 chips; it must have 1, or a multiple of 4",
    ),
    (
      "gke.sh",
      ("create", "n", *_GKE, "--max-restarts=-1", *_MAIN),
      "--max-restarts is '-1'; it must be a number",
    ),
    (
      "gke.sh",
      ("build", *_GKE, "--ref=none"),
      "--ref is 'none'; it must be a commit of",
    ),
    (
      "gke.sh",
      ("create", "n", *_GKE, *_MAIN, "--config.x=a\nb"),
      "--config.x has a line break or a control character in it",
    ),
    ("slurm.sbatch", ("train",), "'train' is no flag; flags of main.py come after --"),
    (
      "slurm.sbatch",
      ("--nodes=0",),
      "--nodes is '0'; it must be a number of at least 1",
    ),
    (
      "slurm.sbatch",
      ("--nodes=1",),
      "--gpus-per-node is ''; it must be a number of at",
    ),
    (
      "slurm.sbatch",
      ("--gpus-per-node=8", "--processes=cpu"),
      "--processes is 'cpu'; it must be gpu or node",
    ),
    (
      "slurm.sbatch",
      ("--gpus-per-node=8", "--cpus-per-task=x"),
      "--cpus-per-task is 'x'; it must be a number of at least 1",
    ),
    (
      "slurm.sbatch",
      ("--gpus-per-node=8", "--time=a day"),
      "--time is 'a day'; it must be a time, as in 30, 24:00:00 or 2-12",
    ),
    (
      "slurm.sbatch",
      ("--gpus=8",),
      "'--gpus=8' is no flag; it must be one of --account",
    ),
    (
      "slurm.sbatch",
      ("--gpus-per-node=8", "--"),
      "after -- no --config=… of main.py is",
    ),
  ],
)
def test_a_mistyped_argument_is_one_line_and_nothing_is_called(
  stand_ins, script, arguments, line
):
  done = stand_ins.run(script, *arguments)
  assert done.returncode == 2
  assert done.stdout == ""
  assert done.stderr.startswith(f"error: launch/{script}: {line}"), done.stderr
  assert done.stderr.count("\n") == 1
  assert not stand_ins.calls()


@pytest.mark.parametrize(
  ("script", "arguments", "commands"),
  [
    (
      "tpu_pod.sh",
      ("run", "n", *_REQUEST, *_MAIN),
      [
        "gcloud compute tpus queued-resources create n",
        "gcloud compute tpus tpu-vm scp",
      ]
      + ["gcloud compute tpus tpu-vm ssh n"] * 3,
    ),
    (
      "tpu_pod.sh",
      ("delete", "n", *_TPU),
      ["gcloud compute tpus queued-resources del"],
    ),
    ("gke.sh", ("build", *_GKE), ["git -C", "docker push a.dev/b/c"]),
    ("gke.sh", ("logs", "n"), ["kubectl logs"]),
    ("gke.sh", ("delete", "n"), ["kubectl delete jobset n --namespace=default"]),
    (
      "slurm.sbatch",
      ("--gpus-per-node=8", *_MAIN),
      ["sbatch --nodes=1 --gpus-per-node"],
    ),
  ],
)
def test_a_dry_run_shows_the_commands_and_calls_none(
  stand_ins, script, arguments, commands
):
  place = arguments.index("--") if "--" in arguments else len(arguments)
  done = stand_ins.run(script, *arguments[:place], "--dry-run", *arguments[place:])
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert len(lines) == len(commands), done.stdout
  for line, command in zip(lines, commands, strict=True):
    assert line.startswith(command)
    subprocess.run(["bash", "-n", "-c", line], check=True)  # a shell could read it
  assert not stand_ins.calls()


def test_local_processes_show_their_commands():
  done = subprocess.run(
    [ROOT / "launch/local_processes.sh", "--dry-run", "2", "--config=c", "--x=a b"],
    capture_output=True,
    text=True,
    check=True,
  )
  first, second = (shlex.split(line) for line in done.stdout.splitlines())
  assert first[-4].endswith("main.py")
  assert first[-3:] == ["--config=c", "--x=a b", "&"]
  assert "JAX_PROCESS_ID=0" in first
  assert "JAX_PROCESS_ID=1" in second


def test_the_container_copies_what_is_there_and_names_extras_that_are():
  text = (ROOT / "launch/Containerfile").read_text()
  for line in re.findall(r"^COPY (.*)$", text, re.M):
    for name in line.split()[:-1]:
      assert (ROOT / name).exists(), name
  setup = configparser.ConfigParser()
  setup.read(ROOT / "setup.cfg")
  (extras,) = re.findall(r'"\.\[([\w,]+)\]"', text)
  assert set(extras.split(",")) <= set(setup["options.extras_require"])
  assert '"jax[$JAX]"' in text
  assert 'ENTRYPOINT ["python", "main.py"]' in text  # no shell between it and signals


@pytest.mark.parametrize("name", ["tpu_pod.sh", "Containerfile"])
def test_what_reads_a_bucket_is_installed_for_the_commands_that_read_one(name):
  (extras,) = re.findall(
    r"['\"]\.\[([\w,]+)\]['\"]", (ROOT / "launch" / name).read_text()
  )
  assert {"train", "gcs"} <= set(extras.split(","))
