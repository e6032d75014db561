"""Every public function under every transformation of JAX, in every precision."""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import hue_jax
from hue_jax import circular, losses
from hue_jax.errors import InputError
from hue_jax.hue import wrap_angle
from tests.helpers.compiled_as_for_users import compiled_as_for_users
from tests.helpers.double_precision import double_precision
from tests.helpers.public_functions import (
  BATCH,
  CASES,
  KERNEL,
  KNOWN,
  NO_FUNCTIONS,
  OF_SIZES,
  total,
)

# What is meant not to work, and the line that says so.
REFUSED = {
  ("class_mean_plane", "export"): r"labels have shape \(8,\); class indices of the "
  r"activations' leading shape \(b,\) are needed",
}
# What JAX cannot differentiate twice: eigenvectors where eigenvalues are equal, as
# those of the directions are that no class mean has.
NOT_SMOOTH = {("class_mean_plane", "hessian")}
# What the version of JAX does not have.
NEEDS = {
  "shard_map": hasattr(jax, "shard_map"),
  "explicit": hasattr(jax.sharding, "auto_axes"),
}
OF_GRADIENTS = {"grad", "hessian", "remat"}
OF_PRECISIONS = {"float16", "bfloat16", "float64"}


def test_every_public_function_is_here():
  public = {*hue_jax.__all__, *losses.__all__, *circular.__all__}
  assert public == {*CASES, *OF_SIZES, *NO_FUNCTIONS}


@functools.cache
def _expected(name):
  """Value, and gradient of `total` by the first array, in float32."""
  case = CASES[name]
  if not case.differentiable:
    return jax.jit(case.call)(*case.arrays), None
  gradient, value = jax.jit(jax.grad(_total_and_value(case), has_aux=True))(
    *case.arrays
  )
  assert np.abs(gradient).max() > 1e-3
  return value, gradient


def _total_and_value(case, **settings):
  def of_arrays(*arrays):
    value = case.call(*arrays, **settings)
    return total(value), value

  return of_arrays


def _near(found, expected, rounding=1e-4):
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    one, other = np.asarray(one), np.asarray(other)
    assert one.shape == other.shape
    size = max(np.abs(other).max(), 1e-3)
    np.testing.assert_allclose(one / size, other / size, atol=rounding)


def _cotangents(name):
  """What `total` sends back to the result, so that gradients are those expected."""
  return jax.grad(total)(_expected(name)[0])


def _with_gradient(call, arrays, cotangents=None):
  """Returns the value and, of cotangents, the gradient by the first array."""
  if cotangents is None:
    return jax.jit(call)(*arrays), None

  def value_and_gradient(cotangents, first, *others):
    value, back = jax.vjp(lambda first: call(first, *others), first)
    return value, back(cotangents)[0]

  return jax.jit(value_and_gradient)(cotangents, *arrays)


def _near_expected(name, value, gradient=None):
  expected, slope = _expected(name)
  _near(value, expected)
  if gradient is not None:
    _near(gradient, slope)


def _twice(case):
  return [np.stack([array, array]) for array in map(np.asarray, case.arrays)]


def _first(tree):
  return jax.tree.map(lambda leaf: leaf[0], tree)


def _mesh(**settings):
  if settings:
    return jax.make_mesh((2,), ("d",), devices=jax.devices()[:2], **settings)
  return Mesh(np.array(jax.devices()[:2]), ("d",))


def _put(case, mesh):
  spec = P("d") if case.spread else P()
  return [jax.device_put(array, NamedSharding(mesh, spec)) for array in case.arrays]


def _jit(name, case):
  call = jax.jit(case.call, compiler_options=compiled_as_for_users())
  _near(call(*case.arrays), _expected(name)[0], 1e-6)


def _vmap(name, case):
  found = jax.jit(jax.vmap(case.call))(*_twice(case))
  _near(_first(found), _expected(name)[0])


