"""A plain verdict from the numbers: above both controls, or not, and where."""

from collections.abc import Collection, Sequence

from hue_jax.observe.results import ControlledEstimate, Observation, Statistic


def conclude(
  *,
  name: str,
  title: str,
  claim: str,
  statistics: tuple[Statistic, ...],
  what: str,
  numbers: dict | None = None,
  curves: dict | None = None,
) -> Observation:
  """Makes an observation with its verdict, which is about the first statistic.

  The claim holds at a tap if the 95 % interval of the trained network lies above that
  of shuffled labels and above that of the untrained network. There is no correction
  for the number of taps.

  Args:
    name: The name of the observation.
    title: The title of its section.
    claim: The claim of the source.
    statistics: The statistics, of which the first decides.
    what: The claim as a clause without capital letter.
    numbers: The numbers of `Observation.numbers`.
    curves: The curves of `Observation.curves`.

  Returns:
    The observation.
  """
  holds = {tap: _holds(measured) for tap, measured in statistics[0].taps.items()}
  return Observation(
    name=name,
    title=title,
    claim=claim,
    statistics=statistics,
    holds=holds,
    verdict=_in_words(what, statistics[0].taps, holds),
    numbers=numbers or {},
    curves=curves or {},
  )


def _holds(measured: ControlledEstimate) -> bool:
  return _above_chance(measured) and measured.trained.low > measured.untrained.high


def _above_chance(measured: ControlledEstimate) -> bool:
  return measured.trained.low > measured.shuffled.high


def _below_chance(measured: ControlledEstimate) -> bool:
  return measured.trained.high < measured.shuffled.low


def _in_words(what, taps, holds) -> str:
  if not taps:
    return "Not applicable: no layer that was observed has an image plane."
  true = [tap for tap in taps if holds[tap]]
  only_chance = [tap for tap in taps if not holds[tap] and _above_chance(taps[tap])]
  opposite = [tap for tap in taps if _below_chance(taps[tap])]
  others = {*true, *only_chance, *opposite}
  chance = [tap for tap in taps if tap not in others]
  sentences = []
  if true:
    sentences.append(f"Holds at {_listed(true, taps)}: {what}, above both controls.")
  else:
    sentences.append(f"Does not hold at any layer: that {what} is not above controls.")
  if only_chance:
    sentences.append(
      f"At {_listed(only_chance, taps)} the value is above that of shuffled labels, "
      "but not above that of the untrained network: it is there without training."
    )
  if opposite:
    sentences.append(
      f"At {_listed(opposite, taps)} it is below that of shuffled labels: the opposite."
    )
  if chance:
    sentences.append(
      f"At {_listed(chance, taps)} it is not distinguishable from shuffled labels."
    )
  return " ".join(sentences)


def _listed(taps: Sequence[str], of: Collection[str]) -> str:
  if len(taps) == len(of) > 1:
    return "every layer"
  return taps[0] if len(taps) == 1 else f"{', '.join(taps[:-1])} and {taps[-1]}"
