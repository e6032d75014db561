"""What several studies say together: effects pooled by a random-effects model."""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy import optimize, stats

from hue_jax.compare.statistics import LEVEL


@dataclasses.dataclass(frozen=True)
class Pooled:
  """The mean of effects that differ by more than chance.

  Attributes:
    mean: The mean effect.
    standard_error: The standard error of it.
    interval: The 95 % interval of the mean effect.
    prediction_interval: Where the true effect of one more study of the kind lies with
      a probability of 95 %; NaN for fewer than 3 effects.
    tau_squared: The variance τ² of true effects between studies.
    i_squared: The share I² of the observed variance that is no chance, in [0, 1).
    q: Cochran's Q, the weighted sum of squares about the mean of the fixed effect.
    q_p: The p-value of Q: of no difference between the true effects.
    weights: The share of each effect in the mean.
  """

  mean: float
  standard_error: float
  interval: tuple[float, float]
  prediction_interval: tuple[float, float]
  tau_squared: float
  i_squared: float
  q: float
  q_p: float
  weights: tuple[float, ...]


def pool(
  effects: Float[np.ndarray, " studies"], standard_errors: Float[np.ndarray, " studies"]
) -> Pooled:
  """Pools independent effects by a random-effects model.

  Effect i is drawn from N(μ, τ² + sᵢ²), weighs wᵢ = 1 / (τ² + sᵢ²), and μ is the
  weighted mean. τ² is Paule and Mandel's: that for which Σ wᵢ (effect − μ)² = k − 1,
  and 0 where the sum is less already. The standard error is 1 / √Σ wᵢ and the interval
  Student's t of k − 1 degrees of freedom: Hartung and Knapp's and Sidik and Jonkman's
  with a factor that is never below 1, for it is 1 at this τ² > 0. The prediction
  interval is Student's t of k − 2 degrees of freedom with √(τ² + standard error²); it
  is too short where few effects with large errors hide τ².

  Args:
    effects: The effects, at least 2.
    standard_errors: Their standard errors, above 0.

  Returns:
    The pooled effect.

  Sources: Paule and Mandel, "Consensus Values and Weighting Factors", 1982; Higgins,
  Thompson and Spiegelhalter, "A Re-evaluation of Random-Effects Meta-Analysis", 2009;
  Röver, Knapp and Friede, "Hartung-Knapp-Sidik-Jonkman Approach and its Modification
  for Random-Effects Meta-Analysis with Few Studies", 2015.
  """
  variances = standard_errors.astype(np.float64) ** 2
  freedom = len(effects) - 1

  def excess(tau_squared):
    return _squares(effects, 1 / (variances + tau_squared)) - freedom

  tau_squared = 0.0
  if excess(0.0) > 0:
    # Weights of 1 / τ² make the sum of squares at most that about the plain mean.
    most = np.var(effects, ddof=1)
    tau_squared = float(optimize.brentq(excess, 0.0, most, xtol=1e-12 * most))
  weights = 1 / (variances + tau_squared)
  mean = float(np.average(effects, weights=weights))
  error = float(1 / np.sqrt(weights.sum()))
  q = excess(0.0) + freedom
  return Pooled(
    mean,
    error,
    _interval(mean, error, freedom),
    _interval(mean, np.hypot(np.sqrt(tau_squared), error), freedom - 1),
    tau_squared,
    max(0.0, 1 - freedom / q) if q else 0.0,
    q,
    float(stats.chi2.sf(q, freedom)),
    tuple((weights / weights.sum()).tolist()),
  )


def pool_correlated(
  effects: Float[np.ndarray, " studies"], standard_errors: Float[np.ndarray, " studies"]
) -> tuple[float, float, tuple[float, ...]]:
  """Returns one effect of studies that share their images, whatever they correlate.

  The weights are those of independent effects, 1 / s². The standard error is the
  weighted mean of the standard errors: that of effects which rise and fall together,
  and more than that of any others.

  Args:
    effects: The effects.
    standard_errors: Their standard errors, above 0.

  Returns:
    The effect, its standard error, and the share of each effect in it.
  """
  shares = standard_errors**-2.0 / np.sum(standard_errors**-2.0)
  return (
    float(shares @ effects),
    float(shares @ standard_errors),
    tuple(shares.tolist()),
  )


def _squares(effects, weights):
  mean = np.average(effects, weights=weights)
  return float(np.sum(weights * (effects - mean) ** 2))


def _interval(mean, error, freedom):
  if freedom < 1:
    return (np.nan, np.nan)
  reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom) * error)
  return (mean - reach, mean + reach)
