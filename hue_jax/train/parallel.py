"""Maps a step over devices, by `jax.pmap` or by `jax.shard_map` on a mesh.

Both run the same step, with the same collectives over the axis `AXIS`: the state is
the same on every device, and the batch is cut along its first axis in the order of
the devices. A process hands in, and gets back, host arrays of its own part.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from flax import jax_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "devices"


@runtime_checkable
class Parallel(Protocol):
  """The four things that the loop asks of devices."""

  def replicate(self, tree: Any) -> Any:
    """Returns the host tree on every device."""

  def shard(self, batch: Any) -> Any:
    """Returns this process's part of the batch, cut over its devices."""

  def map(self, step: Callable, *, donate_state: bool = False) -> Callable:
    """Maps a step over all devices: (replicated state, sharded batch) → replicated."""

  def unreplicate(self, tree: Any) -> Any:
    """Returns one copy of a replicated tree, as arrays of this process."""


class PmapParallel:
  """The mapping by `jax.pmap`: arrays carry a leading axis of devices."""

  def __init__(self, devices: Sequence[jax.Device] | None = None):
    self._devices = devices
    self._local = len(devices) if devices else jax.local_device_count()

  def replicate(self, tree):
    """See `Parallel`."""
    return jax_utils.replicate(tree, self._devices or jax.local_devices())

  def shard(self, batch):
    """See `Parallel`."""
    return jax.tree.map(
      lambda x: x.reshape((self._local, x.shape[0] // self._local, *x.shape[1:])),
      batch,
    )

  def map(self, step, *, donate_state=False):
    """See `Parallel`."""
    donated = (0,) if donate_state else ()
    return jax.pmap(step, AXIS, devices=self._devices, donate_argnums=donated)

  def unreplicate(self, tree):
    """See `Parallel`."""
    return _first_of_each(jax.tree.map(lambda x: x.addressable_data(0), tree))


@jax.jit
def _first_of_each(tree):
  """Returns the first row of each array: one program, not one for each array."""
  return jax.tree.map(lambda x: x[0], tree)


class ShardMapParallel:
  """The mapping by `jax.shard_map` on a mesh of one axis: arrays are global."""

  def __init__(self, devices: Sequence[jax.Device] | None = None):
    self.mesh = Mesh(np.asarray(devices or jax.devices()), (AXIS,))

  def replicate(self, tree):
    """See `Parallel`."""
    # A copy, because a step that donates its state would take the caller's arrays.
    return jax.device_put(tree, NamedSharding(self.mesh, P()), may_alias=False)

  def shard(self, batch):
    """See `Parallel`."""
    sharding = NamedSharding(self.mesh, P(AXIS))
    return jax.tree.map(
      lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )

  def map(self, step, *, donate_state=False):
    """See `Parallel`."""
    # check_vma=False gives collectives the meaning, and the gradient, that they
    # have under pmap: the step itself sums the gradients.
    mapped = jax.shard_map(
      step,
      mesh=self.mesh,
      in_specs=(P(), P(AXIS)),
      out_specs=P(),
      check_vma=False,
    )
    return jax.jit(mapped, donate_argnums=(0,) if donate_state else ())

  def unreplicate(self, tree):
    """See `Parallel`."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


class SingleDevice:
  """`jax.jit` alone, on JAX's default device; the step's `axis_name` is None."""

  def replicate(self, tree):
    """See `Parallel`."""
    return tree

  def shard(self, batch):
    """See `Parallel`."""
    return batch

  def map(self, step, *, donate_state=False):
    """See `Parallel`."""
    return jax.jit(step, donate_argnums=(0,) if donate_state else ())

  def unreplicate(self, tree):
    """See `Parallel`."""
    return tree


FORMS = {"pmap": PmapParallel, "shard_map": ShardMapParallel}


def create_parallel(
  form: str, devices: Sequence[jax.Device] | None = None
) -> PmapParallel | ShardMapParallel:
  """Returns the mapping of a name.

  Args:
    form: "pmap" or "shard_map".
    devices: The devices to map over; all if None.

  Returns:
    The mapping.
  """
  return FORMS[form](devices)
