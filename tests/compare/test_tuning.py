"""Objectives tuned with one budget, and the studies that take what was found."""

import json

import jax
import numpy as np
import pytest
import scipy.stats

from configs import (
  compare_controls,
  compare_forms,
  compare_networks,
  compare_tuned,
  compare_tuning,
)
from hue_jax.compare import tuning
from hue_jax.compare.settings import check_objectives, checked_settings
from hue_jax.compare.study import run_study
from hue_jax.compare.trainer import Rates, Trainer
from hue_jax.compare.tuned import FILE, with_tuned
from hue_jax.errors import InputError
from tests.helpers.blank_tasks import blank_task
from tests.helpers.small_study import (
  SECTORS,
  digits_task,
  small_settings,
  small_workdir,
)

_TUNING = {
  "points": 8,
  "num_seeds": 1,
  "finalists": 3,
  "more_seeds": 2,
  "first_seed": 100,
  "shared": {
    "optimization": {"learning_rate": (0.01, 1.0), "weight_decay": (0.1, 10.0)}
  },
  "own": {
    "smoothing": {"label_smoothing": (0.01, 0.5)},
    "hue": {"terms": {"hue": {"weight": (0.1, 10.0)}}},
  },
}


def _settings(**changes):
  settings = small_settings(tuning=_TUNING, **changes)
  settings["objectives"] = {
    "one_hot": {},
    "smoothing": {"label_smoothing": 0.1},
    "hue": {"terms": {"hue": SECTORS}},
  }
  return settings


@pytest.fixture
def planted(monkeypatch):
  """Returns what was asked of studies that are best at a learning rate of 0.1."""
  asked = []

  def run_study(settings, workdir, *, workers):
    del workdir, workers
    asked.append(settings)
    rng = np.random.default_rng(0)
    records = []
    seeds = range(settings["num_seeds"])
    for name, objective in settings["objectives"].items():
      rate = objective["optimization"]["learning_rate"]
      accuracy = 0.9 - 0.1 * abs(np.log10(rate / 0.1))
      records += [
        {
          "objective": name,
          "curve": {"train_loss": [2.3, 0.1]},
          "validation": {"accuracy": accuracy + 0.001 * rng.normal()},
        }
        for _ in seeds
      ]
    return records

  monkeypatch.setattr(tuning, "run_study", run_study)
  return asked


def test_the_best_point_is_found_with_one_budget(planted, tmp_path):
  found = tuning.tune(_settings(), tmp_path)
  written = json.loads((tmp_path / FILE).read_text())
  assert written == json.loads(json.dumps(found))
  first, last = planted
  points = list(first["objectives"].values())
  best = min(abs(np.log10(p["optimization"]["learning_rate"] / 0.1)) for p in points)
  for name, one in found["objectives"].items():
    rate = one["settings"]["optimization"]["learning_rate"]
    assert abs(np.log10(rate / 0.1)) == pytest.approx(best), name
    assert one["accuracy"] == pytest.approx(0.9 - 0.1 * best, abs=0.003)
    assert 0 < one["standard_error"] < 0.002
    assert (
      one["at_an_end"] == [] or "optimization.learning_rate" not in one["at_an_end"]
    )
  assert found["runs_of_each"] == 8 * 1 + 3 * 2
  assert len(first["objectives"]) == 3 * 8
  assert len(last["objectives"]) == 3 * 3
  assert set(last["objectives"]) < set(first["objectives"])
  assert (first["num_seeds"], last["num_seeds"]) == (1, 3)
  for study in planted:  # those of the study are for what was chosen
    assert study["first_seed"] == _TUNING["first_seed"] != _settings()["first_seed"]
    assert not study["read_test"]
  assert found["first_seed"] == _TUNING["first_seed"]
  assert found["num_seeds"] == 3