def _grad(name, case):
  _, gradient = _expected(name)
  assert np.isfinite(gradient).all()
  # And along one direction it is the difference quotient.
  step = np.random.default_rng(0).normal(size=gradient.shape)
  step = (1e-3 * step / np.linalg.norm(step)).astype(np.float32)
  with double_precision():
    first, *others = (np.asarray(array) for array in case.arrays)
    others = [x.astype(np.float64) if x.dtype == np.float32 else x for x in others]
    of = jax.jit(lambda a: total(case.call(a, *others)))
    first, step = first.astype(np.float64), step.astype(np.float64)
    slope = float(of(first + step) - of(first - step)) / 2
  np.testing.assert_allclose(
    np.sum(gradient * step), slope, rtol=2e-2, atol=2e-5 * np.abs(gradient).max()
  )


def _hessian(name, case):
  directions = np.random.default_rng(1).normal(size=(2, *case.arrays[0].shape))
  with double_precision():
    first, *others = (
      array.astype(np.float64) if array.dtype.kind == "f" else array
      for array in map(np.asarray, case.arrays)
    )

    def along(t):
      moved = first + jnp.tensordot(t, directions, 1)
      return total(case.call(moved, *others))

    found = jax.jit(jax.hessian(along))(jnp.zeros(2))
    slope = jax.jit(jax.grad(along))
    quotient = np.array([slope(t) - slope(-t) for t in 1e-5 * np.eye(2)]) / 2e-5
  # Of a function without curvature the quotient is rounding.
  bound = 1e-3 * np.abs(quotient).max() + 1e-8
  np.testing.assert_allclose(found, quotient, rtol=1e-3, atol=bound)


def _scan(name, case):
  def of_all(*arrays):
    def step(count, arrays):
      return count + 1, case.call(*arrays)

    return jax.lax.scan(step, 0, arrays)[1]

  cotangents = None
  if case.differentiable:
    cotangents = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), _cotangents(name))
  value, gradient = _with_gradient(of_all, _twice(case), cotangents)
  _near_expected(name, _first(value), gradient if gradient is None else gradient[1])


def _remat(name, case):
  gradient = jax.jit(
    jax.grad(jax.checkpoint(lambda *arrays: total(case.call(*arrays))))
  )(*case.arrays)
  _near(gradient, _expected(name)[1])


def _pmap(name, case):
  found = jax.pmap(case.call, devices=jax.devices()[:2])(*_twice(case))
  _near(_first(found), _expected(name)[0])


def _shard_map(name, case):
  over_batch = "axis_name" in inspect.signature(case.call).parameters
  spread = case.spread and (case.by_example or over_batch)
  settings = {"axis_name": "d"} if over_batch else {}
  mapped = jax.shard_map(
    functools.partial(case.call, **settings),
    mesh=_mesh(),
    in_specs=P("d") if spread else P(),
    out_specs=P("d") if case.by_example else P(),
    check_vma=True,
  )
  cotangents = _cotangents(name) if case.differentiable else None
  _near_expected(name, *_with_gradient(mapped, case.arrays, cotangents))


def _sharded(name, case):
  _near(jax.jit(case.call)(*_put(case, _mesh())), _expected(name)[0])


def _explicit(name, case):
  mesh = _mesh(axis_types=(jax.sharding.AxisType.Explicit,))
  cotangents = None
  if case.differentiable:
    spread = NamedSharding(mesh, P("d") if case.by_example else P())
    cotangents = jax.device_put(_cotangents(name), spread)
  value, gradient = _with_gradient(case.call, _put(case, mesh), cotangents)
  if case.by_example:
    for leaf in jax.tree.leaves(value):
      assert jax.typeof(leaf).sharding.spec[0] == "d"
  _near_expected(name, value, gradient)


