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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER_NOT_NAMED_YET/hue_jax/blob/main/notebooks/3_observe.ipynb)

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
# # 3. Observe a network
#
# What do the layers of a trained network say, position by position? EfficientNet-Lite0,
# trained on ImageNet, looks at pieces of eight photographs. Its layers are colored by
# their activation hue, and every position is searched for the most similar activations
# in the *other* pieces: click a position, and see them.
#
# The weights are a Python package, and the photographs come with scikit-learn and
# scikit-image: nothing else is fetched.

# %%
import html
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display
from matplotlib_inline.backend_inline import set_matplotlib_formats
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images

import hue_jax
from hue_jax.color import color_layer, plane_of
from hue_jax.color.contact_sheet import contact_sheet
from hue_jax.observe.matches import layer_facts, vote
from hue_jax.observe.neighbors import create_index
from hue_jax.observe.observation_report import write_report
from hue_jax.observe.results import Results, Viewer, ViewerLayer
from hue_jax.observe.vector_store import Layer
from hue_jax.train.networks import load_network

set_matplotlib_formats("jpeg", pil_kwargs={"quality": 85})  # they hold photographs
print(f"hue_jax {hue_jax.__version__}, JAX {jax.__version__}, {jax.default_backend()}")

# %% [markdown]
# ## Pieces of photographs
#
# Five square pieces of each photograph, at places and of sizes that are drawn at
# random: so the same thing is seen more than once, at other places of the image plane.

# %%
temple, flower = load_sample_images().images
photographs = {
  "astronaut": data.astronaut(),
  "cat": data.chelsea(),
  "coffee": data.coffee(),
  "flower": flower,
  "motorcycle": data.stereo_motorcycle()[0],
  "retina": data.retina(),
  "rocket": data.rocket(),
  "temple": temple,
}
names, pieces_of_each = tuple(photographs), 5
network = load_network("efficientnet_lite0")


def pieces(photograph, random):
  picture = Image.fromarray(photograph)
  for _ in range(pieces_of_each):
    side = int(min(picture.size) * random.uniform(0.5, 0.85))
    left, top = (random.integers(0, length - side + 1) for length in picture.size)
    piece = picture.crop((left, top, left + side, top + side))
    yield np.asarray(piece.resize((network.image_size,) * 2, Image.Resampling.LANCZOS))


random = np.random.default_rng(0)
images = np.stack([p for name in names for p in pieces(photographs[name], random)])
labels = np.repeat(np.arange(len(names)), pieces_of_each)
layers = {tap: np.asarray(layer) for tap, layer in network.layers(images).items()}
for tap, layer in layers.items():
  print(f"{tap:9}", "x".join(map(str, layer.shape[1:])))

# %% [markdown]
# ## Layers, colored
#
# Each layer in the plane of its own two principal components, gray taken out, where the
# colors are strongest (`python -m hue_jax.color` draws such sheets of files of yours).
# The early layers color edges and surfaces, the deep ones what is there.

# %%
taps = ("stem", "stage2", "stage3", "stage5", "stage7")
colored = {
  tap: np.asarray(color_layer(layers[tap], plane_of("principal", layers[tap])))
  for tap in taps
}
shown = np.arange(len(names)) * pieces_of_each
sheet = contact_sheet(
  images[shown],
  {tap: colors[shown] for tap, colors in colored.items()},
  names,
  captions={tap: "x".join(map(str, network.tap_shapes[tap])) for tap in taps},
)
display(sheet.reduce(2), include=["image/jpeg"])

# %% [markdown]
# ## Click a position
#
# Of three layers, every position of every piece is searched for its eight nearest
# neighbors (cosine) in other pieces. Where this notebook runs, the page below answers
# clicks: choose a layer and an image, then a position of the colored layer. A green
# frame is a piece of the same photograph. (GitHub does not show pages within pages; the
# picture after it shows some clicks.)

