"""Stand-ins for gcloud, kubectl, docker and Slurm, which record and check."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each command, and the flags that its real one has; of gcloud's more are not used here.
_ACCEPTED = {
  "gcloud compute tpus queued-resources create": {
    *("--node-id", "--zone", "--project", "--accelerator-type", "--runtime-version"),
    *("--spot", "--reserved", "--service-account", "--network", "--subnetwork"),
    "--valid-until-duration",
  },
  "gcloud compute tpus queued-resources describe": {"--zone", "--project", "--format"},
  "gcloud compute tpus queued-resources delete": {
    *("--zone", "--project", "--force", "--quiet"),
  },
  "gcloud compute tpus tpu-vm scp": {"--zone", "--project", "--worker"},
  "gcloud compute tpus tpu-vm ssh": {"--zone", "--project", "--worker", "--command"},
  "kubectl apply": {"--filename"},
  "kubectl logs": {
    *("--namespace", "--follow", "--pod-running-timeout", "--selector", "--tail"),
  },
  "kubectl get": {"--namespace", "--selector"},
  "kubectl delete": {"--namespace"},
  "docker build": {"--file", "--tag"},
  "docker push": set(),
  "sbatch": {
    *("--nodes", "--gpus-per-node", "--ntasks-per-node", "--cpus-per-task", "--time"),
    *("--partition", "--account", "--qos", "--constraint", "--mem", "--job-name"),
    "--export",
  },
  "srun": {"--kill-on-bad-exit"},
  "scancel": {"--signal"},
  "scontrol requeue": set(),
}

_STAND_IN = """#!{python} -IS
import json, os, shutil, subprocess, sys
from pathlib import Path

folder = Path({folder!r})
accepted = {{name: set(flags) for name, flags in json.loads({accepted!r}).items()}}
called = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
name = max(
  (name for name in accepted if called[: name.count(" ") + 1] == name.split()),
  key=len,
  default=None,
)
assert name, called
rest, flags = [], {{}}
for word in called[name.count(" ") + 1 :]:
  if name in ("sbatch", "srun") and rest:
    rest.append(word)
  elif word.startswith("--"):
    flag, _, value = word.partition("=")
    assert flag in accepted[name], word
    flags[flag] = value
  else:
    rest.append(word)
stdin = "" if sys.stdin.isatty() or name not in ("kubectl apply", "docker build") else (
  sys.stdin.buffer.read().decode(errors="replace"))
with open(folder / "calls.jsonl", "a") as file:
  file.write(json.dumps([name, rest, flags, stdin[:10000], called]) + chr(10))

def next_of(what, default):
  path = folder / what
  values = json.loads(path.read_text()) if path.exists() else []
  if len(values) > 1:
    path.write_text(json.dumps(values[1:]))
  return values[0] if values else default

homes = [folder / "worker0", folder / "worker1"]
if name.endswith("describe"):
  state = next_of("states.json", "ACTIVE")
  if "failedData" in flags["--format"]:
    state = "no more capacity"
  elif state in ("NOT_FOUND", "PERMISSION_DENIED", "UNAVAILABLE"):
    sys.exit(f"ERROR: (gcloud.compute.tpus.queued-resources.describe) {{state}}: no.")
  print(state)
elif name.endswith("scp"):
  for home in homes:
    home.mkdir(exist_ok=True)
    shutil.copy(rest[0], home)
elif name.endswith("ssh"):
  if (folder / "breaks.json").exists() and (code := next_of("breaks.json", 0)):
    sys.exit(code)
  which = homes if flags["--worker"] == "all" else [homes[int(flags["--worker"])]]
  for home in which:
    home.mkdir(exist_ok=True)
    there = os.environ | {{"HOME": str(home)}}
    done = subprocess.run(["bash", "-c", flags["--command"]], cwd=home, env=there)
    if done.returncode:
      sys.exit(done.returncode)
elif name == "srun":
  os.execvp(rest[0], rest)
elif name == "scancel":
  os.kill(int((folder / "main.pid").read_text()), 15)
"""


class StandIns:
  """The folder of the stand-ins, and what they were called with."""

  def __init__(self, folder):
    self.folder = folder
    (folder / "bin").mkdir()
    for name in {name.split()[0] for name in _ACCEPTED}:
      path = folder / "bin" / name
      accepted = json.dumps({name: sorted(of) for name, of in _ACCEPTED.items()})
      path.write_text(
        _STAND_IN.format(python=sys.executable, folder=str(folder), accepted=accepted)
      )
      path.chmod(0o755)

  def environment(self, **more):
    """The environment in which they stand before what they stand for."""
    path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
    return os.environ | {"PATH": path} | more

  def run(self, script, *arguments, **environment):
    """Runs a script of `launch/`."""
    return subprocess.run(
      ["bash", ROOT / "launch" / script, *arguments],
      env=self.environment(**environment),
      capture_output=True,
      text=True,
      check=False,
      stdin=subprocess.DEVNULL,
      timeout=600,
    )

  def set(self, what, values):
    """Sets what is answered, one after the other, the last one for ever."""
    (self.folder / f"{what}.json").write_text(json.dumps(values))

  def calls(self):
    """What was called: the command, its words, its flags, what it read, and all."""
    path = self.folder / "calls.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


@pytest.fixture
def stand_ins(tmp_path):
  """Stand-ins in a folder of their own."""
  return StandIns(tmp_path)
