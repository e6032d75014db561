"""The first signal is remembered, the second ends the process with a line."""

import os
import signal
import subprocess
import sys

import pytest

from hue_jax.train.preemption import Preempted, Watch

_SIGNALS = [signal.SIGTERM, signal.SIGINT]

_ASK = """
import time
from hue_jax.train.preemption import Watch, stop_at_once
stop_at_once()
print("ready", flush=True)
{body}
"""
_NEVER_ASKS = """
with Watch() as watch:
  print("watching", flush=True)
  while True:
    time.sleep(0.01)
"""
_DOES_NOT_WATCH = """
print("watching", flush=True)
time.sleep(60)
"""


def _start(body, **options):
  process = subprocess.Popen(
    [sys.executable, "-c", _ASK.format(body=body)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    **options,
  )
  assert process.stdout.readline() == "ready\n"
  assert process.stdout.readline() == "watching\n"
  return process


@pytest.mark.parametrize("first", _SIGNALS)
@pytest.mark.parametrize("second", _SIGNALS)
def test_a_second_signal_stops_at_once(first, second):
  process = _start(_NEVER_ASKS)
  process.send_signal(first)
  line = process.stderr.readline()
  assert line == "stopping after this step; a second signal stops at once.\n"
  process.send_signal(second)
  _, rest = process.communicate(timeout=120)
  assert rest == f"stopped at once by {second.name}.\n"
  assert process.returncode == 128 + second


@pytest.mark.parametrize("signum", _SIGNALS)
def test_without_a_watch_the_first_does(signum):
  process = _start(_DOES_NOT_WATCH)
  process.send_signal(signum)
  _, rest = process.communicate(timeout=120)
  assert rest == f"stopped at once by {signum.name}.\n"
  assert process.returncode == 128 + signum


def _told_at_3(signum):
  for item in range(6):
    if item == 3:
      signal.raise_signal(signum)
    yield item


@pytest.mark.parametrize("signum", _SIGNALS)
def test_the_first_is_remembered_and_the_handlers_come_back(signum):
  before = {each: signal.getsignal(each) for each in _SIGNALS}
  with Watch() as watch:
    assert not watch.told_to_stop()
    seen = []
    with pytest.raises(Preempted, match=f"stopped by {signum.name} here;") as caught:
      seen.extend(watch.until_told(_told_at_3(signum), "here"))
    assert seen == [0, 1, 2]
    assert caught.value.status == 128 + signum
    assert watch.told_to_stop()
    assert {each: signal.getsignal(each) for each in _SIGNALS} == before
  with Watch() as watch:
    assert not watch.told_to_stop()
  assert {each: signal.getsignal(each) for each in _SIGNALS} == before


def test_what_is_ignored_stays_ignored():
  # As of a command in the background of a script.
  previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with Watch() as watch:
      signal.raise_signal(signal.SIGINT)
      assert not watch.told_to_stop()
  finally:
    signal.signal(signal.SIGINT, previous)