def _export(name, case):
  shapes = []
  scope = jax.export.SymbolicScope()
  for array in case.arrays:
    rest = ", ".join(map(str, array.shape[1:]))
    first = "b" if case.spread else array.shape[0]
    shape = jax.export.symbolic_shape(f"{first}, {rest}", scope=scope)
    shapes.append(jax.ShapeDtypeStruct(shape, jnp.asarray(array).dtype))
  exported = jax.export.export(jax.jit(case.call))(*shapes)
  value, _ = _expected(name)
  # A named tuple is not serialized before a program names it to `jax.export`.
  if case.by_example and not isinstance(value, tuple):
    written = exported.serialize(vjp_order=int(case.differentiable))
    exported = jax.export.deserialize(written)
  cotangents = _cotangents(name) if case.differentiable else None
  arrays = [jnp.asarray(array) for array in case.arrays]
  _near_expected(name, *_with_gradient(exported.call, arrays, cotangents))


def _precision(dtype, rounding, name, case):
  first, *others = case.arrays
  gradient, value = jax.jit(jax.grad(_total_and_value(case), has_aux=True))(
    jnp.asarray(first).astype(dtype), *others
  )
  out = jnp.promote_types(dtype, jnp.float32)
  for leaf in jax.tree.leaves(value):
    assert jnp.finfo(leaf.dtype).dtype == jnp.finfo(out).dtype
  assert gradient.dtype == dtype
  _near(value, _expected(name)[0], rounding)
  _near(gradient.astype(jnp.float32), _expected(name)[1], 4 * rounding)


def _float64(name, case):
  with double_precision():
    _precision(jnp.float64, 1e-4, name, case)


CHECKS = {
  "jit": _jit,
  "vmap": _vmap,
  "grad": _grad,
  "hessian": _hessian,
  "scan": _scan,
  "remat": _remat,
  "pmap": _pmap,
  "shard_map": _shard_map,
  "sharded": _sharded,
  "explicit": _explicit,
  "export": _export,
  "float16": functools.partial(_precision, jnp.float16, 1e-2),
  "bfloat16": functools.partial(_precision, jnp.bfloat16, 5e-2),
  "float64": _float64,
}


@pytest.mark.slow
@pytest.mark.parametrize("transformation", CHECKS)
@pytest.mark.parametrize("name", CASES)
def test_every_function_under_every_transformation(name, transformation):
  case = CASES[name]
  if not case.differentiable and transformation in OF_GRADIENTS | OF_PRECISIONS:
    pytest.skip("no gradient flows, or labels have no precision")
  if (name, transformation) in NOT_SMOOTH:
    pytest.skip("JAX has no second derivative of it")
  if not NEEDS.get(transformation, True):
    pytest.skip(f"JAX {jax.__version__} has no such thing")
  line = REFUSED.get((name, transformation))
  if line is None:
    CHECKS[transformation](name, case)
  else:
    with pytest.raises(ValueError, match=line):
      CHECKS[transformation](name, case)


# --- Channels first ---------------------------------------------------------------

_LAYER = CASES["angular_consistency_loss"].arrays[0]
_PHI = hue_jax.position_hue(*_LAYER.shape[1:3])
# Every function that takes a layer, of the layer alone.
OF_LAYERS = {
  "activation_strength": hue_jax.activation_strength,
  "chroma": hue_jax.chroma,
  "hue_angle": hue_jax.hue_angle,
  "hue_loss": lambda layer: hue_jax.hue_loss(layer, _PHI),
  "saturation": hue_jax.saturation,
  "von_mises_loss": lambda layer: hue_jax.von_mises_loss(layer, _PHI),
  **{
    name: lambda layer, case=case: case.call(layer, *case.arrays[1:])
    for name, case in CASES.items()
    if case.arrays[0].ndim == 4
  },
}


@pytest.mark.parametrize("name", OF_LAYERS)
def test_a_layer_of_channels_first_is_turned_by_moveaxis(name):
  def of_last(layer):
    value = OF_LAYERS[name](layer)
    return total(value), value

  def of_first(layer):
    return of_last(jnp.moveaxis(layer, 1, -1))

  first = np.moveaxis(_LAYER, -1, 1)
  expected, value = jax.jit(jax.grad(of_last, has_aux=True))(_LAYER)
  gradient, found = jax.jit(jax.grad(of_first, has_aux=True))(first)
  assert gradient.shape == first.shape
  _near(found, value, 1e-6)
  _near(np.moveaxis(gradient, 1, -1), expected, 1e-6)


