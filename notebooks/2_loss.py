# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER_NOT_NAMED_YET/hue_jax/blob/main/notebooks/2_loss.ipynb)

# %%
# Installs hue_jax where it is not, from its repository. What is here keeps its version.
import importlib.util


class NotInstalled(Exception):
  def _render_traceback_(self):  # a line, in place of IPython's pages
    return [str(self)]


def install(repository, checkout="hue_jax_checkout"):
  import os
  import subprocess
  import sys

  def run(*command):
    variables = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
      command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=variables
    )
    if done.returncode:
      why = (done.stderr.strip() or command[0]).splitlines()[-1]
      raise NotInstalled(f"hue_jax was not installed from {repository}: {why}")
    return done.stdout

  print("Installing hue_jax: a minute or two.")
  if not os.path.isdir(checkout):
    run("git", "clone", "-q", "--depth=1", repository, checkout)
  pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
  with open("installed.txt", "w") as file:
    file.write(run(*pip, "list", "--format=freeze"))
  run(*pip, "install", "-q", "-c", "installed.txt", "-e", f"./{checkout}[notebooks]")
  sys.path.insert(0, os.path.abspath(checkout))
  # Colab's protobuf is older than what its tensorflow-metadata was made with.
  os.environ.setdefault("TEMPORARILY_DISABLE_PROTOBUF_VERSION_CHECK", "true")


if importlib.util.find_spec("hue_jax") is None:
  install("https://github.com/OWNER_NOT_NAMED_YET/hue_jax")

# %% [markdown]
# # 2. The loss in a plain loop, and in `main.py`
#
# A hue loss is one term beside cross entropy. Here a small network learns 8 × 8
# handwritten digits three times: with cross entropy alone, and with two kinds of hue
# labels. Then the project's own trainer does it by one command.
#
# The networks are small and trained from one seed: this shows what the functions do,
# and nothing follows from it about accuracy. [Notebook 4](4_study.ipynb) asks about
# that.

# %%
import json
import os
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

import hue_jax
from hue_jax import activation_strength, hue_angle, hue_labels, hue_loss, position_hue
from hue_jax.color import color_layer, color_wheel, hue_to_rgb

print(f"hue_jax {hue_jax.__version__}, JAX {jax.__version__}, {jax.default_backend()}")

# %% [markdown]
# ## In your own loop
#
# A Flax network that hands out its last spatial layer, and a plain Optax loop. (Other
# frameworks: `examples/` in the repository.) It is trained three times from the same
# start:
#
# - with cross entropy alone;
# - with the *position hue*: each position of the layer takes the hue of its direction
#   from the center, strong activations counting more;
# - with the *class hue*: the pooled features of digit c take the hue 2πc/10.
#
# Each hue loss is one term added to the cross entropy.


# %%
class Network(nn.Module):
  """Returns logits, the last spatial layer, and its pooled features."""

  @nn.compact
  def __call__(self, x):
    for channels in (16, 32, 32):
      x = nn.relu(nn.Conv(channels, (3, 3))(x))
    features = x.mean(axis=(1, 2))
    return nn.Dense(10)(features), x, features


network = Network()


def cross_entropy_alone(params, images, labels):
  logits, _, _ = network.apply(params, images)
  return mean_cross_entropy(logits, labels)


def with_position_hue(params, images, labels):
  logits, layer, _ = network.apply(params, images)
  cross_entropy = mean_cross_entropy(logits, labels)
  return cross_entropy + 0.1 * position_loss(layer).mean()


def with_class_hue(params, images, labels):
  logits, _, features = network.apply(params, images)
  cross_entropy = mean_cross_entropy(logits, labels)
  return cross_entropy + 0.1 * hue_loss(features, hue_labels(labels, 10)).mean()


def mean_cross_entropy(logits, labels):
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def position_loss(layer):
  height, width = layer.shape[1:3]
  target, weights = position_hue(height, width), activation_strength(layer)
  return hue_loss(layer, target, weights=weights, axis=(-2, -1))


