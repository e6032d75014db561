"""A small random network on digits, for tests of capture and observations."""

import jax
import jax.numpy as jnp
import numpy as np

from hue_jax.data.sample import class_balanced_sample
from hue_jax.models.resnet import BasicBlock, ResNet
from hue_jax.observe.capture import Sample
from hue_jax.train.networks import Network


def small_network(seed=0, scale=1.0, name="small", num_classes=10, channels=1):
  """A ResNet of two stages for 8 × 8 images, gray ones if nothing else is said."""
  model = ResNet(
    num_classes=num_classes, block=BasicBlock, stage_sizes=(1, 1), stem="small", width=4
  )
  variables = model.init(
    jax.random.key(seed), jnp.zeros((1, 8, 8, channels)), train=False
  )
  variables = {name: variables[name] for name in ("params", "batch_stats")}
  variables = jax.tree.map(np.array, variables)
  variables["params"]["stem_norm"]["scale"] *= np.float32(scale)
  return Network(
    name=name,
    model=model,
    variables=variables,
    image_size=8,
    channels=channels,
    crop="none",
    pixel_mean=(0.5,),
    pixel_std=(0.25,),
  )


def small_sample(dataset, per_class=4, seed=0):
  """A few test digits of each class."""
  indices, labels = class_balanced_sample(
    dataset, "test", per_class=per_class, seed=seed
  )
  return Sample(dataset, "test", indices, labels)