def test_objectives_share_the_values_that_all_tune(planted, tmp_path):
  tuning.tune(_settings(), tmp_path)
  by_name = {}
  for name, objective in planted[0]["objectives"].items():
    by_name.setdefault(name.partition("@")[0], []).append(objective)
  rates = [[one["optimization"] for one in found] for found in by_name.values()]
  assert rates[0] == rates[1] == rates[2]
  # Every half of a range, on the logarithm's scale, has half of the points.
  for name, middle in (("learning_rate", 0.1), ("weight_decay", 1.0)):
    assert sum(one[name] < middle for one in rates[0]) == 4
  weights = [one["terms"]["hue"]["weight"] for one in by_name["hue"]]
  assert sum(weight < 1 for weight in weights) == 4
  assert min(weights) >= 0.1
  assert max(weights) <= 10
  assert all(one["terms"]["hue"]["tap"] == SECTORS["tap"] for one in by_name["hue"])


def test_a_tuned_value_at_an_end_of_its_range_is_told(planted, tmp_path):
  settings = _settings()
  shared = {"optimization": {"learning_rate": (0.2, 2.0), "weight_decay": (1.0, 1.0)}}
  settings["tuning"] = _TUNING | {"shared": shared, "points": 32}
  found = tuning.tune(settings, tmp_path)
  for one in found["objectives"].values():
    assert "optimization.learning_rate" in one["at_an_end"]
    assert "optimization.weight_decay" not in one["at_an_end"]
    assert one["settings"]["optimization"]["weight_decay"] == 1.0


def test_the_error_is_that_of_the_mean_over_seeds(monkeypatch, tmp_path):
  accuracies = (0.5, 0.7, 0.9)

  def run_study(settings, workdir, *, workers):
    del workdir, workers
    return [
      {
        "objective": name,
        "curve": {"train_loss": [0.1]},
        "validation": {"accuracy": accuracy},
      }
      for name in settings["objectives"]
      for accuracy in accuracies[: settings["num_seeds"]]
    ]

  monkeypatch.setattr(tuning, "run_study", run_study)
  for one in tuning.tune(_settings(), tmp_path)["objectives"].values():
    assert one["accuracy"] == pytest.approx(np.mean(accuracies))
    assert one["standard_error"] == pytest.approx(scipy.stats.sem(accuracies))


def test_no_point_that_trains_is_one_line(monkeypatch, tmp_path):
  def run_study(settings, workdir, *, workers):
    del workdir, workers
    # The accuracy of a network that tells one class of everything.
    diverged = {"curve": {"train_loss": [2.3, None]}, "validation": {"accuracy": 0.5}}
    return [{"objective": name, **diverged} for name in settings["objectives"]]

  monkeypatch.setattr(tuning, "run_study", run_study)
  with pytest.raises(InputError, match=r"objectives\.one_hot has no point"):
    tuning.tune(_settings(), tmp_path)


@pytest.mark.parametrize(
  ("tuning_settings", "message"),
  [
    ({"shared": {"optimization": {"learning_rate": (0.2, 0.1)}}}, r"learning_rate is"),
    ({"shared": {"optimization": {"learning_rate": (0, 0.1)}}}, r"above 0"),
    ({"shared": {"optimization": 3}}, r"a sequence of 2 values"),
    ({"own": {"nobody": {"label_smoothing": (0.1, 0.2)}}}, r"nobody.*one of one_hot"),
    ({"own": {"one_hot": {"terms": {"hue": {"weight": (1, 2)}}}}}, r"has no terms"),
    ({"points": 0}, r"points is 0"),
  ],
)
def test_what_cannot_be_tuned_is_refused(tuning_settings, message, tmp_path):
  settings = _settings()
  settings["tuning"] = {"shared": _TUNING["shared"], **tuning_settings}
  with pytest.raises(InputError, match=message):
    tuning.tune(settings, tmp_path)


# --- Studies of tuned objectives ----------------------------------------------------


@pytest.fixture
def tuned(planted, tmp_path):
  tuning.tune(_settings(), tmp_path)
  return tmp_path / FILE


