"""Whole runs in this process: evaluation, divergence, both modes."""

import importlib
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from ml_collections import ConfigDict
from PIL import Image

from hue_jax.color import color_layer
from hue_jax.errors import InputError
from hue_jax.hue import hue_plane
from hue_jax.train import batches, loop
from hue_jax.train.checkpoints import Checkpoints
from hue_jax.train.networks import load_network
from hue_jax.train.parallel import create_parallel
from hue_jax.train.step import normalize


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp("data"))


def _config(data_dir, **settings):
  config = importlib.import_module("configs.digits_hue").get_config("position")
  config.data_dir = data_dir
  config.model_options.width = 4
  config.num_train_steps = 6
  config.checkpoint_every_steps = 2
  config.log_every_steps = 2
  config.update_from_flattened_dict(settings)
  return config


def _extra_tests(config, **tests):
  config.extra_tests = ConfigDict(
    {name: {"dataset": dataset, "split": "test"} for name, dataset in tests.items()}
  )
  return config


@pytest.mark.slow
def test_extra_tests_are_read_or_left_out_or_told(data_dir):
  config = _extra_tests(_config(data_dir), again="digits", gone="imagenet_v2:3.*.*")
  run = loop.set_up(config)
  assert run.data.left_out() == ["gone"]
  state = run.parallel.replicate(run.initial_state)
  assert run.evaluate(run.evaluator("again"), state) == run.evaluate(
    run.evaluator("test"), state
  )
  config.num_classes = 4
  with pytest.raises(InputError, match=r"extra_tests\.again.*10 classes.*is 4\."):
    batches._open_extra_tests(config)


@pytest.mark.slow
def test_each_example_of_a_split_counts_once(data_dir):
  # 360 examples in batches of 112: three whole ones and a last of 24.
  config = _config(data_dir, eval_batch_size=112)
  run = loop.set_up(config)
  means = run.evaluate(run.evaluator("test"), run.parallel.replicate(run.initial_state))

  right, nats, count = 0, 0.0, 0
  state = run.initial_state

  @jax.jit
  def forward(images):
    return state.apply_fn(
      {"params": state.params["network"], "batch_stats": state.batch_stats},
      normalize(images, (0.5,), (0.25,)),
      train=False,
    )

  builder = run.data.dataset.builder
  for batch in builder.as_dataset("test").batch(40).as_numpy_iterator():
    logits = np.asarray(forward(jnp.asarray(batch["image"])), np.float64)
    labels = batch["label"]
    right += np.sum(logits.argmax(-1) == labels)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nats -= log_p[np.arange(len(labels)), labels].sum()
    count += len(labels)
  assert count == 360
  np.testing.assert_allclose(means["top1"], right / 360, rtol=1e-6)
  np.testing.assert_allclose(means["cross_entropy"], nats / 360, rtol=1e-5)


@pytest.mark.slow
def test_a_run_ends_with_its_result_and_can_be_evaluated_again(
  data_dir, tmp_path, capfd
):
  config = _config(data_dir)
  result = loop.train(config, str(tmp_path))
  err = capfd.readouterr().err
  assert "step 6/6" in err
  assert "images/s" in err
  expected = {"task", "model", "objective", "step", "test_top1", "test_loss", "seconds"}
  assert expected <= set(result)
  assert result["objective"] == "cross_entropy + 0.1 position_hue(stage2)"
  assert result["test_examples"] == 360

  again = loop.evaluate_workdir(config, str(tmp_path))
  for name in ("step", "test_top1", "test_loss", "test_hue/position"):
    assert again[name] == result[name]
  # Started again, a finished run goes straight to its result.
  assert loop.train(config, str(tmp_path))["test_loss"] == result["test_loss"]

  # Who only reads passes over a damaged checkpoint, and leaves it where it is.
  checkpoints = tmp_path / "checkpoints"
  best = checkpoints / str(result["step"])
  largest = max(best.rglob("*"), key=lambda path: path.stat().st_size)
  largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
  files = _contents(checkpoints)
  assert loop.evaluate_workdir(config, str(tmp_path))["step"] != result["step"]
  assert load_network(str(tmp_path)).trained
  assert _contents(checkpoints) == files
  assert not (tmp_path / "damaged_checkpoints").exists()


def _contents(folder):
  return {
    path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
  }


@pytest.mark.slow
def test_tensorboard_holds_what_the_terminal_says(data_dir, tmp_path):
  from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

  loop.train(_config(data_dir), str(tmp_path))
  events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
  events.Reload()
  tags = set(events.Tags()["tensors"])
  assert {
    "train/loss",
    "train/cross_entropy",
    "train/hue/position",
    "train/hue_error_degrees/position",
    "train/top1",
    "train/top5",
    "train/learning_rate",
    "train/images_per_second",
    "validation/top1",
    "test/top1",
  } <= tags
  assert [event.step for event in events.Tensors("train/loss")] == [2, 4, 6]


def _pictures(workdir):
  """Tag → step → pixels of the pictures in TensorBoard's files."""
  from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

  events = EventAccumulator(str(workdir), size_guidance={"tensors": 0})
  events.Reload()
  found = {}
  for tag in events.Tags()["tensors"]:
    if tag.endswith("/layers_by_hue"):
      for event in events.Tensors(tag):
        _, _, png = event.tensor_proto.string_val
        picture = np.asarray(Image.open(io.BytesIO(png)))
        found.setdefault(tag, {})[event.step] = picture
  return found


