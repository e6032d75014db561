"""What the processes of a run tell each other outside of its steps.

It goes through the key-value store of JAX's coordination service, which is there as
soon as the processes are joined, and needs neither devices nor programs that agree.
"""

import itertools
import json
from collections.abc import Mapping, Sequence

import jax
from jax._src import distributed  # The store has no public name; Orbax uses this one.

from hue_jax.errors import InputError, Stopped

# Differences that a line tells; of what goes beyond, the number.
_MOST_TOLD = 8

_calls = itertools.count()


class Lost(Stopped):
  """Another process of the run failed, or no longer answers."""

  word = "stopped"
  # EX_TEMPFAIL of sysexits.h: the same command may be tried again.
  status = 75


def number() -> int:
  """Returns the number of this process among those that are joined, from 0 on."""
  return distributed.global_state.process_id


def count() -> int:
  """Returns how many processes are joined; 1 where none are."""
  return distributed.global_state.num_processes


# --- The store ------------------------------------------------------------------


def put(key: str, value: str) -> bool:
  """Puts a value into the store; returns False where it has one, or is gone."""
  try:
    distributed.global_state.client.key_value_set(key, value)
  except jax.errors.JaxRuntimeError:
    return False
  return True


def get(key: str) -> str | None:
  """Returns the value in the store; None where it has none, or is gone."""
  try:
    return distributed.global_state.client.key_value_try_get(key)
  except jax.errors.JaxRuntimeError:
    return None


def wait_for(key: str, seconds: float) -> str | None:
  """Returns the value when it is in the store; None after the time, or if it is gone.

  Args:
    key: The key.
    seconds: How long to wait.
  """
  client = distributed.global_state.client
  try:
    return client.blocking_key_value_get(key, max(1, int(1000 * seconds)))
  except jax.errors.JaxRuntimeError:
    return None


# --- Agreement --------------------------------------------------------------------


def check_same(facts: Mapping[str, str | None], *, seconds: float = 300) -> None:
  """Raises an InputError, in every process, unless all of them state the same facts.

  Every process must call it equally often, at the same places. Where there is one
  process it does nothing.

  Args:
    facts: What is stated → its value; None where that is not known, which agrees with
      every value.
    seconds: How long to wait for the others.

  Raises:
    InputError: If facts differ: which, in which processes, and what each has.
    Lost: If a process does not come.
  """
  if count() == 1:
    return
  place = f"hue_jax/facts/{next(_calls)}"
  put(f"{place}/{number()}", json.dumps(facts))
  if number() == 0:
    stated = []
    for other in range(count()):
      found = wait_for(f"{place}/{other}", seconds)
      if found is None:
        raise Lost(
          f"process {other} of {count()} did not say within {seconds:.0f} s "
          "what it was given"
        )
      stated.append(json.loads(found))
    put(f"{place}/verdict", json.dumps(differences(stated)))
  verdict = wait_for(f"{place}/verdict", 2 * seconds)
  if verdict is None:
    raise Lost(
      f"process 0 of {count()} did not say within {2 * seconds:.0f} s whether "
      "all were given the same"
    )
  if told := json.loads(verdict):
    raise InputError(f"the {count()} processes of this run differ: {told}")


def differences(facts: Sequence[Mapping[str, str | None]]) -> str:
  """Returns in what processes differ, with each one's value, as one line.

  Args:
    facts: Of each process, what is stated → its value; None agrees with every value.

  Returns:
    Text such as "seed is 3 in process 1 and 0 in processes 0, 2 to 5"; "" where all
    agree.
  """
  told = []
  for name in sorted({name for each in facts for name in each}):
    holders: dict[str, list[int]] = {}
    for process, each in enumerate(facts):
      value = each.get(name, "not set")
      if value is not None:
        holders.setdefault(value, []).append(process)
    if len(holders) > 1:
      rarest_first = sorted(holders.items(), key=lambda holder: len(holder[1]))
      values = [f"{value} in {_processes(who)}" for value, who in rarest_first]
      told.append(f"{name} is {' and '.join(values)}")
  more = f"; and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
  return "; ".join(told[:_MOST_TOLD]) + more


def _processes(numbers):
  """Returns "process 1", or "processes 0, 2 to 5"."""
  runs: list[list[int]] = []
  for each in numbers:
    if runs and each == runs[-1][-1] + 1:
      runs[-1] = [runs[-1][0], each]
    else:
      runs.append([each])
  text = ", ".join(" to ".join(str(end) for end in run) for run in runs)
  return f"process{'es' * (len(numbers) > 1)} {text}"