def _study(path, **changes):
  objectives = {
    "one_hot": {"tuned": "one_hot"},
    "hue": {"tuned": "hue"},
    "hue_at_one_hot": {
      "terms": {"hue": SECTORS},
      "optimization": {"tuned": "one_hot"},
    },
  }
  return small_settings(tuned=str(path), objectives=objectives) | changes


def test_a_study_takes_what_was_tuned(tuned):
  found = json.loads(tuned.read_text())["objectives"]
  objectives = with_tuned(checked_settings(_study(tuned)))["objectives"]
  assert objectives["one_hot"] == found["one_hot"]["settings"]
  assert objectives["hue"] == found["hue"]["settings"]
  assert objectives["hue_at_one_hot"] == {
    "terms": {"hue": SECTORS},
    "optimization": found["one_hot"]["settings"]["optimization"],
  }


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"dataset": "fashion_mnist"}, r"tuned for dataset 'digits'.*is 'fashion_mnist'"),
    ({"validation_split": "train[:9]"}, r"tuned for validation_split"),
    ({"model_options": {"width": 8}}, r"tuned for model_options"),
    ({"num_epochs": 9.0}, r"tuned for num_epochs 4\.0"),
    ({"first_seed": 101, "num_seeds": 4}, r"from 101 to 102 are those of the tuning"),
    ({"objectives": {"one_hot": {}}}, r"objectives\.one_hot has no tuned setting"),
    ({"objectives": {"one_hot": {"tuned": "all"}}}, r"one of one_hot, smoothing, hue"),
    (
      {"objectives": {"one_hot": {"optimization": {"tuned": "all"}}}},
      r"optimization\.tuned is 'all'",
    ),
    (
      {"objectives": {"one_hot": {"tuned": "hue", "label_smoothing": 0.1}}},
      r"tuned and label_smoothing",
    ),
    ({"tuned": ""}, r"tuned is empty"),
    ({"tuned": "/nowhere.json"}, r"/nowhere\.json, which cannot be read"),
  ],
)
def test_a_study_of_other_settings_is_refused(tuned, changes, message):
  with pytest.raises(InputError, match=message):
    with_tuned(checked_settings(_study(tuned, **changes)))
  tuned.write_text("{}")
  if "tuned" not in changes:
    with pytest.raises(InputError, match=r"which is no tuned\.json"):
      with_tuned(checked_settings(_study(tuned, **changes)))


_STUDIES = [
  *compare_tuning.TASKS,
  *(f"fashion_50,{network}" for network in compare_networks.NETWORKS),
  "oxygen,resnet18",
  "oxygen,vit_ti_depth4",
]


@pytest.mark.parametrize("argument", _STUDIES)
def test_every_tuning_and_its_study_fit(argument, planted, tmp_path):
  settings = compare_tuning.get_config(argument)
  settings.tuning.points = 2
  tuning.tune(settings.to_dict(), tmp_path)
  for configuration in (compare_tuned, compare_controls, compare_forms):
    study = configuration.get_config(argument)
    study.tuned = str(tmp_path / FILE)
    resolved = with_tuned(checked_settings(study.to_dict()))
    assert all("optimization" in one for one in resolved["objectives"].values())
    assert resolved["read_test"] == (configuration is not compare_forms)
    blank = blank_task(resolved)
    check_objectives(resolved, blank)


@pytest.mark.parametrize("argument", _STUDIES)
def test_every_form_tests_a_hypothesis(argument):
  forms = compare_forms.get_config(argument).objectives.to_dict()
  assert set(forms) - {"one_hot"} <= set(compare_forms.HYPOTHESES)
  assert set(compare_forms.HYPOTHESES) - set(forms) <= {"share", "last_layer"}
  terms = [str(one.get("terms")) for one in forms.values()]
  assert len(set(terms)) == len(terms)  # No form is another's.


