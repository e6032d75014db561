"""Checkpoints: whole or passed over, the last and the best kept."""

import logging
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from hue_jax.errors import InputError
from hue_jax.train.checkpoints import Checkpoints
from tests.helpers.small_training import flat, small_objective, small_state


@pytest.fixture(scope="module")
def initial():
  return small_state(small_objective(), ema=True)


@pytest.fixture
def workdir(tmp_path):
  return epath.Path(tmp_path)


def _at(state, step):
  """The state as it might be after so many steps."""
  params = {
    **state.params,
    "network": {**state.params["network"], "added": jnp.zeros(())},
  }
  del params["network"]["added"]
  head = params["network"]["head"]
  params["network"]["head"] = {**head, "bias": head["bias"] + step}
  return state.replace(step=jnp.asarray(step, jnp.int32), params=params)


def _save(workdir, state, steps, keep=3, top1=None):
  with Checkpoints(workdir, keep=keep) as checkpoints:
    for step in steps:
      checkpoints.save(_at(state, step))
      if top1 and step in top1:
        checkpoints.record(step, {"top1": top1[step]})


def _restored_step(workdir, state, how="restore_last"):
  with Checkpoints(workdir, keep=3) as checkpoints:
    restored = getattr(checkpoints, how)(state)
  restored = getattr(restored, "state", restored)
  expected = _at(state, int(restored.step)) if restored.step else state
  np.testing.assert_array_equal(flat(restored.params), flat(expected.params))
  np.testing.assert_array_equal(flat(restored.opt_state), flat(expected.opt_state))
  np.testing.assert_array_equal(flat(restored.ema), flat(expected.ema))
  return int(restored.step)


def test_an_empty_workdir_gives_the_state_back(workdir, initial):
  assert _restored_step(workdir, initial) == 0


def test_the_last_comes_back_bit_by_bit(workdir, initial):
  _save(workdir, initial, [3, 7])
  assert _restored_step(workdir, initial) == 7


def test_the_last_k_and_the_best_are_kept(workdir, initial):
  top1 = {2: 0.5, 4: 0.9, 6: 0.9, 8: 0.1}
  _save(workdir, initial, [2, 4, 5, 6, 8, 9, 10], keep=2, top1=top1)
  kept = {int(path.name) for path in (workdir / "checkpoints").iterdir()}
  assert kept == {6, 9, 10}  # of equals, the last is the best
  assert _restored_step(workdir, initial, "restore_best") == 6
  assert _restored_step(workdir, initial) == 10


def test_without_an_evaluation_the_best_is_the_last(workdir, initial):
  _save(workdir, initial, [1, 2])
  assert _restored_step(workdir, initial, "restore_best") == 2


def _largest_file(folder):
  files = [path for path in Path(folder).rglob("*") if path.is_file()]
  return max(files, key=lambda path: path.stat().st_size)


def _truncate(folder):
  path = _largest_file(folder)
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip_a_byte(folder):
  path = _largest_file(folder)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 255
  path.write_bytes(bytes(data))


def _lose_a_file(folder):
  _largest_file(folder).unlink()


def _lose_the_digest(folder):
  shutil.rmtree(folder / "digest")


@pytest.mark.parametrize(
  "damage", [_truncate, _flip_a_byte, _lose_a_file, _lose_the_digest]
)
def test_a_damaged_checkpoint_is_passed_over(workdir, initial, damage, caplog):
  _save(workdir, initial, [3, 7])
  damage(workdir / "checkpoints" / "7")
  with caplog.at_level(logging.WARNING):
    assert _restored_step(workdir, initial) == 3
  assert "checkpoint 7" in caplog.text
  assert "damaged and passed over" in caplog.text
  # Its step can be written again, and nothing was thrown away.
  _save(workdir, initial, [7])
  assert _restored_step(workdir, initial) == 7
  assert len(list((workdir / "damaged_checkpoints").iterdir())) == 1


def test_a_half_written_checkpoint_is_not_seen(workdir, initial):
  _save(workdir, initial, [3, 7])
  folder = workdir / "checkpoints" / "7"
  folder.rename(workdir / "checkpoints" / "7.orbax-checkpoint-tmp-1")
  assert _restored_step(workdir, initial) == 3


def test_if_none_is_whole_the_run_does_not_start_anew_in_silence(workdir, initial):
  _save(workdir, initial, [3, 7])
  for step in ("3", "7"):
    _truncate(workdir / "checkpoints" / step)
  with pytest.raises(InputError, match="2 checkpoints of which none can be restored"):
    _restored_step(workdir, initial)
  assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"3", "7"}


def test_a_checkpoint_of_another_network_is_not_loaded(workdir, initial):
  _save(workdir, initial, [3])
  other = small_state(small_objective({}))
  with pytest.raises(InputError, match="none can be restored"):
    _restored_step(workdir, other)
