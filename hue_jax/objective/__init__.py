"""Objectives: terms, classifiers, and their sum."""

from hue_jax.objective.batch import Batch, Evaluated, Measured, Mixed, Number
from hue_jax.objective.classifiers import CLASSIFIERS, Classifier, register_classifier
from hue_jax.objective.objective import (
  LABEL_SMOOTHING,
  Objective,
  ObjectiveSettings,
  check_terms,
  create_objective,
)
from hue_jax.objective.schedules import SCHEDULES
from hue_jax.objective.term import LayerTerm, Term, TermValue, register_term
from hue_jax.objective.terms import TERMS

__all__ = [
  "CLASSIFIERS",
  "LABEL_SMOOTHING",
  "SCHEDULES",
  "TERMS",
  "Batch",
  "Classifier",
  "Evaluated",
  "LayerTerm",
  "Measured",
  "Mixed",
  "Number",
  "Objective",
  "ObjectiveSettings",
  "Term",
  "TermValue",
  "check_terms",
  "create_objective",
  "register_classifier",
  "register_term",
]
