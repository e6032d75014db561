"""What a run tells: rates, TensorBoard's files, and one line where they cannot be."""

import numpy as np
import pytest
from clu import metric_writers
from etils import epath

from hue_jax.train import run_report
from hue_jax.train.run_report import NotReported, Report

_FULL = "{{function_node x}} /runs/events.v2; No space left\n\tFailed to flush"


class _Time:
  now = 0.0

  def perf_counter(self):
    return self.now


class _FullDisk:
  """A writer that fails as TensorFlow's does, when it is asked to."""

  def __init__(self, logdir):
    del logdir

  def write_scalars(self, step, scalars):
    raise RuntimeError(_FULL)

  write_images = write_scalars

  def close(self):
    raise RuntimeError(_FULL)


@pytest.fixture(autouse=True)
def no_charts(monkeypatch):
  """No file is written where the tests only say that there is a workdir."""
  monkeypatch.setattr(run_report, "write_charts", lambda _: None)


@pytest.fixture
def full_disk(monkeypatch):
  monkeypatch.setattr(metric_writers, "SummaryWriter", _FullDisk)


def _report():
  return Report(epath.Path("/runs"), first_step=0, num_train_steps=8)


_LINE = "TensorBoard's file cannot be written: /runs/events.v2; No space left."


def test_a_full_disk_is_one_line(full_disk):
  with pytest.raises(NotReported) as caught, _report() as told:
    told.evaluation(1, "validation", {"loss": 1.0})
  assert str(caught.value) == _LINE
  assert caught.value.status == 2


def test_what_ends_a_run_is_told_and_not_the_report_that_fails_after_it(full_disk):
  with pytest.raises(ZeroDivisionError), _report():
    raise ZeroDivisionError


def test_a_file_that_cannot_be_opened_is_one_line(monkeypatch):
  def refuse(logdir):
    raise PermissionError(13, "Permission denied", logdir)

  monkeypatch.setattr(metric_writers, "SummaryWriter", refuse)
  with pytest.raises(NotReported, match="Permission denied: '/runs'"):
    _report()


def test_the_first_step_is_left_out_of_the_rate(monkeypatch):
  monkeypatch.setattr(run_report, "time", clock := _Time())
  rates = run_report._Clock()
  clock.now += 30.0  # of compiling
  rates.count(64)
  for _ in range(4):
    clock.now += 0.5
    rates.count(64)
  np.testing.assert_allclose(rates.lap(), 128)
  clock.now += 0.25
  rates.count(64)
  np.testing.assert_allclose(rates.lap(), 256)


def test_the_rate_of_the_first_step_alone_has_its_time(monkeypatch):
  monkeypatch.setattr(run_report, "time", clock := _Time())
  rates = run_report._Clock()
  clock.now += 32.0
  rates.count(64)
  np.testing.assert_allclose(rates.lap(), 2)


@pytest.mark.parametrize("pauses", [(0,), (1,), (3,), (0, 1, 2, 3)])
@pytest.mark.parametrize("lap", ["first", "second"])
def test_pauses_are_left_out_of_the_rate(monkeypatch, pauses, lap):
  monkeypatch.setattr(run_report, "time", clock := _Time())
  rates = run_report._Clock()
  if lap == "second":
    clock.now += 30.0
    rates.count(64)
    rates.lap()
  for step in range(4):
    clock.now += 0.5
    rates.count(64)
    if step in pauses:
      rates.pause()
      clock.now += 1000.0  # of an evaluation
      rates.resume()
  np.testing.assert_allclose(rates.lap(), 128)