@pytest.mark.parametrize("argument", _STUDIES)
def test_the_hue_loss_at_the_last_layer_is_the_other_where_the_layers_are_one(argument):
  task, network = compare_networks.task_and_network(argument)
  config = compare_tuning.get_config(argument).to_dict()
  objectives, own = config["objectives"], config["tuning"]["own"]
  there = {name for name in objectives if name.startswith("hue_last")}
  assert there == ({"hue_last", "hue_last_smoothing"} if network.last else set())
  for name in there:
    other = name.replace("hue_last", "hue")
    is_one = compare_networks.tap(task, network) == network.last
    assert (objectives[name] == objectives[other]) == is_one
    assert own[name] == own[other]


def test_the_digits_have_every_form():
  forms = set(compare_forms.get_config("digits").objectives)
  assert forms - {"one_hot"} == set(compare_forms.HYPOTHESES)


def test_an_unknown_network_of_a_study_is_named():
  with pytest.raises(InputError, match=r"is 'resnet9'; it must be one of resnet8, .*"):
    compare_tuning.get_config("fashion_50,resnet9")


@pytest.mark.parametrize(
  ("own", "message"),
  [
    ({"learning_rate": 0}, r"optimization\.learning_rate is 0; .* above 0"),
    ({"weight_decay": -1}, r"optimization\.weight_decay is -1; .* at least 0"),
    ({"learning_rate": "fast"}, r"optimization\.learning_rate is 'fast'"),
    (
      {"momentum": 0.5},
      r"optimization\.momentum is not a setting; .* learning_rate, weight_decay\.",
    ),
    ({"learning": 0.5}, r"optimization\.learning is not a setting; .*Did you mean"),
  ],
)
def test_an_objectives_own_rates_are_checked(own, message):
  settings = small_settings(objectives={"one_hot": {"optimization": own}})
  with pytest.raises(InputError, match=rf"^objectives\.one_hot\.{message}"):
    check_objectives(checked_settings(settings), digits_task())


# --- Trainings ----------------------------------------------------------------------


@pytest.mark.slow
def test_own_rates_train_as_those_of_a_study(tmp_path):
  task = digits_task()
  settings = small_settings(num_epochs=1.0)
  own = Trainer(settings, task)
  given = Trainer(settings | {"learning_rate": 0.05, "weight_decay": 1.5}, task)
  objective = own.objective({"optimization": {"learning_rate": 0.05}})
  found = own.train(objective, 3, Rates(0.05, 1.5)).state
  expected = given.train(objective, 3).state
  for one, other in zip(
    jax.tree.leaves(found.params), jax.tree.leaves(expected.params), strict=True
  ):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
  # And the rates matter.
  other = own.train(objective, 3).state.params["network"]["head"]["kernel"]
  assert not np.allclose(other, found.params["network"]["head"]["kernel"])
  assert own._step._cache_size() == 1


@pytest.mark.slow
def test_objectives_are_tuned_and_then_tested(tmp_path):
  changes = {"num_epochs": 2.0, "objectives": {"one_hot": {}}}
  settings = small_settings(tuning=_TUNING | {"points": 2, "own": {}}, **changes)
  small_workdir(tmp_path / "tuning", settings)
  found = tuning.tune(settings, tmp_path / "tuning")
  lines = (tmp_path / "tuning" / "runs.jsonl").read_text()
  assert lines.count("\n") == found["runs_of_each"] == 2 + 2 * 2
  assert '"test": {' not in lines
  # It goes on where it was, and ends alike.
  assert tuning.tune(settings, tmp_path / "tuning") == found
  assert (tmp_path / "tuning" / "runs.jsonl").read_text() == lines
  study = settings | {
    "tuned": str(tmp_path / "tuning" / FILE),
    "objectives": {"one_hot": {"tuned": "one_hot"}},
    "num_seeds": 1,
  }
  small_workdir(tmp_path / "study", study)
  (record,) = run_study(study, tmp_path / "study")
  assert record["settings"]["objective"] == found["objectives"]["one_hot"]["settings"]
  assert record["test"]["accuracy"] > 0
