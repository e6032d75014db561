"""Observation 4: the angle of activations of one class, in activation space."""

from collections.abc import Mapping, Sequence

from hue_jax.observe.matches import Matches
from hue_jax.observe.observations.hues import (
  Hues,
  correlation,
  correlations_of_shuffled_positions,
  hue_by_class,
  hue_by_position_hue,
  hues_of,
)
from hue_jax.observe.observations.pairs import direction_pairs, within_classes
from hue_jax.observe.observations.verdict import conclude
from hue_jax.observe.resampling import Resamples, measure
from hue_jax.observe.results import Observation, Statistic

PLANES = ("fourier", "principal")

_CLAIM = (
  "Class-informative activations are concentrated about an angle θ of activation "
  "space: those of one class have a hue of their own."
)


def observe(
  trained: Mapping[str, Matches],
  untrained: Mapping[str, Matches],
  resamples: Resamples,
  *,
  planes: Sequence[str] = PLANES,
) -> Observation:
  """Measures how hues and directions concentrate within classes, and hue by position.

  Args:
    trained: Tap → matches of the trained network.
    untrained: Tap → matches of the untrained network.
    resamples: The resamples of the images that were searched for.
    planes: The hue planes, "fourier" or "principal"; the first decides the verdict.

  Returns:
    The observation.
  """
  ours, controls = (
    {
      plane: {tap: hues_of(matches, plane) for tap, matches in network.items()}
      for plane in planes
    }
    for network in (trained, untrained)
  )
  by_plane = [
    statistic
    for plane in planes
    for statistic in (
      _hue_concentration(plane, ours[plane], controls[plane], resamples),
      _hue_by_position(plane, ours[plane], controls[plane], resamples),
    )
  ]
  directions = _direction_concentration(trained, untrained, resamples)
  first, first_control = ours[planes[0]], controls[planes[0]]
  return conclude(
    name="matches_in_space",
    title="Matches in activation space",
    claim=_CLAIM,
    statistics=(by_plane[0], directions, *by_plane[1:]),
    what="activations of one class have more similar hues than those of two",
    curves={
      "hue_by_class": {
        tap: hue_by_class(first[tap], first_control[tap], resamples.labels)
        for tap in trained
      },
      "hue_by_position_hue": {
        tap: hue_by_position_hue(first[tap], first_control[tap])
        for tap in trained
        if not trained[tap].is_pooled
      },
    },
  )


# --- Statistics -----------------------------------------------------------------


def _hue_concentration(
  plane: str,
  ours: Mapping[str, Hues],
  controls: Mapping[str, Hues],
  resamples: Resamples,
) -> Statistic:
  return within_classes(
    f"hue_concentration_{plane}",
    f"cos Δθ, within minus between classes ({plane} plane)",
    "Mean cosine of the difference of activation hue θ over pairs of vectors of "
    f"different images of one class, minus that of two classes; θ in the {plane} "
    "plane.",
    {tap: hues.pairs() for tap, hues in ours.items()},
    {tap: hues.pairs() for tap, hues in controls.items()},
    resamples,
  )


def _direction_concentration(
  trained: Mapping[str, Matches],
  untrained: Mapping[str, Matches],
  resamples: Resamples,
) -> Statistic:
  return within_classes(
    "direction_concentration",
    "direction cosine, within minus between classes",
    "Mean cosine ⟨a, b⟩ / ‖a‖‖b‖ over pairs of activation vectors of different images "
    "of one class, minus that of two classes.",
    {tap: direction_pairs(matches) for tap, matches in trained.items()},
    {tap: direction_pairs(matches) for tap, matches in untrained.items()},
    resamples,
  )


def _hue_by_position(
  plane: str,
  ours: Mapping[str, Hues],
  controls: Mapping[str, Hues],
  resamples: Resamples,
) -> Statistic:
  """Measures the correlation of θ and φ, whose first control moves positions."""
  taps = {
    tap: measure(
      correlation(hues),
      correlations_of_shuffled_positions(hues, len(resamples.shuffles)),
      correlation(controls[tap]),
      resamples,
    )
    for tap, hues in ours.items()
    if not hues.matches.is_pooled
  }
  return Statistic(
    f"hue_position_correlation_{plane}",
    f"correlation of θ and φ ({plane} plane)",
    "Circular correlation (Fisher and Lee 1983) of the activation hue θ, in the "
    f"{plane} plane, with the position hue φ. Labels do not enter: its first control "
    "shuffles the positions within each image.",
    taps,
  )