# %%
searched, facts = {}, {}
for tap in ("stage3", "stage5", "stage7"):
  # On a grid of at most 14 x 14 positions.
  layer = layers[tap]
  step = layer.shape[1] // min(layer.shape[1], 14)
  grid = np.arange(step // 2, layer.shape[1], step)
  vectors = layer[:, grid][:, :, grid]
  image, row, column = np.indices(vectors.shape[:3]).reshape(3, -1)
  flat = vectors.reshape(-1, layer.shape[-1])
  index = create_index(flat, groups=image, metric="cosine")
  found = index.search(flat, 8, query_groups=image)
  of_tap = Layer(tap, layer.shape[1:], flat, image, labels[image], column, row)
  facts[tap] = layer_facts(of_tap, len(flat))
  as_grid = (*vectors.shape[:3], 8)
  searched[tap] = ViewerLayer(
    colors=np.uint8(np.round(255 * colored[tap])),
    rows=grid,
    columns=grid,
    neighbor_image=image[found.ids].reshape(as_grid),
    neighbor_x=grid[column[found.ids]].reshape(as_grid),
    neighbor_y=grid[row[found.ids]].reshape(as_grid),
    neighbor_distance=np.asarray(found.distances).reshape(as_grid),
  )

# %% tags=["not-stored"]
write_report(
  Results(
    network.name, "photographs", names, len(images), {}, {}, {"trained": facts}, ()
  ),
  Viewer(images, labels, np.arange(len(images)), len(images), searched),
  "viewer",
)
page = Path("viewer/report.html").read_text(encoding="utf-8")
# The report's viewer alone; `python -m hue_jax.observe` writes the whole of it.
page = page.replace("</style>", "header, section:not(#viewer) {display: none}</style>")
viewer = f'<iframe srcdoc="{html.escape(page)}" width="100%" height="900"></iframe>'
HTML(f"<div>{viewer}</div>")

# %%
clicks = [("cat", 0, "stage5"), ("astronaut", 1, "stage5"), ("flower", 0, "stage5")]
clicks += [("motorcycle", 2, "stage7")]
figure, axes = plt.subplots(
  len(clicks), 8, figsize=(11, 1.55 * len(clicks)), layout="constrained"
)


def frame(axis, picture, layer, row, column, color):
  size = picture.shape[0] / layer.colors.shape[1]
  axis.imshow(picture)
  corner = column * size, row * size
  axis.add_patch(plt.Rectangle(corner, size, size, fill=False, ec=color, lw=2))
  axis.set(xticks=[], yticks=[])


for row_of_axes, (name, number, tap) in zip(axes, clicks, strict=True):
  layer, place = searched[tap], names.index(name) * pieces_of_each + number
  # The position whose neighbors are nearest: what the network is surest to know again.
  surest = np.unravel_index(
    layer.neighbor_distance[place].mean(axis=-1).argmin(), (len(layer.rows),) * 2
  )
  row, column = layer.rows[surest[0]], layer.columns[surest[1]]
  frame(row_of_axes[0], images[place], layer, row, column, "white")
  row_of_axes[0].set_title(f"{name}, {tap}", fontsize=9)
  row_of_axes[1].imshow(layer.colors[place])
  row_of_axes[1].set(xticks=[], yticks=[])
  row_of_axes[1].set_title("colored", fontsize=9)
  for rank, axis in enumerate(row_of_axes[2:]):
    at = (place, *surest, rank)
    other = layer.neighbor_image[at]
    color = "lime" if labels[other] == labels[place] else "red"
    frame(axis, images[other], layer, layer.neighbor_y[at], layer.neighbor_x[at], color)
    axis.set_title(f"1 − cos = {layer.neighbor_distance[at]:.2f}", fontsize=8)
figure.suptitle("a position, and its nearest neighbors in other pieces")
plt.show()

# %% [markdown]
# ## Which layer tells the photograph?
#
# Let the eight neighbors of each position vote for the photograph that it is of. One of
# eight is chance. With the labels shuffled over pieces the vote is what it would be if
# the layer knew nothing.

# %%
figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
shuffled = random.permutation(labels)
right, by_chance = [], []
for tap, layer in searched.items():
  own = labels[:, None, None]
  right.append(float(np.mean(vote(labels[layer.neighbor_image]) == own)))
  own = shuffled[:, None, None]
  by_chance.append(float(np.mean(vote(shuffled[layer.neighbor_image]) == own)))
  print(f"{tap}: {right[-1]:.3f} of the votes are right, {by_chance[-1]:.3f} shuffled")
axis.plot(list(searched), right, "o-", label="EfficientNet-Lite0")
axis.plot(list(searched), by_chance, "s:", color="0.5", label="labels shuffled")
axis.axhline(1 / len(names), color="0.8", zorder=0)
axis.set(ylim=(0, 1), ylabel="right votes of neighbors")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# These pieces share lighting, colors and things, so that this is easy. On real data
# sets `python -m hue_jax.observe` measures four such statistics at every layer, with
# intervals, beside the same network untrained and beside shuffled labels, and writes
# them with this viewer as one page:
#
# ```bash
# python -m hue_jax.observe --config=configs/observe_openclipart.py --workdir=runs/out
# ```
#
# Next: [4. A small paired study](4_study.ipynb).
