"""Times what a user waits for: imports, --help, a mistake, the first step, a whole run.

    python benchmarks/startup.py [--repeats 3] [--runs 1] [--no-steps] [--json FILE]

Each command is a process of its own, with the Python that runs this file; seconds are
those from its start to its end, or to the line of the first step, and memory is the
largest of the process. The first run of the embedded default (configs/digits_hue.py)
starts with an empty folder of compiled programs, as after installation; the second
reads what the first compiled, into another workdir. `--runs=0` leaves both out, and
`--no-steps` also the runs to their first step.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common

CONFIG = "--config=configs/digits_hue.py"
QUICK = {
  "import hue_jax": ["-c", "import hue_jax"],
  "main.py --help": ["main.py", "--help"],
  "main.py --list": ["main.py", "--list"],
  "a setting that does not exist": ["main.py", CONFIG, "--config.nosuch=1"],
  "a setting of a wrong value": [
    "main.py",
    CONFIG,
    "--workdir=unused",
    "--config.train_fraction=2",
  ],
  "a term that does not exist": [
    "main.py",
    CONFIG,
    "--workdir=unused",
    "--config.hue.terms.sectors.kind=nosuch",
  ],
}


def main() -> None:
  """Prints a table in Markdown."""
  arguments = _arguments()
  found = []
  seconds = {name: [] for name in QUICK}
  memory = {}
  for number in range(-1, arguments.repeats):  # the first reads files from the disk
    for name, command in QUICK.items():
      taken, megabytes, _ = timed(command)
      if number >= 0:
        seconds[name].append(taken)
        memory[name] = max(megabytes, memory.get(name, 0))
  found += common.rows("to the end of the process", seconds, **{"memory, MB": memory})
  if arguments.steps:
    found += _first_steps()
  for _ in range(arguments.runs):
    found += _whole_runs()
  common.report(
    "startup",
    found,
    json_file=arguments.json,
    packages=("jax", "flax", "tensorflow-cpu", "orbax-checkpoint"),
  )


def timed(
  command: list[str], environment: dict[str, str] | None = None, until: str = ""
) -> tuple[float, float, str]:
  """Runs a command of Python in the project's folder.

  Args:
    command: What follows `python`.
    environment: Environment variables beside those of this process.
    until: The start of a line of standard error, of which blanks count once, at which
      the command is timed and then ended; to the end of the process if empty.

  Returns:
    The seconds, the largest memory in megabytes, and the last line on standard output.

  Raises:
    SystemExit: If the process ended without that line.
  """
  start = time.perf_counter()
  with tempfile.TemporaryFile("w+") as output:
    process = subprocess.Popen(
      [sys.executable, *command],
      cwd=common.ROOT,
      env=os.environ | (environment or {}),
      stdout=output,
      stderr=subprocess.PIPE,
      text=True,
    )
    seconds = None
    with process.stderr as lines:
      for line in lines:
        if until and seconds is None and " ".join(line.split()).startswith(until):
          seconds = time.perf_counter() - start
          process.terminate()
    _, _, usage = os.wait4(process.pid, 0)
    end = time.perf_counter() - start
    process.returncode = 0  # wait4 has taken it
    output.seek(0)
    printed = output.read().splitlines() or [""]
  if until and seconds is None:
    sys.exit(f"error: {' '.join(command)} ended without a line {until!r}.")
  return end if seconds is None else seconds, usage.ru_maxrss / 1024, printed[-1]


def _first_steps():
  """Returns the rows of a run to its first step, first and second time."""
  with tempfile.TemporaryDirectory() as folder:
    found = [
      timed(
        [
          "main.py",
          CONFIG,
          f"--workdir={folder}/{which}",
          "--config.log_every_steps=1",
        ],
        _cache(folder),
        until="step 1/",
      )
      for which in ("first", "second")
    ]
  return _rows("digits_hue.py, to the first step", found)


def _whole_runs():
  """Returns the rows of the embedded default, first and second time."""
  with tempfile.TemporaryDirectory() as folder:
    found = [
      timed(["main.py", CONFIG, f"--workdir={folder}/{which}"], _cache(folder))
      for which in ("first", "second")
    ]
  rows = _rows("digits_hue.py, to the end", found)
  for row, (_, _, line) in zip(rows, found, strict=True):
    row["test top-1"] = json.loads(line)["test_top1"]
  return rows


def _rows(case, found):
  names = ("first time", "second time")
  return common.rows(
    case,
    {name: [seconds] for name, (seconds, _, _) in zip(names, found, strict=True)},
    **{"memory, MB": {n: m for n, (_, m, _) in zip(names, found, strict=True)}},
  )


def _cache(folder):
  """Returns the environment of a user who has run nothing and set nothing yet."""
  return {"HUE_JAX_CACHE_DIR": f"{folder}/cache", "JAX_COMPILATION_CACHE_DIR": ""}


def _arguments():
  parser = common.parser(__doc__, repeats=3)
  parser.add_argument("--runs", type=int, default=1, help="whole ones, each twice")
  parser.add_argument(
    "--no-steps", dest="steps", action="store_false", help="no run to its first step"
  )
  return parser.parse_args()


if __name__ == "__main__":
  main()