@pytest.mark.parametrize("loss", [hue_jax.hue_loss, hue_jax.von_mises_loss])
def test_a_layer_of_channels_first_is_told_by_its_labels(loss):
  layer = np.ones((2, 5, 3, 4), np.float32)  # [batch, channels, height, width]
  with pytest.raises(ValueError, match=r"does not broadcast"):
    loss(layer, hue_jax.position_hue(3, 4))


@pytest.mark.parametrize("name", OF_SIZES)
def test_what_is_made_of_sizes_alone_is_made_while_others_are_traced(name):
  found = jax.jit(lambda x: jax.tree.map(lambda y: x * y, OF_SIZES[name]()))(2.0)
  _near(found, jax.tree.map(lambda y: 2 * y, OF_SIZES[name]()))


# --- Range ------------------------------------------------------------------------

MAGNITUDES = {
  "float16": [0, 6e-8, 6e-5, 1e-2, 1, 1e2, 3e4, 65504],
  "bfloat16": [0, 1e-40, 1e-38, 1e-20, 1, 1e19, 1e30, 3e38],
  "float32": [0, 1e-45, 1e-38, 1e-20, 1, 1e19, 1e30, 3e38],
  "float64": [0, 5e-324, 1e-308, 1e-100, 1, 1e150, 1e200, 1.7e308],
}
# Statistics are of angles: of gradients where a direction is undefined they say
# nothing. Planes are of a sample: see below.
_OF_ANGLES = {*circular.__all__}
SWEPT = [
  name
  for name, case in CASES.items()
  if case.differentiable and not name.endswith("_plane")
]


def _pattern(shape, magnitudes):
  signs = np.random.default_rng(5).uniform(-1, 1, size=shape)
  signs[..., 0] = np.where(signs[..., 0] > 0, 1, -1)
  return signs * np.reshape(magnitudes, (-1,) + (1,) * (len(shape) - 1))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", MAGNITUDES)
@pytest.mark.parametrize("name", SWEPT)
def test_every_magnitude_gives_a_finite_value_and_gradient_in_range(name, dtype):
  case = CASES[name]

  def of_arrays(*arrays):
    value = case.call(*arrays)
    return sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(value)), value

  with double_precision():
    shape = case.arrays[0].shape
    first = jnp.asarray(_pattern(shape, MAGNITUDES[dtype]), dtype)
    assert jnp.isfinite(first).all()
    others = [jnp.asarray(x) for x in case.arrays[1:]]
    if dtype == "float64":
      others = [x.astype(dtype) if x.dtype == jnp.float32 else x for x in others]
    gradient_of = jax.jit(jax.grad(of_arrays, has_aux=True))
    gradient, value = gradient_of(first, *others)
    for leaf in jax.tree.leaves(value):
      if name == "circular_correlation":  # NaN where the angles do not vary
        leaf = leaf[~jnp.isnan(leaf)]
        assert leaf.size >= BATCH // 2
      if name not in ("rayleigh_test", "fit_von_mises"):
        assert jnp.isfinite(leaf).all(), leaf
      if leaf.dtype.kind == "f":
        assert (leaf >= case.low - 1e-6).all(), leaf
        assert (leaf <= case.high * (1 + 1e-6)).all(), leaf
    if name in _OF_ANGLES:
      return
    if dtype != "float16":
      assert jnp.isfinite(gradient.astype(jnp.float64)).all(), gradient
      return
    # What float32 gives, rounded: infinite where float16 does not hold it.
    exact, _ = gradient_of(first.astype(jnp.float32), *others)
    gradient, exact = (np.float64(x.astype(jnp.float16)) for x in (gradient, exact))
    if name == "image_plane_hue":  # denormals cancel, and an angle of 0 has any slope
      gradient, exact = gradient[2:], exact[2:]
    np.testing.assert_allclose(gradient, exact, rtol=2**-10, atol=2**-24)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_angles_of_every_magnitude_are_wrapped_into_the_circle(dtype):
  with double_precision():
    sizes = np.float64(MAGNITUDES[dtype])
    angles = jnp.asarray(np.concatenate([sizes, -sizes]), dtype)
    wrapped = np.asarray(jax.jit(wrap_angle)(angles))
  assert not np.signbit(wrapped[wrapped != 0]).any()
  assert (wrapped >= 0).all()
  assert (wrapped < 2 * np.pi).all()