# %%
digits = load_digits()
images = jnp.asarray(digits.images[..., None] / 16, jnp.float32)
labels = jnp.asarray(digits.target)
num_train = 1500  # the other 297 images are for the pictures below
optimizer = optax.adam(1e-2)
initial_params = network.init(jax.random.key(0), images[:1])


def train(objective, num_steps=300, batch_size=64):
  @jax.jit
  def step(params, state, images, labels):
    loss, grads = jax.value_and_grad(objective)(params, images, labels)
    updates, state = optimizer.update(grads, state)
    return optax.apply_updates(params, updates), state, loss

  params, state = initial_params, optimizer.init(initial_params)
  order, losses = np.random.default_rng(0), []
  for _ in range(num_steps):
    batch = order.integers(0, num_train, batch_size)
    params, state, loss = step(params, state, images[batch], labels[batch])
    losses.append(float(loss))
  return params, np.array(losses)


trained, histories = {}, {}
for objective in (cross_entropy_alone, with_position_hue, with_class_hue):
  name = objective.__name__.replace("_", " ")
  trained[name], losses = train(objective)
  histories[name] = losses
  print(f"{name}: training loss {losses[:20].mean():.3f} -> {losses[-20:].mean():.3f}")

# %%
styles = {
  "cross entropy alone": ("0.45", "-"),
  "with position hue": ("tab:red", "--"),
  "with class hue": ("tab:blue", ":"),
}
figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
for name, losses in histories.items():
  color, style = styles[name]
  smooth = np.convolve(losses, np.ones(20) / 20, mode="valid")
  steps = np.arange(20, len(losses) + 1)
  axis.plot(steps, smooth, style, lw=2, color=color, label=name)
axis.set(title="training loss, mean of the last 20 steps", xlabel="step", ylabel="loss")
axis.set(xlim=(0, len(losses)), ylim=(0, None))
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# The hue losses themselves, on images that were not trained on: 0 is a perfect match, 1
# what random angles give, and 2 the opposite hue. Each label is learned by the network
# that was given it, and by no other.

# %%
unseen_images, unseen_labels = images[num_train:], labels[num_train:]
print(f"{'on unseen images':22}{'position hue loss':>18}{'class hue loss':>16}")
for name, params in {"before training": initial_params, **trained}.items():
  _, layer, features = network.apply(params, unseen_images)
  of_class = hue_loss(features, hue_labels(unseen_labels, 10))
  print(f"{name:22}{position_loss(layer).mean():18.3f}{of_class.mean():16.3f}")

# %% [markdown]
# ## What the layer looks like
#
# The last spatial layer as a picture of unseen images: hue is the activation hue θ,
# saturation the saturation, and value the magnitude, full at its 99th percentile. Of 32
# channels only two dimensions lie in the hue plane, so the colors are paler than those
# of RGB.
#
# The wheel shows the label, the position hue φ(x, y). Trained with it, the layer has
# learned to show where it is: the colors of the wheel stand around the center of every
# image. Cross entropy alone leaves them as they fall.

# %%
shown = jnp.array([int(jnp.argmax(unseen_labels == digit)) for digit in range(8)])
rows = {
  "before\ntraining": initial_params,
  "cross entropy\nalone": trained["cross entropy alone"],
  "with position\nhue": trained["with position hue"],
}
figure, axes = plt.subplots(
  4, 9, figsize=(11, 4.8), width_ratios=[1] * 8 + [1.7], layout="constrained"
)
for axis, image in zip(axes[0], unseen_images[shown], strict=False):
  axis.imshow(image[..., 0], cmap="gray")
axes[0, 0].set_ylabel("image")
for row, (name, params) in zip(axes[1:], rows.items(), strict=True):
  row[0].set_ylabel(name)
  colors = color_layer(network.apply(params, unseen_images[shown])[1])
  for axis, picture in zip(row, colors, strict=False):
    axis.imshow(picture)
for axis in axes.ravel():
  axis.set(xticks=[], yticks=[])
for axis in axes[:, 8]:
  axis.remove()
wheel_axis = figure.add_subplot(axes[0, 0].get_gridspec()[:, 8])
wheel_axis.imshow(color_wheel(201))
wheel_axis.set_title("label: position hue\nφ(x, y)", fontsize=10)
wheel_axis.axis("off")
figure.suptitle("the last spatial layer, colored by its activation hue")
plt.show()

