"use strict";
// Charts of the curves, which runs they show, and the order of the table.

const data = JSON.parse(document.getElementById("data").textContent);
const shown = new Set(data.runs.keys());
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 520, HEIGHT = 240, LEFT = 52, RIGHT = 8, TOP = 8, BOTTOM = 24;

const color = (run) => `var(--s${run % 7})`;
// Of more runs than colors, later ones are dashed.
const dashes = (run) => ["", "6 3", "2 3", "9 3 2 3"][Math.floor(run / 7) % 4];

function element(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (parent) parent.append(made);
  return made;
}

function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(4)));
}

// At most six round numbers between two.
function ticks(low, high) {
  const rough = (high - low) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + 1e-9 * step; k++) found.push(k * step);
  return found;
}

// --- Charts ------------------------------------------------------------------

function addChart(name) {
  const figure = document.createElement("figure");
  figure.className = "chart";
  figure.dataset.name = name;
  const caption = document.createElement("figcaption");
  caption.textContent = name;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  const svg = element("svg", {role: "img", "aria-label": `Curves of ${name} by step`});
  figure.append(caption, svg, tip);
  document.getElementById("charts").append(figure);
  svg.addEventListener("pointermove", (event) => point(figure, event));
  svg.addEventListener("pointerdown", (event) => point(figure, event));
  svg.addEventListener("pointerleave", () => leave(figure));
  draw(figure);
}

function curvesOf(name) {
  return Object.entries(data.curves[name])
    .map(([run, [steps, values]]) => ({run: Number(run), steps, values}))
    .filter(({run}) => shown.has(run));
}

function draw(figure) {
  const svg = figure.querySelector("svg"), curves = curvesOf(figure.dataset.name);
  const width = svg.clientWidth || WIDTH, height = svg.clientHeight || HEIGHT;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const values = curves.flatMap((c) => c.values).filter((v) => v !== null);
  if (!values.length) {
    const text = element("text", {x: LEFT, y: height / 2}, svg);
    text.textContent = "no run is chosen, or none has numbers";
    figure.scale = null;
    return;
  }
  let low = Math.min(...values), high = Math.max(...values);
  const margin = 0.05 * (high - low) || Math.abs(high) / 10 || 1;
  low = low >= 0 ? Math.max(low - margin, 0) : low - margin;
  high += margin;
  const last = Math.max(...curves.flatMap((c) => c.steps), 1);
  const x = (step) => LEFT + (width - LEFT - RIGHT) * step / last;
  const y = (value) => height - BOTTOM - (height - TOP - BOTTOM) * (value - low) / (high - low);
  for (const value of ticks(low, high)) {
    element("line", {class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value)}, svg);
    const text = element("text", {x: LEFT - 6, y: y(value) + 4, "text-anchor": "end"}, svg);
    text.textContent = number(value);
  }
  for (const step of ticks(0, last)) {
    const end = x(step) > width - 30;
    const text = element("text", {x: end ? width - RIGHT : x(step), y: height - 6, "text-anchor": end ? "end" : "middle"}, svg);
    text.textContent = number(step);
  }
  for (const {run, steps, values} of curves) {
    let path = "", pen = "M";
    steps.forEach((step, i) => {
      if (values[i] === null) { pen = "M"; return; }
      path += `${pen}${x(step).toFixed(1)} ${y(values[i]).toFixed(1)}`;
      pen = "L";
    });
    element("path", {d: path, style: `stroke: ${color(run)}`, "stroke-dasharray": dashes(run), "data-run": run}, svg);
    if (steps.length === 1 && values[0] !== null) {
      element("circle", {cx: x(steps[0]), cy: y(values[0]), r: 3, style: `fill: ${color(run)}`}, svg);
    }
  }
  figure.scale = {x, last, width};
}

function point(figure, event) {
  if (!figure.scale) return;
  const svg = figure.querySelector("svg"), tip = figure.querySelector(".tip");
  const {x, last, width} = figure.scale, box = svg.getBoundingClientRect();
  const at = (event.clientX - box.left) / box.width * width;
  const step = Math.max(0, Math.min(last, (at - LEFT) / (width - LEFT - RIGHT) * last));
  const rows = curvesOf(figure.dataset.name).map(({run, steps, values}) => {
    let near = 0;
    steps.forEach((s, i) => { if (Math.abs(s - step) < Math.abs(steps[near] - step)) near = i; });
    return {run, step: steps[near], value: values[near]};
  });
  svg.querySelector(".at")?.remove();
  element("line", {class: "at", x1: x(step), x2: x(step), y1: TOP, y2: svg.clientHeight - BOTTOM}, svg);
  const title = document.createElement("b");
  title.textContent = `step ${Math.round(step).toLocaleString("en")}`;
  tip.replaceChildren(title, ...rows.slice(0, 14).map((row) => {
    const line = document.createElement("span"), mark = document.createElement("i");
    mark.className = "swatch";
    mark.style.borderTopColor = color(row.run);
    line.append(mark, `${row.value === null ? "not finite" : number(row.value)}  ${data.runs[row.run]} (step ${row.step})`);
    return line;
  }));
  tip.hidden = false;
  tip.style.left = at > width / 2 ? "auto" : `${x(step) + 10}px`;
  tip.style.right = at > width / 2 ? `${width - x(step) + 10}px` : "auto";
}

function leave(figure) {
  figure.querySelector(".tip").hidden = true;
  figure.querySelector(".at")?.remove();
}

const drawAll = () => document.querySelectorAll(".chart").forEach(draw);

// --- The table ---------------------------------------------------------------

for (const mark of document.querySelectorAll("#table .swatch")) {
  const run = Number(mark.dataset.run);
  mark.style.borderTopColor = color(run);
  if (dashes(run)) mark.style.borderTopStyle = "dashed";
}

for (const box of document.querySelectorAll("#table input")) {
  box.addEventListener("change", () => {
    shown[box.checked ? "add" : "delete"](Number(box.dataset.run));
    drawAll();
  });
}

function sortBy(column, head) {
  const body = document.querySelector("#table tbody"), rows = [...body.rows];
  const up = head.getAttribute("aria-sort") !== "ascending";
  const value = (row) => {
    const cell = row.cells[column];
    return cell.dataset.value ?? cell.textContent.trim();
  };
  const number = (text) => (text !== "" && isFinite(text) ? Number(text) : null);
  rows.sort((a, b) => {
    const [s, t] = [value(a), value(b)], [m, n] = [number(s), number(t)];
    if (m !== null && n !== null) return up ? m - n : n - m;
    if ((m === null) !== (n === null)) return m === null ? 1 : -1;  // numbers first
    return up ? s.localeCompare(t, "en", {numeric: true}) : t.localeCompare(s, "en", {numeric: true});
  });
  for (const other of document.querySelectorAll("#table thead th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...rows);
}

document.querySelectorAll("#table thead th").forEach((head, column) => {
  head.querySelector("button").addEventListener("click", () => sortBy(column, head));
});

// --- Start -------------------------------------------------------------------

data.names.slice(0, data.first).forEach(addChart);
const rest = data.names.slice(data.first);
if (rest.length) {
  const picker = document.getElementById("name");
  picker.append(new Option("none", ""), ...rest.map((name) => new Option(name, name)));
  picker.addEventListener("change", () => {
    document.querySelector(".chart.extra")?.remove();
    if (!picker.value) return;
    addChart(picker.value);
    document.querySelector(".chart:last-child").classList.add("extra");
  });
  document.getElementById("more").hidden = false;
}
if (!data.names.length) document.getElementById("hint").textContent = "No run has curves.";
addEventListener("resize", drawAll);
