// The activation hue of three to eight channels, to be tried by hand. What is computed
// is what hue_jax.hue and hue_jax.color compute in the Fourier plane.
(() => {
  "use strict";
  const TAU = 2 * Math.PI;
  const SIZE = 400; // pixels of the disk's picture
  const REACH = 1.28; // of the drawing, where the disk has radius 1

  document.querySelectorAll(".hue-wheel").forEach(start);

  function start(root) {
    const state = { weights: [0.9, 0.5, 0.1] };
    const parts = build(root, state, () => show(parts, state));
    show(parts, state);
  }

  // --- Numbers --------------------------------------------------------------------

  function measure(weights) {
    const count = weights.length;
    const mean = weights.reduce((sum, weight) => sum + weight, 0) / count;
    const gone = weights.map((weight) => weight - mean); // gray taken out
    let x = 0;
    let y = 0;
    gone.forEach((weight, channel) => {
      x += Math.sqrt(2 / count) * weight * Math.cos((TAU * channel) / count);
      y += Math.sqrt(2 / count) * weight * Math.sin((TAU * channel) / count);
    });
    const chroma = Math.hypot(x, y);
    const isGray = chroma < 1e-9;
    return {
      hue: isGray ? 0 : (Math.atan2(y, x) + TAU) % TAU,
      chroma: isGray ? 0 : chroma,
      saturation: isGray ? 0 : Math.min(chroma / Math.hypot(...gone), 1),
      magnitude: Math.hypot(...weights),
      isGray,
    };
  }

  // Of three channels the saturation of the color itself, for the hue plane is all there
  // is besides gray.
  function colorOf(weights, found) {
    const largest = Math.max(...weights);
    const vivid =
      weights.length > 3
        ? found.saturation
        : largest > 0
          ? (largest - Math.min(...weights)) / largest
          : 0;
    return hueToRgb(found.hue, vivid, Math.min(found.magnitude, 1));
  }

  // On the circle of hues, as hue_jax.color.hue_to_rgb.
  function hueToRgb(hue, saturation, value) {
    const waves = [0, 1, 2].map((channel) => Math.cos(hue - (TAU * channel) / 3));
    const largest = Math.max(...waves);
    const smallest = Math.min(...waves);
    return waves.map(
      (wave) => value * (1 - (saturation * (largest - wave)) / (largest - smallest)),
    );
  }

  // --- What is shown --------------------------------------------------------------

  function show(parts, state) {
    const { weights } = state;
    if (parts.sliders.length !== weights.length) rebuild(parts, state);
    const found = measure(weights);
    weights.forEach((weight, channel) => {
      const [x, y] = at(channel, weights.length, weight);
      place(parts.handles[channel], { cx: x, cy: y });
      parts.sliders[channel].value = weight;
      parts.values[channel].textContent = weight.toFixed(2);
    });
    const tip = found.saturation;
    place(parts.arrow, { x2: tip * Math.cos(found.hue), y2: tip * Math.sin(found.hue) });
    const color = colorOf(weights, found);
    parts.swatch.style.backgroundColor = `rgb(${color.map((part) => 255 * part)})`;
    parts.swatch.dataset.value = JSON.stringify(color);
    const degrees = (found.hue * 360) / TAU;
    tell(parts.hue, degrees, found.isGray ? "none: gray" : `${degrees.toFixed(1)}°`);
    tell(parts.chroma, found.chroma, found.chroma.toFixed(3));
    tell(parts.saturation, found.saturation, found.saturation.toFixed(3));
    parts.gray.disabled = Math.max(...weights) > 0.9;
  }

  function tell(output, value, text) {
    output.dataset.value = value;
    output.textContent = text;
  }

  function at(channel, count, radius) {
    const angle = (TAU * channel) / count;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  }

  // --- Its parts ------------------------------------------------------------------

  function build(root, state, changed) {
    root.innerHTML = `
      <div class="hue-wheel-picture">
        <canvas width="${SIZE}" height="${SIZE}"></canvas>
        <svg viewBox="${-REACH} ${-REACH} ${2 * REACH} ${2 * REACH}" aria-hidden="true">
          <g class="spokes"></g><line class="arrow" x1="0" y1="0"/>
          <g class="handles"></g>
        </svg>
      </div>
      <div class="hue-wheel-controls">
        <label class="hue-wheel-count">Channels
          <input type="range" min="3" max="8" step="1" value="3"
            aria-label="Number of channels"><b>3</b></label>
        <div class="hue-wheel-sliders" role="group" aria-label="Channel weights"></div>
        <div class="hue-wheel-buttons">
          <button type="button" data-do="gray">Add gray</button>
          <button type="button" data-do="halve">Halve</button>
          <button type="button" data-do="roll">Roll by one</button>
          <button type="button" data-do="one">One-hot</button>
        </div>
        <dl>
          <dt>Hue θ</dt><dd><output data-of="hue"></output></dd>
          <dt>Chroma ‖z‖</dt><dd><output data-of="chroma"></output></dd>
          <dt>Saturation</dt><dd><output data-of="saturation"></output></dd>
          <dt>Color</dt><dd><span class="hue-wheel-swatch"></span></dd>
        </dl>
      </div>`;
    const find = (selector) => root.querySelector(selector);
    paintDisk(find("canvas"));
    const parts = {
      svg: find("svg"),
      spokes: find(".spokes"),
      handleGroup: find(".handles"),
      arrow: find(".arrow"),
      rows: find(".hue-wheel-sliders"),
      gray: find('[data-do="gray"]'),
      swatch: find(".hue-wheel-swatch"),
      hue: find('[data-of="hue"]'),
      chroma: find('[data-of="chroma"]'),
      saturation: find('[data-of="saturation"]'),
      handles: [],
      sliders: [],
      values: [],
      changed,
    };
    connect(find, parts, state);
    return parts;
  }

  function connect(find, parts, state) {
    const count = find(".hue-wheel-count input");
    count.addEventListener("input", () => {
      find(".hue-wheel-count b").textContent = count.value;
      state.weights = Array.from(
        { length: Number(count.value) },
        (_, channel) => state.weights[channel] ?? 0,
      );
      parts.changed();
    });
    const actions = {
      gray: (weights) => weights.map((weight) => weight + 0.1),
      halve: (weights) => weights.map((weight) => weight / 2),
      roll: (weights) => [weights.at(-1), ...weights.slice(0, -1)],
      one: (weights) => weights.map((_, channel) => (channel === 1 ? 1 : 0)),
    };
    for (const [name, action] of Object.entries(actions)) {
      find(`[data-do="${name}"]`).addEventListener("click", () => {
        state.weights = action(state.weights);
        parts.changed();
      });
    }
  }

  // Sliders and handles of another number of channels.
  function rebuild(parts, state) {
    const count = state.weights.length;
    parts.spokes.replaceChildren();
    parts.handleGroup.replaceChildren();
    parts.rows.replaceChildren();
    parts.handles = state.weights.map((_, channel) => handle(parts, state, channel));
    parts.values = state.weights.map(() => document.createElement("b"));
    parts.sliders = state.weights.map((_, channel) => {
      const row = document.createElement("label");
      const slider = document.createElement("input");
      Object.assign(slider, { type: "range", min: 0, max: 1, step: "any" });
      slider.setAttribute("aria-label", `Weight of channel ${channel}`);
      slider.addEventListener("input", () => set(parts, state, channel, slider.value));
      slider.addEventListener("keydown", (event) => step(parts, state, channel, event));
      row.append(`Channel ${channel}`, slider, parts.values[channel]);
      parts.rows.append(row);
      const [x, y] = at(channel, count, 1);
      draw(parts.spokes, "line", { x1: 0, y1: 0, x2: x, y2: y });
      const [left, top] = at(channel, count, 1.15);
      draw(parts.spokes, "text", { x: left, y: top }).textContent = channel;
      return slider;
    });
  }

  // What the pointer drags along its spoke.
  function handle(parts, state, channel) {
    const circle = draw(parts.handleGroup, "circle", { r: 0.075 });
    const drag = (event) => {
      const box = parts.svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width - 0.5) * 2 * REACH;
      const y = ((event.clientY - box.top) / box.height - 0.5) * 2 * REACH;
      const [along, down] = at(channel, state.weights.length, 1);
      set(parts, state, channel, Math.min(Math.max(x * along + y * down, 0), 1));
    };
    circle.addEventListener("pointerdown", (event) => {
      circle.setPointerCapture(event.pointerId);
      circle.addEventListener("pointermove", drag);
      event.preventDefault();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      circle.addEventListener(end, () => circle.removeEventListener("pointermove", drag));
    }
    return circle;
  }

  function set(parts, state, channel, weight) {
    state.weights[channel] = Number(weight);
    parts.changed();
  }

  // Arrow keys move by a twentieth; a slider of step "any" moves by its own.
  function step(parts, state, channel, event) {
    const ways = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
    if (!(event.key in ways)) return;
    event.preventDefault();
    const next = state.weights[channel] + ways[event.key] * 0.05;
    set(parts, state, channel, Math.min(Math.max(next, 0), 1));
  }

  function paintDisk(canvas) {
    const context = canvas.getContext("2d");
    const picture = context.createImageData(SIZE, SIZE);
    for (let row = 0; row < SIZE; row++) {
      for (let column = 0; column < SIZE; column++) {
        const x = (column + 0.5) / (SIZE / 2) - 1;
        const y = (row + 0.5) / (SIZE / 2) - 1;
        const radius = Math.hypot(x, y);
        const color = hueToRgb(Math.atan2(y, x), Math.min(radius, 1), 1);
        const opacity = Math.min(Math.max((1 - radius) * (SIZE / 2), 0), 1);
        picture.data.set(
          [...color, opacity].map((part) => 255 * part),
          4 * (row * SIZE + column),
        );
      }
    }
    context.putImageData(picture, 0, 0);
  }

  function draw(parent, kind, attributes) {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", kind);
    place(shape, attributes);
    parent.append(shape);
    return shape;
  }

  function place(shape, attributes) {
    for (const [name, value] of Object.entries(attributes)) {
      shape.setAttribute(name, value);
    }
  }
})();