@pytest.mark.parametrize("size", [1e-36, 1e-20, 1e20, 1e37])
@pytest.mark.parametrize("name", ["hue_plane", "principal_plane", "class_mean_plane"])
def test_planes_of_vectors_of_every_magnitude(name, size):
  case = CASES[name]
  usual = np.asarray(jax.jit(case.call)(*case.arrays))
  found = jax.jit(case.call)(np.float32(size) * case.arrays[0])
  np.testing.assert_allclose(found, usual, atol=1e-4)


@pytest.mark.parametrize("name", SWEPT)
def test_not_a_number_gives_not_a_number(name):
  case = CASES[name]
  first, *others = (jnp.asarray(array) for array in case.arrays)
  value = jax.jit(case.call)(first.at[1].set(jnp.nan), *others)
  for leaf in jax.tree.leaves(value):
    assert np.isnan(leaf[1]).all(), leaf
    if "axis_name" not in inspect.signature(case.call).parameters:  # no other hears
      assert not np.isnan(leaf[0]).any(), leaf


# --- Examples that do not count -----------------------------------------------------

_LABELS = np.array([0, 1, 0, 3, 1, 1, 0, 3])
_CENTERS = np.random.default_rng(2).normal(size=(4, 5)).astype(np.float32)
# Every function that leaves examples out, of the array, the labels and the mask.
_OF_TARGETS = {
  "hue_loss": lambda x, y, **of: losses.hue_loss(x, 1.0 * y, **of),
  "von_mises_loss": lambda x, y, **of: losses.von_mises_loss(x, 1.0 * y, **of),
}
_OF_LABELS = {
  "angular_consistency_loss": lambda x, y, **of: losses.angular_consistency_loss(
    x, y, num_classes=4, **of
  ),
  "cell_contrastive_loss": lambda x, y, **of: losses.cell_contrastive_loss(x, y, **of),
  "supervised_contrastive_loss": lambda x, y, **of: losses.supervised_contrastive_loss(
    x, y, **of
  ),
  "angular_loss": lambda x, y, **of: losses.angular_loss(x, y, **of),
  "update_centers": lambda x, y, **of: losses.update_centers(_CENTERS, x, y, **of),
  "update_prototypes": lambda x, y, **of: losses.update_prototypes(
    losses.no_prototypes(4, 8, 5), x, y, **of
  ),
  "center_loss": lambda x, y, **of: losses.center_loss(x, y, _CENTERS, **of),
  "hyperspherical_prototype_loss": lambda x, y, **of: (
    losses.hyperspherical_prototype_loss(x, y, _CENTERS, **of)
  ),
  "additive_angular_margin_loss": lambda x, y, **of: (
    losses.additive_angular_margin_loss(x, y, kernel=_CENTERS.T, **of)
  ),
  "dense_cross_entropy": lambda x, y, **of: losses.dense_cross_entropy(
    x, y, kernel=_CENTERS.T, bias=np.ones(4, np.float32), **of
  ),
}
_MASKED = {
  **_OF_TARGETS,
  **_OF_LABELS,
  "update_radius": lambda x, y, **of: losses.update_radius(1.5, x, **of),
}
_WITHOUT_C = {"cell_contrastive_loss", "supervised_contrastive_loss", "angular_loss"}
_OF_A_LAYER = {
  "angular_consistency_loss",
  "cell_contrastive_loss",
  "update_prototypes",
  "dense_cross_entropy",
}


