"""Checkpoints: whole or passed over, the last and the best kept."""

import dataclasses
import errno
import logging
import shutil
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath
from jax.experimental import multihost_utils

from hue_jax.errors import InputError
from hue_jax.train.checkpoints import WEIGHTS, Checkpoints, NotSaved
from hue_jax.trees import tree_digest
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


@pytest.mark.parametrize("damaged", [{}, {7: "cut"}])
def test_no_process_looks_again_before_the_first_has_moved_what_is_damaged(
  workdir, initial, damaged
):
  """As the second process, which the first one's broadcast holds up."""
  _save(workdir, initial, [3, 7])
  told = mock.Mock()
  told.wait.return_value = np.zeros(8, np.uint8)
  checkpoints = Checkpoints(workdir, keep=3)
  with (
    mock.patch.object(jax, "process_index", return_value=1),
    mock.patch.object(jax, "process_count", return_value=2),
    mock.patch.object(multihost_utils, "broadcast_one_to_all", told.wait),
    mock.patch.object(checkpoints._manager, "reload", told.reload),
  ):
    checkpoints._put_aside(damaged)
  assert [call[0] for call in told.mock_calls] == ["wait"] + ["reload"] * len(damaged)
  assert (workdir / "checkpoints" / "7").exists()  # It is the first that moves it.


def test_one_that_cannot_be_moved_is_named(workdir, initial):
  _save(workdir, initial, [3, 7])
  _truncate(workdir / "checkpoints" / "7")
  (workdir / "damaged_checkpoints").write_text("no folder")
  with pytest.raises(InputError, match=r"^checkpoint 7 of .* damaged, and cannot be"):
    _restored_step(workdir, initial)


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


def _as_of_version_0_1(folder, state, top1):
  """A checkpoint as earlier versions wrote it: without memory, metrics inside."""
  arrays = jax.tree.map(np.array, state.arrays())
  del arrays["memory"]
  with ocp.CheckpointManager(
    folder / "checkpoints",
    options=ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics["top1"]),
    item_names=("state", "digest"),
  ) as manager:
    manager.save(
      int(state.step),
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(arrays),
        digest=ocp.args.JsonSave({"sha256": tree_digest(arrays)}),
      ),
      metrics={"top1": top1},
    )


_WITH_MEMORY = {"centers": {"kind": "center_loss", "tap": "features"}}


def test_a_checkpoint_of_the_version_before_is_read(workdir, initial, caplog):
  for step, top1 in ((2, 0.5), (4, 0.9), (6, -1.0)):
    _as_of_version_0_1(workdir, _at(initial, step), top1)
  with caplog.at_level(logging.WARNING):
    assert _restored_step(workdir, initial) == 6
  assert "lacks memory" in caplog.text
  assert _restored_step(workdir, initial, "restore_best") == 4
  with Checkpoints(workdir, keep=1) as checkpoints:
    assert [checkpoints.is_evaluated(step) for step in (2, 4, 6)] == [True, True, False]
    checkpoints.save(_at(initial, 8))
  assert _restored_step(workdir, initial, "restore_best") == 4
  assert _restored_step(workdir, initial) == 8


def test_one_that_lacks_what_the_run_needs_is_refused_in_a_line(workdir):
  state = small_state(small_objective(_WITH_MEMORY))
  _as_of_version_0_1(workdir, _at(state, 4), 0.9)
  with Checkpoints(workdir, keep=1) as checkpoints:
    with pytest.raises(InputError, match=r"checkpoint 4 of .* lacks memory, which"):
      checkpoints.restore_last(state)
    # The network alone does not need it; nothing was put aside.
    assert int(checkpoints.restore_best(state, WEIGHTS).step) == 4


def test_every_field_that_is_data_comes_back(workdir):
  state = small_state(small_objective(_WITH_MEMORY), ema=True)
  fields = state.arrays()
  assert set(fields) == {f.name for f in dataclasses.fields(state)} - {"apply_fn", "tx"}
  rng = np.random.default_rng(0)
  changed = {
    name: jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), tree)
    for name, tree in fields.items()
  }
  changed["step"] = np.int32(5)
  with Checkpoints(workdir, keep=1) as checkpoints:
    checkpoints.save(
      state.replace(**changed), {"since_last_report": {"loss": [0.1, 3]}}
    )
  with Checkpoints(workdir, keep=1) as checkpoints:
    restored = checkpoints.restore_last(state)
  jax.tree.map(np.testing.assert_array_equal, restored.state.arrays(), changed)
  assert restored.progress == {"since_last_report": {"loss": [0.1, 3]}}


def test_one_that_cannot_be_written_is_a_line_and_the_last_is_kept(workdir, initial):
  _save(workdir, initial, [3])
  with (
    pytest.raises(NotSaved, match=r"cannot be written to .*No space left.*is kept\."),
    mock.patch.object(
      ocp.StandardCheckpointHandler,
      "async_save",
      side_effect=OSError(errno.ENOSPC, "No space left on device"),
    ),
  ):
    _save(workdir, initial, [7])
  assert _restored_step(workdir, initial) == 3


def test_a_run_that_is_only_read_is_left_as_it_is(workdir, initial):
  _save(workdir, initial, [3, 7])
  _truncate(workdir / "checkpoints" / "7")
  with Checkpoints(workdir, keep=1, read_only=True) as checkpoints:
    assert int(checkpoints.restore_best(initial).step) == 3
  assert (workdir / "checkpoints" / "7").exists()


def test_what_is_no_number_is_not_the_best(workdir, initial):
  top1 = {2: 0.5, 4: float("nan"), 6: 0.3, 8: float("inf")}
  _save(workdir, initial, list(top1), top1=top1)
  assert _restored_step(workdir, initial, "restore_best") == 2
  with Checkpoints(workdir, keep=4) as checkpoints:
    found = [checkpoints.is_evaluated(step) for step in top1]
  assert found == [True, False, True, False]
