"use strict";
// The picker of layer and class, and the viewer.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const layerPicker = byId("layer"), classPicker = byId("class");
const imageCanvas = byId("image"), coloredCanvas = byId("colored");

const pictures = {};  // data URI → decoded image
let shown = 0;        // of the images that can be picked
let cursor = null;    // [row, column] of the grid under the cursor
let picked = null;    // [row, column] of the grid whose neighbors are shown

function decoded(uri) {
  if (!pictures[uri]) {
    const picture = new Image();
    pictures[uri] = new Promise((resolve, reject) => {
      picture.onload = () => resolve(picture);
      picture.onerror = () => reject(new Error("a picture of this page is damaged"));
    });
    picture.src = uri;
  }
  return pictures[uri];
}

function numbers(layer, name, type) {
  if (typeof layer[name] === "string") {
    const bytes = Uint8Array.from(atob(layer[name]), (c) => c.charCodeAt(0));
    layer[name] = new type(bytes.buffer);
  }
  return layer[name];
}

const currentLayer = () => data.layers[layerPicker.value];

async function drawFrom(uri, index, height, width, canvas) {
  const sheet = await decoded(uri);
  const columns = Math.min(data.spriteColumns, Math.round(sheet.width / width));
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(
    sheet, (index % columns) * width, Math.floor(index / columns) * height, width, height,
    0, 0, canvas.width, canvas.height);
}

const drawThumbnail = (index, canvas) =>
  drawFrom(data.thumbnails, index, data.thumbnailSize, data.thumbnailSize, canvas);

function frame(canvas, layer, x, y, color) {
  const context = canvas.getContext("2d");
  const width = Math.max(canvas.width / layer.width, 6);
  const height = Math.max(canvas.height / layer.height, 6);
  const left = (x + 0.5) / layer.width * canvas.width - width / 2;
  const top = (y + 0.5) / layer.height * canvas.height - height / 2;
  for (const [line, style] of [[4, "#000"], [2, color]]) {
    context.lineWidth = line * canvas.width / 336 + 1;
    context.strokeStyle = style;
    context.strokeRect(left, top, width, height);
  }
}

// --- Layer and class ---------------------------------------------------------

function pickLayer() {
  const tap = layerPicker.value;
  for (const figure of document.querySelectorAll("figure[data-tap]")) {
    figure.hidden = figure.dataset.tap !== tap;
  }
  for (const row of document.querySelectorAll("tr[data-tap]")) {
    row.classList.toggle("picked", row.dataset.tap === tap);
  }
  for (const note of document.querySelectorAll(".absent")) {
    const section = byId(note.dataset.observation);
    note.hidden = section.querySelector("figure[data-tap]:not([hidden])") !== null;
  }
  cursor = picked = null;
  drawViewer();
}

function imagesOfClass() {
  const indices = [...Array(data.numShown).keys()];
  if (classPicker.value === "") return indices;
  return indices.filter((i) => data.labels[i] === Number(classPicker.value));
}

function listImages() {
  const list = byId("images");
  list.replaceChildren();
  const indices = imagesOfClass();
  if (!indices.includes(shown)) shown = indices[0];
  for (const index of indices) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 112;
    canvas.id = `image-${index}`;
    canvas.setAttribute("role", "option");
    canvas.setAttribute("aria-label", `${data.classes[data.labels[index]]}, image ${data.ids[index]}`);
    canvas.addEventListener("click", () => pickImage(index));
    list.append(canvas);
    drawThumbnail(index, canvas);
  }
  pickImage(shown);
}

function pickImage(index) {
  shown = index;
  for (const canvas of byId("images").children) {
    const selected = canvas.id === `image-${index}`;
    canvas.setAttribute("aria-selected", String(selected));
    if (selected) byId("images").setAttribute("aria-activedescendant", canvas.id);
  }
  picked = null;
  drawViewer();
}

// --- The viewer --------------------------------------------------------------