def _array(name):
  layer = jnp.asarray(CASES["angular_consistency_loss"].arrays[0])
  return layer if name in _OF_A_LAYER else layer[:, 0, 0]


def _value_and_gradient(name, array, labels, **settings):
  def of_array(array):
    found = _MASKED[name](array, labels, **settings)
    return total(found), found

  gradient, value = jax.jit(jax.grad(of_array, has_aux=True))(array)
  return value, gradient


def test_every_function_that_leaves_examples_out_is_here():
  public = {name: getattr(losses, name) for name in losses.__all__}
  takes = {
    name
    for name, function in public.items()
    if inspect.isfunction(function)
    and "where" in inspect.signature(function).parameters
  }
  assert takes == set(_MASKED)


@pytest.mark.parametrize("name", _MASKED)
def test_a_mask_keeps_not_a_number_out(name):
  where, array = np.arange(BATCH) != 1, _array(name)
  value, gradient = _value_and_gradient(
    name, array.at[1].set(jnp.nan), _LABELS, where=where
  )
  expected, usual = _value_and_gradient(name, array, _LABELS, where=where)
  assert np.abs(usual).max() > 1e-3 or name.startswith("update")
  _near(value, expected, 1e-5)
  _near(gradient, usual, 1e-4)
  np.testing.assert_array_equal(gradient[1], 0)
  if not name.startswith("update"):
    assert value[1] == 0
  # Without the example the others are as they are.
  others = _MASKED[name](array[where], _LABELS[where])
  _near(value if name.startswith("update") else value[where], others, 1e-5)


@pytest.mark.parametrize("name", _OF_LABELS)
@pytest.mark.parametrize("batch", [BATCH, 3])  # fewer than there are classes, too
def test_an_example_without_a_class_does_not_count(name, batch):
  labels, array = _LABELS[:batch].copy(), _array(name)[:batch]
  places = [1] if batch == 3 else [1, 3, 4]
  outside = [-1, -1, -7] if name in _WITHOUT_C else [-1, 4, 2**31 - 1]
  for shift in range(len(outside)):  # each of them at each place
    labels[places] = np.roll(outside, shift)[: len(places)]
    where = ~np.isin(np.arange(batch), places)
    bad = array.at[np.array(places)].set(jnp.nan)
    value, gradient = _value_and_gradient(name, bad, labels)
    expected, usual = _value_and_gradient(name, array, _LABELS[:batch], where=where)
    _near(value, expected, 1e-5)
    _near(gradient, usual, 1e-4)


def test_the_targets_of_no_class_are_none():
  targets = losses.smoothed_labels(
    np.array([0, -1, 2, 3]), 3, smoothing=0.2, concentration=1.0
  )
  np.testing.assert_allclose(targets.sum(axis=1), [1, 0, 1, 0], atol=1e-6)
  np.testing.assert_array_equal(targets[1::2], 0)


@pytest.mark.parametrize("name", _MASKED)
def test_a_mask_is_of_bools_or_of_0_and_1(name):
  array = _array(name)
  where = np.arange(BATCH) % 3 != 1
  expected = _MASKED[name](array, _LABELS, where=where)
  for dtype in (np.float32, np.int32, np.uint8):
    _near(_MASKED[name](array, _LABELS, where=where.astype(dtype)), expected, 1e-6)
  traced = jax.jit(lambda w: _MASKED[name](array, _LABELS, where=w))
  _near(traced(where.astype(np.float32)), expected, 1e-5)
  for wrong in (0.5, 2.0, -1.0, np.nan):
    with pytest.raises(InputError, match=r"where holds .*; it must hold bools, or 0"):
      _MASKED[name](array, _LABELS, where=np.float32([1] * (BATCH - 1) + [wrong]))