# %% [markdown]
# ## The hue of a class
#
# The pooled features of the unseen images. The angle is the activation hue; each digit
# has a ring of its own and the color of its class hue 2πc/10, which the black marks
# show. Cross entropy alone has no reason to prefer one angle to another. With the class
# hue, the digits line up around the circle, roughly in the order of the marks; after so
# short a training many still stand some way off.

# %%
class_hues = np.asarray(hue_labels(np.arange(10), 10))
colors = np.asarray(hue_to_rgb(class_hues, 1.0, 0.8))
figure, axes = plt.subplots(
  1, 2, figsize=(10, 5.4), subplot_kw={"projection": "polar"}, layout="constrained"
)
for axis, name in zip(axes, ("cross entropy alone", "with class hue"), strict=True):
  _, _, features = network.apply(trained[name], unseen_images)
  theta = np.asarray(hue_angle(features))
  for digit, (class_hue, color) in enumerate(zip(class_hues, colors, strict=True)):
    own = theta[np.asarray(unseen_labels) == digit]
    ring = np.full(len(own), digit + 3)
    axis.scatter(own, ring, s=22, color=color, alpha=0.6, linewidth=0)
    axis.plot([class_hue] * 2, [digit + 2.5, digit + 3.5], color="black", linewidth=2.5)
  axis.set_xticks(class_hues, [f"{c}" for c in range(10)], fontsize=13)
  for tick, color in zip(axis.get_xticklabels(), colors, strict=True):
    tick.set(color=color, fontweight="bold")
  axis.set(ylim=(0, 13), yticks=range(3, 13), yticklabels=[])
  axis.grid(color="0.9")
  axis.set_axisbelow(True)
  axis.set_title(name)
figure.suptitle("activation hue of pooled features (inner ring: digit 0, outer: 9)")
plt.show()

# %% [markdown]
# ## In `main.py`
#
# The trainer of this repository reads a configuration, trains, keeps checkpoints, goes
# on where it was stopped, and reads the test split once, at the end. Any setting can be
# given after its name. Here: the embedded digits, a small ResNet, and the position hue
# at the layer `stage2`.

# %%
checkout = Path(hue_jax.__file__).parents[1]  # main.py and configs/ lie there
if not (checkout / "main.py").exists():
  raise SystemExit(f"main.py is not in {checkout}: install hue_jax from a checkout.")
arguments = [
  "--config=configs/digits_hue.py:position",
  "--config.model=resnet8",
  "--config.hue.terms.position.weight=1.0",
  "--config.num_epochs=10",
  "--config.eval_every_epochs=10",
]
workdir = os.path.abspath("runs/position")
print("python main.py", *arguments, "--workdir=runs/position")
done = subprocess.run(
  [sys.executable, "main.py", *arguments, f"--workdir={workdir}"],
  cwd=checkout,
  capture_output=True,
  text=True,
)
if done.returncode:
  raise SystemExit(done.stderr.strip().splitlines()[-1])
result = json.loads(done.stdout.strip().splitlines()[-1])
for name, value in result.items():
  print(f"{name:36} {value}")

# %% [markdown]
# What it left in its folder is a network like any other: `load_network` reads it, and
# its layers are colored as above. `python -m hue_jax.color IMAGES
# --network=runs/position --out=sheet.png` draws such a sheet of picture files.

# %%
from hue_jax.color.contact_sheet import contact_sheet
from hue_jax.train.networks import load_network

network = load_network("runs/position")
pictures = np.uint8(np.round(255 * np.asarray(unseen_images[shown[:6]])))
layers = network.layers(pictures)
colored = {tap: color_layer(layers[tap]) for tap in network.tap_shapes}
sheet = contact_sheet(
  pictures,
  colored,
  captions={tap: "x".join(map(str, s)) for tap, s in network.tap_shapes.items()},
)
sheet.reduce(2) if sheet.width > 1600 else sheet

# %% [markdown]
# At `stage2`, the layer that had the label, the colors of the wheel stand around the
# center. Next: [3. Observe a network](3_observe.ipynb).
