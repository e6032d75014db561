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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER_NOT_NAMED_YET/hue_jax/blob/main/notebooks/1_hue.ipynb)

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
# # 1. The hue, from RGB to N channels
#
# The hue of a color is its angle in the plane orthogonal to gray. The *activation hue*
# is the same angle for a vector of N channels, such as what a layer of a convolutional
# network says at one position.
#
# The source, "Coloring Deep CNN Layers with Activation Hue Loss", names the idea and
# gives no equation. The definitions here are this project's reading of it. Nothing is
# trained in this notebook; it takes a few seconds.

# %%
import colorsys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import hue_jax
from hue_jax import (
  chroma,
  class_mean_plane,
  fourier_plane,
  hue_angle,
  hue_labels,
  position_hue,
  principal_plane,
  saturation,
)
from hue_jax.color import color_layer, color_wheel, hue_to_rgb

TAU = 2 * np.pi
print(f"hue_jax {hue_jax.__version__}, JAX {jax.__version__}, {jax.default_backend()}")

# %% [markdown]
# ## Three channels
#
# A color is a vector of three channels. `hue_angle` is its angle about the gray axis,
# in radians, and `chroma` its distance from that axis. Gray added to a color, or a
# color made brighter, leaves the hue as it is.
#
# `colorsys` measures hue along a hexagon instead of a circle. The two agree at red,
# yellow, green, cyan, blue and magenta, and stay within 1.2° of each other in between.

# %%
hexagonal = np.arange(720) / 720  # in turns, as colorsys has it
wheel_colors = np.array([colorsys.hsv_to_rgb(turn, 1, 1) for turn in hexagonal])
circular = np.asarray(hue_angle(wheel_colors))
turns_apart = circular / TAU - hexagonal
difference = 360 * (turns_apart - np.round(turns_apart))  # degrees, the short way
print(f"largest difference from colorsys: {np.abs(difference).max():.2f} degrees")

grayer, brighter = wheel_colors + 0.3, 2.5 * wheel_colors
changed = [np.sin(hue_angle(x) - circular) for x in (grayer, brighter)]
print(f"largest change by gray or brightness: {np.abs(changed).max():.6f} radians")

random_colors = np.random.default_rng(0).uniform(size=(800, 3))
figure = plt.figure(figsize=(10, 4.4), layout="constrained")
wheel_axis = figure.add_subplot(1, 2, 1, projection="polar")
wheel_axis.scatter(
  hue_angle(random_colors), chroma(random_colors), c=random_colors, s=20
)
wheel_axis.scatter(circular[::20], np.full(36, 1.05), c=wheel_colors[::20], s=170)
names = ["red", "yellow", "green", "cyan", "blue", "magenta"]
wheel_axis.set_xticks(
  circular[::120],
  [f"{name}\n{turn:.0f}°" for name, turn in zip(names, range(0, 360, 60), strict=True)],
)
wheel_axis.tick_params(pad=12)
wheel_axis.set(ylim=(0, 1.15), yticks=[0.25, 0.5, 0.75], yticklabels=[], axisbelow=True)
wheel_axis.set_title("RGB colors placed by hue_angle\n(radius: chroma; rim: pure hues)")

axis = figure.add_subplot(1, 2, 2)
axis.axhline(0, color="0.8", linewidth=1)
axis.scatter(360 * hexagonal, difference, c=wheel_colors, s=14)
axis.set(
  title="hue_angle minus the hue of colorsys",
  xlabel="hue of colorsys (degrees)",
  ylabel="difference (degrees)",
  xticks=range(0, 361, 60),
  ylim=(-1.5, 1.5),
)
plt.show()

# %% [markdown]
# ## N channels
#
# Three channels stand at 0°, 120° and 240° of the circle. N channels stand at 2πn/N.
# Each pulls towards its own angle by its weight aₙ, and the hue θ is where the sum of
# the pulls points:
#
# θ = arg Σ aₙ exp(2πin/N).
#
# The two real columns of these exponentials, scaled to length 1, are
# `fourier_plane(N)`, the default *hue plane*. What all channels share cancels in the
# sum: it is gray.

# %%
weights = {
  3: [0.9, 0.5, 0.1],
  6: [0.3, 1.0, 0.8, 0.2, 0.1, 0.2],
  12: [0.2, 0.1, 0.3, 0.2, 0.5, 0.9, 1.0, 0.6, 0.3, 0.4, 0.1, 0.2],
}
figure, axes = plt.subplots(
  1, 3, figsize=(10, 3.9), subplot_kw={"projection": "polar"}, layout="constrained"
)
for axis, (channels, vector) in zip(axes, weights.items(), strict=True):
  vector = np.array(vector)
  angles = TAU * np.arange(channels) / channels
  theta, length = float(hue_angle(vector)), float(chroma(vector))
  own = np.asarray(hue_to_rgb(angles, 1.0, 0.85))
  axis.bar(angles, vector, width=0.8 * TAU / channels, color=own, alpha=0.75)
  # The same by hand: the sum of all pulls.
  total = np.sum(vector * np.exp(1j * angles))
  assert np.isclose(np.angle(total) % TAU, theta, atol=1e-5)
  axis.annotate(
    "",
    xy=(theta, length),
    xytext=(0, 0),
    arrowprops={"arrowstyle": "-|>", "lw": 2.5, "color": "black"},
  )
  axis.set(xticks=angles, ylim=(0, 1.1), yticks=[0.5, 1], yticklabels=[])
  axis.set_xticklabels([f"a{n}" for n in range(channels)], fontsize=8)
  axis.set_title(
    f"N = {channels}: θ = {np.rad2deg(theta):.0f}°, chroma {length:.2f},\n"
    f"saturation {float(saturation(vector)):.2f}",
    fontsize=10,
  )