@pytest.mark.parametrize("name", _MASKED)
def test_a_mask_of_another_shape_is_refused(name, monkeypatch):
  monkeypatch.setattr(losses, name, inspect.unwrap(getattr(losses, name)))
  shapes = [(BATCH - 1,), (BATCH, 1)]
  if name not in _OF_TARGETS:  # which broadcast their targets, weights and mask
    shapes += [(), (1,)]
  for shape in shapes:
    with pytest.raises(InputError, match=rf"where has shape {re.escape(str(shape))}"):
      _MASKED[name](_array(name), _LABELS, where=np.ones(shape, bool))


@pytest.mark.parametrize("name", _OF_TARGETS)
def test_a_mask_of_a_mean_leaves_out_what_does_not_count(name):
  layer = jnp.asarray(CASES["angular_consistency_loss"].arrays[0])
  target, weights = 0.3, np.float32([[0.5, 2], [1, 1], [0, 3]])
  where = np.random.default_rng(0).uniform(size=layer.shape[:-1]) > 0.4
  where[0] = False
  bad = jnp.where(where[..., None], layer, jnp.nan)
  function = getattr(losses, name)
  each = np.asarray(function(layer, target), np.float64)
  for of in ({}, {"weights": weights}):
    share = where * (weights if of else 1)
    share = np.broadcast_to(share, each.shape)
    expected = (each * share).sum((1, 2)) / np.maximum(share.sum((1, 2)), 1e-9)
    found = function(bad, target, where=where, axis=(-2, -1), **of)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found[0] == 0
    one_by_one = function(bad, target, where=where, **of)
    np.testing.assert_allclose(one_by_one, each * share, rtol=1e-4, atol=1e-6)
  # Nor what the targets and weights of the others hold.
  by_target = function(
    layer,
    np.where(where, target, np.nan).astype("f"),
    weights=np.where(where, np.float32(1), np.nan).astype("f"),
    where=where,
    axis=(-2, -1),
  )
  _near(by_target, function(layer, target, where=where, axis=(-2, -1)), 1e-6)


# --- Nothing at all -----------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].spread])
def test_an_empty_batch_has_an_empty_result(name):
  case = CASES[name]
  arrays = [np.asarray(array)[:0] for array in case.arrays]
  if name in ("principal_plane", "class_mean_plane"):
    with pytest.raises(InputError, match=r"are none|labels have shape"):
      case.call(*arrays)
    return
  found = case.call(*arrays)
  if case.by_example:
    assert all(leaf.shape[0] == 0 for leaf in jax.tree.leaves(found))
  else:  # what is kept from batch to batch stays
    before = {
      "update_prototypes": KNOWN,
      "update_centers": KERNEL.T,
      "update_radius": np.float32(1.5),
    }[name]
    _near(found, before, 1e-6)


@pytest.mark.parametrize("name", _OF_TARGETS)
def test_a_mean_of_none_is_0(name):
  function = getattr(losses, name)
  for of in ({}, {"weights": np.zeros((0, 3), "f")}, {"where": np.zeros((0, 3), bool)}):
    none = np.zeros((0, 3, 5), "f")
    np.testing.assert_array_equal(function(none, 0.0, axis=0, **of), np.zeros(3))
    assert function(none, 0.0, axis=1, **of).shape == (0,)


# --- Gradients where there is no direction ------------------------------------------


def _weighed(result):
  """One number of all that a function gives, with a slope everywhere."""
  parts = [
    part.ravel()
    for leaf in jax.tree.leaves(result)
    for part in (jnp.real(leaf), jnp.imag(leaf))
  ]
  values = jnp.concatenate(parts)
  return jnp.sum(values * (1 + jnp.arange(values.size) % 5))


_DIRECTIONS = [name for name in CASES if CASES[name].differentiable]
_KERNELS = {
  "cosine_logits": lambda k, x, y: losses.cosine_logits(x, k.T),
  "additive_angular_margin_loss": lambda k, x, y: losses.additive_angular_margin_loss(
    x, y, kernel=k.T
  ),
  "hyperspherical_prototype_loss": lambda k, x, y: losses.hyperspherical_prototype_loss(
    x, y, k
  ),
  "dense_cross_entropy": lambda k, x, y: losses.dense_cross_entropy(
    x[:, None, None], y, kernel=k.T, bias=np.zeros(4, np.float32)
  ),
}
# Bounded by 1/ε.
_STEEP_AT_ZERO = {"hue_loss": 1e4}


