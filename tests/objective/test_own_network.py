"""The how-to page's network: trained with every term and classifier, or refused."""

import re
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hue_jax.errors import InputError, check_not_taken
from hue_jax.models import register_model, registry, tap_shapes
from hue_jax.objective import (
  CLASSIFIERS,
  TERMS,
  Classifier,
  LayerTerm,
  create_objective,
  register_classifier,
  register_term,
)
from hue_jax.settings import fields_of
from hue_jax.train.optimizer import create_optimizer
from hue_jax.train.state import create_state
from hue_jax.train.step import make_eval_step, make_train_step

_ROOT = Path(__file__).resolve().parents[2]
_SHAPE, _CLASSES, _IMAGES = (8, 8, 1), 10, 4


def _network(named, monkeypatch):
  """The page's network; its head without the name, if that is asked."""
  monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
  page = (_ROOT / "docs/how_to/own_network.md").read_text()
  (source,) = re.findall(r'```python title="thin.py"\n(.*?)```', page, re.DOTALL)
  assert ', name="head")' in source
  names = {}
  exec(source if named else source.replace(', name="head")', ")"), names)
  return names["Thin"](num_classes=_CLASSES)


def _objectives():
  for kind, cls in TERMS.items():
    balances = ("loss", "gradient") if "balance" in fields_of(cls) else ("loss",)
    for balance in balances:
      term = {"kind": kind}
      if "tap" in fields_of(cls):
        term |= {"tap": fields_of(cls)["tap"].default or "stage3", "balance": balance}
      needs_head = kind == "dense_cross_entropy" or balance == "gradient"
      yield pytest.param({"terms": {"t": term}}, needs_head, id=f"{kind}-{balance}")
  for kind, cls in CLASSIFIERS.items():
    settings = {"terms": {}, "classifier": {"kind": kind}}
    yield pytest.param(settings, cls.needs_head, id=kind)


@pytest.mark.parametrize("named", [True, False], ids=["head", "no head"])
@pytest.mark.parametrize(("settings", "needs_head"), list(_objectives()))
def test_it_trains_or_is_refused_before_the_first_step(
  settings, needs_head, named, monkeypatch
):
  model = _network(named, monkeypatch)

  def objective():
    return create_objective(
      num_classes=_CLASSES,
      tap_shapes=tap_shapes(model, _SHAPE),
      num_train_steps=1,
      warmup_steps=0,
      seed=0,
      **settings,
    )

  if needs_head and not named:
    with pytest.raises(InputError, match=r"needs a network whose .* named 'head'"):
      objective()
    return
  made = objective()
  state = create_state(
    model,
    made,
    create_optimizer("sgd", 0.1, weight_decay=0.0),
    image_shape=_SHAPE,
    seed=0,
    abstract=True,
  )
  batch = {
    "image": jax.ShapeDtypeStruct((_IMAGES, *_SHAPE), jnp.uint8),
    "label": jax.ShapeDtypeStruct((_IMAGES,), jnp.int32),
    "mask": jax.ShapeDtypeStruct((_IMAGES,), jnp.float32),
  }
  pixels = {"pixel_mean": (0.5,), "pixel_std": (0.25,)}
  step = make_train_step(made, seed=0, **pixels)
  after, _ = jax.eval_shape(step, state, batch)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert "top1" in jax.eval_shape(make_eval_step(made, **pixels), state, batch)


def test_it_is_compared_without_a_name_of_its_head(monkeypatch):
  from hue_jax.compare.measures.measuring import Measuring
  from hue_jax.compare.trainer import Trainer
  from tests.helpers.small_study import digits_task, small_settings

  model = _network(False, monkeypatch)
  settings = small_settings(model="thin", model_options={"width": 4}, num_epochs=0.2)
  settings["measures"]["attacked_images"] = 10
  task = digits_task()
  trainer = Trainer(settings, task)
  assert type(trainer.model).__qualname__ == type(model).__qualname__
  trained = trainer.train(trainer.objective({}), settings["first_seed"])
  measured = Measuring(settings, task, trainer).test(trained, settings["first_seed"])
  assert np.isfinite(measured["attack_accuracy"]["fgsm"]["4/255"])


# --- Names that are taken -----------------------------------------------------------


@pytest.mark.parametrize(
  ("register", "base", "known", "name"),
  [
    (register_term, LayerTerm, TERMS, "activation_l2"),
    (register_classifier, Classifier, CLASSIFIERS, "softmax"),
    (
      lambda cls: register_model(cls.kind, cls),
      nn.Module,
      registry._MODELS,
      "resnet18",
    ),
  ],
  ids=["term", "classifier", "model"],
)
def test_a_name_that_is_taken_is_refused(register, base, known, name):
  before = known[name]
  with pytest.raises(
    InputError, match=rf"is '{name}'; it must be another, for hue_jax"
  ):
    register(type("Mine", (base,), {"kind": name}))
  assert known[name] is before


def test_the_same_class_may_come_again():
  check_not_taken("kind", "softmax", CLASSIFIERS["softmax"], CLASSIFIERS["softmax"])