figure.get_layout_engine().set(wspace=0.12)
figure.suptitle("bars: the weights of the channels; arrow: the chroma vector")
plt.show()

# %% [markdown]
# The columns of the plane are orthonormal, and orthogonal to gray. The hue of a one-hot
# vector is its class hue 2πc/C, so the hue of a label and the label of a hue are one.

# %%
plane = fourier_plane(12)
print("columns · columns:", np.round(plane.T @ plane, 6).tolist())
print("columns · gray:   ", np.abs(np.round(plane.sum(axis=0), 6)).tolist())
of_one_hot = hue_angle(jax.nn.one_hot(jnp.arange(10), 10))
of_class = hue_labels(np.arange(10), 10)
print("hue of one-hot labels:", np.rad2deg(of_one_hot).round(1).tolist())
print("class hues:           ", np.rad2deg(of_class).round(1).tolist())

# %% [markdown]
# ## Saturation: how much of a vector is in the plane
#
# Three channels have two dimensions besides gray, and all of a color lies in the plane.
# With N channels there are N − 1, of which the plane holds two: a random vector has a
# mean square saturation of 2/(N − 1). So the colors of a layer of many channels are
# pale, unless it was trained to be colorful.

# %%
figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
random = np.random.default_rng(1)
for channels, style in ((3, ":"), (4, "-."), (8, "--"), (32, "-"), (128, "-")):
  found = np.asarray(saturation(random.normal(size=(20_000, channels))))
  expected = 2 / (channels - 1)
  mean_square = np.mean(found**2)
  print(f"N = {channels:3}: mean square {mean_square:.3f}, 2/(N−1) {expected:.3f}")
  if channels == 3:  # all at 1
    axis.axvline(1, ls=style, color="black", label="N = 3")
  else:
    heights, edges = np.histogram(found, bins=60, range=(0, 1), density=True)
    axis.plot((edges[1:] + edges[:-1]) / 2, heights, style, label=f"N = {channels}")
axis.set(xlabel="saturation of random vectors", ylabel="density", xlim=(0, 1.02))
axis.set_ylim(bottom=0)
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Another plane
#
# The order of a layer's channels is arbitrary, and so the Fourier plane is a plane like
# any other. A plane is an array `[N, 2]`; every function takes it as an argument. Here
# the 64 pixels of a handwritten digit are one vector of 64 channels, and three planes
# look at it: the Fourier plane, that of the two principal components, and that which
# spreads the means of the classes most. Points are digits, placed by chroma and hue and
# colored by class.

# %%
digits = load_digits()
vectors = jnp.asarray(digits.data / 16, jnp.float32)
planes = {
  "Fourier": fourier_plane(64),
  "principal components": principal_plane(vectors),
  "class means": class_mean_plane(vectors, digits.target, 10),
}
class_colors = np.asarray(hue_to_rgb(hue_labels(np.arange(10), 10), 1.0, 0.85))
figure, axes = plt.subplots(
  1, 3, figsize=(10, 3.8), subplot_kw={"projection": "polar"}, layout="constrained"
)
for axis, (name, plane) in zip(axes, planes.items(), strict=True):
  theta, radius = hue_angle(vectors[:600], plane), chroma(vectors[:600], plane)
  axis.scatter(theta, radius, c=class_colors[digits.target[:600]], s=14, lw=0)
  own = saturation(vectors, plane).mean()
  axis.set_title(f"{name}\nmean saturation {own:.2f}", fontsize=10)
  axis.set(xticks=np.deg2rad([0, 90, 180, 270]), yticklabels=[])
  print(f"{name}: mean saturation {own:.3f}")
figure.get_layout_engine().set(wspace=0.12)
figure.legend(
  handles=[
    plt.Line2D([], [], marker="o", ls="", color=color, label=str(digit))
    for digit, color in enumerate(class_colors)
  ],
  ncols=10,
  loc="outside lower center",
  frameon=False,
)
plt.show()

# %% [markdown]
# ## The angle in the image plane
#
# The other angle is that of a position about the center of the image, the *position
# hue* φ: right is 0, down 90°. Below, a layer of eight channels is made up, in which
# channel n fires in its own direction from the center. Colored by its activation hue
# (`hue_jax.color.color_layer`), it is the color wheel itself: θ = φ at every position.

# %%
size = 48
phi = position_hue(size, size)
made_up = 1 + jnp.cos(phi[..., None] - TAU * jnp.arange(8) / 8)
apart = np.abs(np.sin((hue_angle(made_up) - phi) / 2))
print(f"largest |sin((θ − φ)/2)|: {apart.max():.6f}")

figure, axes = plt.subplots(1, 6, figsize=(11, 2.3), layout="constrained")
axes[0].imshow(phi, cmap="hsv", vmin=0, vmax=TAU)
axes[0].set_title("position hue φ", fontsize=10)
for axis, channel in zip(axes[1:4], (0, 1, 2), strict=True):
  axis.imshow(made_up[..., channel], cmap="gray")
  axis.set_title(f"channel {channel} of 8", fontsize=10)
axes[4].imshow(color_layer(made_up))
axes[4].set_title("colored by θ", fontsize=10)
axes[5].imshow(color_wheel(201))
axes[5].set_title("the color wheel", fontsize=10)
for axis in axes:
  axis.set(xticks=[], yticks=[])
  axis.spines[:].set_visible(False)
plt.show()

# %% [markdown]
# Next: [2. The loss in a plain loop, and in `main.py`](2_loss.ipynb).