async function drawViewer() {
  const layer = currentLayer();
  const name = data.classes[data.labels[shown]];
  byId("image-caption").textContent = `${name}, image ${data.ids[shown]}`;
  byId("colored-caption").textContent = layer
    ? `${layerPicker.value}: ${layer.height} × ${layer.width}` : "";
  await drawThumbnail(shown, imageCanvas);
  if (!layer) return;
  await drawFrom(layer.colors, shown, layer.height, layer.width, coloredCanvas);
  for (const [position, color] of [[cursor, "#fff"], [picked, "#ffd400"]]) {
    if (!position) continue;
    const [x, y] = [layer.columns[position[1]], layer.rows[position[0]]];
    frame(coloredCanvas, layer, x, y, color);
    frame(imageCanvas, layer, x, y, color);
  }
  if (!picked) byId("neighbors").replaceChildren();
}

function nearest(lines, place) {
  let best = 0;
  lines.forEach((line, i) => {
    if (Math.abs(line - place) < Math.abs(lines[best] - place)) best = i;
  });
  return best;
}

function positionOf(event) {
  const layer = currentLayer(), box = coloredCanvas.getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width * layer.width - 0.5;
  const y = (event.clientY - box.top) / box.height * layer.height - 0.5;
  return [nearest(layer.rows, y), nearest(layer.columns, x)];
}

async function showNeighbors() {
  const layer = currentLayer(), panel = byId("neighbors");
  const [row, column] = picked;
  const first = ((shown * layer.rows.length + row) * layer.columns.length + column) * layer.k;
  const title = document.createElement("h3");
  title.textContent = `Nearest to row ${layer.rows[row]}, column ${layer.columns[column]} of ${layerPicker.value}`;
  const figures = [title];
  for (let i = first; i < first + layer.k; i++) {
    const image = numbers(layer, "neighborImage", Uint16Array)[i];
    const x = numbers(layer, "neighborX", Uint16Array)[i];
    const y = numbers(layer, "neighborY", Uint16Array)[i];
    const distance = numbers(layer, "neighborDistance", Float32Array)[i];
    const same = data.labels[image] === data.labels[shown];
    const figure = document.createElement("figure");
    figure.className = same ? "neighbor same" : "neighbor";
    figure.dataset.image = image;
    figure.dataset.x = x;
    figure.dataset.y = y;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 192;
    canvas.setAttribute("role", "img");
    const label = document.createElement("b");
    label.textContent = data.classes[data.labels[image]];
    canvas.setAttribute("aria-label", `${label.textContent}, row ${y}, column ${x}`);
    const caption = document.createElement("figcaption");
    caption.append(label, `${same ? "same class" : "other class"}, distance ${distance.toPrecision(3)}`);
    figure.append(canvas, caption);
    figures.push(figure);
    drawThumbnail(image, canvas).then(() => frame(canvas, layer, x, y, same ? "#4ade80" : "#fff"));
  }
  panel.replaceChildren(...figures);
}

function pick(position) {
  picked = cursor = position;
  drawViewer();
  showNeighbors();
}

function onKey(event) {
  const layer = currentLayer();
  const moves = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
  if (event.key in moves) {
    const [row, column] = cursor || [0, 0], [down, right] = cursor ? moves[event.key] : [0, 0];
    cursor = [
      Math.min(Math.max(row + down, 0), layer.rows.length - 1),
      Math.min(Math.max(column + right, 0), layer.columns.length - 1)];
    drawViewer();
  } else if ((event.key === "Enter" || event.key === " ") && cursor) {
    pick(cursor);
  } else {
    return;
  }
  event.preventDefault();
}

function onImageKey(event) {
  const indices = imagesOfClass();
  const move = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
  if (!move) return;
  const place = indices.indexOf(shown) + move;
  pickImage(indices[Math.min(Math.max(place, 0), indices.length - 1)]);
  event.preventDefault();
}

layerPicker.addEventListener("change", pickLayer);
classPicker.addEventListener("change", listImages);
byId("images").addEventListener("keydown", onImageKey);
coloredCanvas.addEventListener("keydown", onKey);
coloredCanvas.addEventListener("click", (event) => pick(positionOf(event)));

const hasViewer = data.numShown > 0 && Object.keys(data.layers).length > 0;
byId("viewing").hidden = !hasViewer;
byId("no-viewer").hidden = hasViewer;
if (hasViewer) listImages();
pickLayer();