@pytest.mark.slow
def test_tensorboard_shows_colored_layers_and_training_does_not_notice(
  data_dir, tmp_path
):
  settings = {"hue.terms.position.plane": "learned", "num_train_steps": 2}
  config = _config(data_dir, num_colored_images=3, **settings)
  without = _config(data_dir, num_colored_images=0, **settings)
  result = loop.train(config, str(tmp_path / "with"))
  assert loop.train(without, str(tmp_path / "none"))["test_loss"] == result["test_loss"]

  pictures = _pictures(tmp_path / "with")
  assert {tag: list(at) for tag, at in pictures.items()} == {
    "validation/layers_by_hue": [2],
    "test/layers_by_hue": [2],
  }
  assert _pictures(tmp_path / "none") == {}

  # The first images of the test split, and a layer in the plane that was learned.
  run = loop.set_up(config)
  states = []
  for name in ("with", "none"):
    with Checkpoints(epath.Path(tmp_path / name), keep=2) as checkpoints:
      states.append(checkpoints.restore_last(run.initial_state).state)
  jax.tree.map(np.testing.assert_array_equal, *states)
  images = next(run.data.eval_batches("test"))["image"][:3]
  colors = _colored_stage2(states[0], images)
  picture = pictures["test/layers_by_hue"][2]
  for row in range(3):
    top = _top(picture[:, 8:136], images[row].repeat(3, axis=-1))
    shown = picture[top : top + 128, 8 + 3 * 136 :][16::32, 16:128:32]
    np.testing.assert_allclose(shown / 255, colors[row], atol=0.02)


@jax.jit
def _colored_stage2(state, images):
  """The layer in the plane of the term that looks at it."""
  _, updates = state.apply_fn(
    {"params": state.params["network"], "batch_stats": state.batch_stats},
    normalize(images, (0.5,), (0.25,)),
    train=False,
    mutable=["taps"],
  )
  plane = hue_plane(state.params["planes"]["position"])
  return color_layer(updates["taps"]["stage2"], plane)


def _top(column, image):
  """Where in a column of the sheet the image stands, enlarged."""
  image = image.repeat(16, axis=0).repeat(16, axis=1)
  (top,) = (
    top
    for top in range(len(column) - 127)
    if np.array_equal(column[top : top + 128], image)
  )
  return top


def test_a_state_of_either_form_of_the_mapping_can_be_drawn(data_dir):
  run = loop.set_up(_config(data_dir))
  pmapped, sharded = (
    run.layer_pictures.draw(form.unreplicate(form.replicate(run.initial_state)), "test")
    for form in (create_parallel("pmap"), create_parallel("shard_map"))
  )
  np.testing.assert_array_equal(pmapped, sharded)
  assert pmapped.shape[1] > 8 * 128


@pytest.mark.slow
def test_layers_without_a_hue_plane_are_left_out(data_dir):
  narrow, wide = (
    loop.set_up(_config(data_dir, **{"model_options.width": width})) for width in (2, 4)
  )
  widths = [
    each.layer_pictures.draw(jax.device_put(each.initial_state), "test").shape[2]
    for each in (narrow, wide)
  ]
  assert widths[1] - widths[0] == 2 * 136  # stem and stage1 have two channels


@pytest.mark.slow
def test_a_diverging_run_stops_at_its_step_and_keeps_the_last_good(data_dir, tmp_path):
  config = _config(
    data_dir, learning_rate=1e18, num_train_steps=12, checkpoint_every_steps=1
  )
  config.warmup_epochs = 0.0
  with pytest.raises(
    loop.TrainingDiverged, match=r"(loss|gradient norm) is (nan|inf) at step \d+"
  ) as caught:
    loop.train(config, str(tmp_path))
  failed_at = int(str(caught.value).split("at step ")[1].split(";")[0])
  run = loop.set_up(config)
  with Checkpoints(epath.Path(tmp_path), keep=2) as checkpoints:
    state = checkpoints.restore_last(run.initial_state).state
  assert int(state.step) == failed_at - 1
  # The step found is the first: from the state before it, its loss is not finite.
  batch = next(run.data.train_batches(failed_at - 1))
  replicated = run.parallel.replicate(state)
  _, sums = run.train_step(replicated, run.parallel.shard(batch))
  sums = run.parallel.unreplicate(sums)
  assert not np.isfinite(sums["loss"][0]) or not np.isfinite(sums["gradient_norm"][0])


@pytest.mark.slow
def test_the_one_hot_twin_has_no_hue(data_dir, tmp_path):
  result = loop.train(
    _config(data_dir, **{"hue.enabled": False, "num_train_steps": 2}), str(tmp_path)
  )
  assert result["objective"] == "cross_entropy"
  assert not any("hue" in name for name in result)


@pytest.mark.slow
def test_both_forms_of_the_mapping_train_alike(data_dir, tmp_path):
  losses = [
    loop.train(_config(data_dir, parallel=form), str(tmp_path / form))["test_loss"]
    for form in ("pmap", "shard_map")
  ]
  np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_evaluating_an_empty_workdir_says_so(data_dir, tmp_path):
  with pytest.raises(InputError, match="holds no run to evaluate"):
    loop.evaluate_workdir(_config(data_dir), str(tmp_path))


def test_a_missing_data_set_says_how_to_make_it(tmp_path):
  config = _config(str(tmp_path), dataset="cifar10")
  with pytest.raises(InputError, match=r"tfds build cifar10 --data_dir="):
    loop.train(config, str(tmp_path / "run"))
  assert not (tmp_path / "run").exists()


def test_batches_of_a_step_do_not_depend_on_where_the_run_began(data_dir):
  run = loop.set_up(_config(data_dir))
  from_start = run.data.train_batches(0)
  for _ in range(3):
    next(from_start)
  for name, value in next(from_start).items():
    np.testing.assert_array_equal(value, next(run.data.train_batches(3))[name])