@pytest.mark.parametrize("name", _DIRECTIONS)
def test_an_example_of_zeros_does_not_undo_a_training(name):
  """It has no direction: its gradient is no larger than those of the others."""
  case = CASES[name]
  first, *others = (np.array(array) for array in case.arrays)
  first[0] = 0
  slope = jax.jit(jax.grad(lambda first: _weighed(case.call(first, *others))))(first)
  of_zeros, of_others = np.abs(slope[0]).max(), np.abs(slope[1:]).max()
  assert of_zeros <= _STEEP_AT_ZERO.get(name, 4 * of_others)


@pytest.mark.parametrize("name", ["angular_consistency_loss", "cell_contrastive_loss"])
def test_a_cell_of_zeros_does_not_undo_a_training(name):
  case = CASES[name]
  layer, labels = np.array(case.arrays[0]), case.arrays[1]
  layer[0, 1:] = 0  # with one sector of two
  slope = jax.jit(jax.grad(lambda layer: _weighed(case.call(layer, labels))))(layer)
  assert np.abs(slope[0]).max() <= 4 * np.abs(slope[1:]).max()


@pytest.mark.parametrize("name", _KERNELS)
def test_a_class_of_zero_weights_does_not_undo_a_training_and_leaves(name):
  kernel = _CENTERS.copy()
  kernel[1] = 0
  features = np.random.default_rng(3).normal(size=(BATCH, 5)).astype(np.float32)
  slope_of = jax.jit(jax.grad(lambda k: _weighed(_KERNELS[name](k, features, _LABELS))))
  slope = np.asarray(slope_of(kernel))
  of_zeros, of_others = np.abs(slope[1]).max(), np.abs(slope[[0, 2, 3]]).max()
  assert 0.01 * of_others < of_zeros < 10 * of_others
  # Nor are weights that are all 0, as a head may begin, kept there.
  assert 0.01 * of_others < np.abs(slope_of(0 * kernel)).max() < 10 * of_others


def test_logits_of_zeros_leave_them():
  def cross_entropy(logits):
    return -jax.nn.log_softmax(losses.normalized_logits(logits, temperature=0.1))[0, 2]

  slope = jax.grad(cross_entropy)(jnp.zeros((1, 4)))
  np.testing.assert_allclose(slope, [[2.5, 2.5, -7.5, 2.5]], rtol=1e-5)


@pytest.mark.parametrize("name", _DIRECTIONS)
def test_second_derivatives_of_zeros_and_of_gray_are_finite(name):
  if (name, "hessian") in NOT_SMOOTH:
    pytest.skip("JAX has no second derivative of it")
  case = CASES[name]
  first, *others = (np.array(array) for array in case.arrays)
  if not name.endswith("_plane"):  # which must be of vectors that span one
    first[0], first[1] = 0, 2.5
  along = np.random.default_rng(1).normal(size=first.shape).astype("f")
  slope = jax.grad(lambda first: _weighed(case.call(first, *others)))
  found = jax.jit(lambda first: jax.jvp(slope, (first,), (along,))[1])(first)
  assert np.isfinite(found).all()


# --- Programs -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CASES, *OF_SIZES])
def test_a_repeated_call_compiles_nothing(name, caplog):
  call = OF_SIZES[name] if name in OF_SIZES else lambda: CASES[name].call(*arrays)
  arrays = CASES[name].arrays if name in CASES else ()
  call()
  with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
    jax.jit(lambda x: x + 1)(1)  # which is seen
    seen = len(_compiled(caplog))
    call()
  assert seen == 1
  assert _compiled(caplog)[1:] == []


def _compiled(caplog):
  lines = [record.getMessage() for record in caplog.records]
  return [line for line in lines if line.startswith("Compiling ")]
