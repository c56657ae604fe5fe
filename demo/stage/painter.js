// The canvas: paints an index mask on a frame, moves through frames, keeps the list of objects.
//
// Runs in gr.HTML's js_on_load, with `element`, `trigger`, `props` and `watch`. The server puts a scene into
// props.value (see demo/visit/scene.py); what the visitor does leaves by `trigger`, one action at a time: the next one waits
// until a scene with this one's number (`ack`) came back. A stroke carries the frame that it was drawn on together with
// whole mask, so that it cannot land on another frame, and nothing painted is lost by changing frames.
// In motion the frames come from the reel (reel.js, player.js); at rest the picture is the video's own.

import { Clicking } from "./clicking.js";
import { clamp, clock, neighbour, typedFrame } from "./frames.js";
import { onKeys } from "./keys.js";
import { follow } from "./news.js";
import { Player } from "./player.js";
import { Reel } from "./reel.js";
import { rove } from "./rove.js";
import { Zoom, pinch } from "./zoom.js";

const root = element.querySelector(".p-root");
const find = (selector) => root.querySelector(selector);
const view = find(".p-view"), stage = find(".p-stage"), picture = find(".p-picture");
const paper = find(".p-paper"), marks = find(".p-marks"), range = find(".p-range");
const ink = paper.getContext("2d", { willReadFrequently: true });
const ANSWER_MS = 30000, NEAR_PIXELS = 9;

const state = {
  scene: null,        // the latest complete scene
  labels: null,       // Uint8Array [H * W], the index mask
  waiting: null,      // a scene that arrived during a stroke
  tool: "click", radius: 8, fill: true, opacity: 0.46,
  brush: 0,           // id of the object that is painted
  fresh: {},          // colour by id of objects that the server does not know yet
  stroke: null, corners: [],
  queue: [], sent: null, number: 0,
  pointers: new Map(), pinching: null,
};

// What moves

const reel = new Reel(
  { pictures: (asked) => server.small_pictures(asked), masks: (asked) => server.small_masks(asked) },
  (what, frames) => {
    document.dispatchEvent(new CustomEvent("xmem:reel", { detail: what }));
    if (what === "masks" && frames.includes(player.frame)) player.again();
    if (what === "masks") arrived(frames);
  },
);
const player = new Player(find(".p-reel"), reel, look, (frame) => sayFrame(frame));
const zoom = new Zoom(view, stage, (factor) => {
  find(".p-zoom").textContent = `${Math.round(100 * factor)} %`;
  if (state.scene) drawMarks();
});

function look() {
  const { first, last, rate } = state.scene;
  const colors = {};
  for (const item of state.scene.objects) if (item.visible) colors[item.id] = rgb(item.color);
  return { first, last, rate, colors, opacity: state.opacity };
}

const rgb = (color) => {
  const code = parseInt(state.scene.palette[color][1].slice(1), 16);
  return [code >> 16, (code >> 8) & 255, code & 255];
};

function scrub(frame) {
  if (!state.scene) return;
  frame = clamp(frame, state.scene.first, state.scene.last);
  if (player.playing) setPlaying(false);
  state.goal = frame;
  player.show(frame);
  if (document.activeElement !== range) range.value = frame;
}

function setPlaying(on) {
  if (!state.scene) return;
  if (on) player.play(shownFrame()); else { const frame = player.pause(); if (frame !== null) go(frame); }
  root.classList.toggle("is-playing", on);
  find(".p-play").setAttribute("aria-label", on ? "Pause" : "Play");
}

const shownFrame = () => player.frame ?? state.goal ?? state.scene?.frame ?? 0;

// A run has written masks. Until something is touched the picture goes with it; at rest, where the shown frame's mask is
// another one now, it is shown.
function arrived(frames) {
  if (state.following) {
    const behind = frames.filter((frame) => frame < shownFrame()), ahead = frames.filter((frame) => frame > shownFrame());
    if (ahead.length) player.show(Math.max(...ahead)); else if (behind.length) player.show(Math.min(...behind));
    return;
  }
  const scene = state.scene, isIdle = !state.stroke && !state.corners.length && !state.sent && !state.queue.length;
  if (scene && isIdle && player.frame === null && !scene.is_key && frames.includes(scene.frame)) send("go", { frame: scene.frame }, true);
}

const clicking = new Clicking({
  proposal: find(".p-proposal"),
  ask: (asked) => server.propose(asked),
  token: () => state.scene.reel.token,
  frame: () => state.scene.frame,
  brush: () => state.brush,
  labels: () => state.labels,
  size: () => state.scene,
  color: () => rgb(objects().find((item) => item.id === state.brush)?.color ?? 0),
  show: (labels) => { state.labels = labels; redraw(0, 0, state.scene.width, state.scene.height); },
  commit: () => commit(),
  settled: () => settled(),
  marks: () => { if (state.scene) drawMarks(); hint(); },
  say: (sentence) => say(sentence, "bad"),
});

// Actions, one at a time

/** quiet: nobody has asked for it, and painting goes on meanwhile. */
function send(name, data, quiet = false) {
  const last = state.queue[state.queue.length - 1];
  if (last && last.name === name && (name === "stroke" || name === "go") && last.data.frame !== undefined
      && (name === "go" || last.data.frame === data.frame)) state.queue.pop();
  state.queue.push({ name, data, quiet });
  advance();
}

function advance() {
  if (state.sent || !state.queue.length) { root.classList.toggle("is-busy", waits()); return; }
  const action = state.queue.shift();
  state.sent = { ...action, ack: ++state.number };
  state.sent.timer = setTimeout(() => answered(state.sent?.ack), ANSWER_MS);
  root.classList.toggle("is-busy", waits());
  trigger(action.name, { shown: state.scene?.frame ?? 0, ...action.data, ack: state.sent.ack });
}

function answered(ack) {
  if (!state.sent || state.sent.ack !== ack) return;
  clearTimeout(state.sent.timer);
  state.sent = null;
  advance();
}

const waits = () => Boolean(state.sent && !state.sent.quiet && state.sent.name !== "stroke" && state.sent.name !== "object");
window.xmemSettled = async () => {
  finishStroke();
  await clicking.turn;
  await settled();
};
async function settled() {
  for (let end = Date.now() + ANSWER_MS; (state.sent || state.queue.length) && Date.now() < end;)
    await new Promise((done) => setTimeout(done, 40));
}

// Scenes

async function receive(scene) {
  if (!scene || typeof scene !== "object") return;
  if (scene.ack && scene.ack === state.sent?.ack && state.sent.quiet && (state.stroke || state.queue.length)) {
    answered(scene.ack);  // something was painted since it was asked for: what comes next is newer
    return;
  }
  if (scene.image && state.stroke) { state.waiting = scene; return; }
  if (scene.empty) { root.classList.add("is-empty"); delete root.dataset.frame; state.scene = null; state.goal = undefined; player.rest(); reel.close(); }
  else if (scene.image) await load(scene);
  else if (state.scene && (scene.frame === undefined || scene.frame === state.scene.frame)) Object.assign(state.scene, scene);
  if (state.scene) adopt();
  if (scene.ack) answered(scene.ack);
}

async function load(scene) {
  const mask = new Image(), image = new Image();
  mask.src = scene.mask; image.src = scene.image;
  await Promise.all([mask.decode(), image.decode()]);
  const { width, height } = scene;
  const reader = Object.assign(document.createElement("canvas"), { width, height });
  const pen = reader.getContext("2d", { willReadFrequently: true });
  pen.drawImage(mask, 0, 0);
  const pixels = pen.getImageData(0, 0, width, height).data;
  const labels = new Uint8Array(width * height);
  for (let i = 0; i < labels.length; i++) labels[i] = pixels[4 * i];
  const isSame = state.scene?.frame === scene.frame && state.labels?.length === labels.length && labels.every((id, i) => id === state.labels[i]);
  if (!isSame && state.sent?.name !== "undo") clicking.end();  // its clicks were about what was there before
  const isOther = !state.scene || state.scene.width !== width || state.scene.height !== height;
  Object.assign(state, { scene: { ...scene }, labels, corners: [] });
  if (isOther) { paper.width = width; paper.height = height; state.brush = 0; fit(); zoom.to(1); }
  reel.open(scene.reel, scene.frame);
  if (!player.playing && !state.dragging && (player.frame === null || player.frame === scene.frame)) player.rest();
  picture.src = scene.image;
  picture.alt = `Frame ${scene.frame + 1} of ${scene.frames}`;
  marks.setAttribute("viewBox", `0 0 ${width} ${height}`);
  root.classList.remove("is-empty");
  redraw(0, 0, width, height);
  drawMarks();
}

function adopt() {
  const scene = state.scene;
  const known = new Set(scene.objects.map((item) => item.id));
  for (const id of Object.keys(state.fresh)) if (known.has(Number(id))) delete state.fresh[id];
  if (!known.has(state.brush) && !(state.brush in state.fresh)) {
    const visible = scene.objects.filter((item) => item.visible);
    if (visible.length) state.brush = visible[0].id; else newObject(freeColors()[0] ?? 0, true);
  }
  if (document.activeElement !== range) range.value = scene.frame;
  range.min = scene.first; range.max = scene.last;
  range.setAttribute("aria-valuetext", `Frame ${scene.frame + 1} of ${scene.frames}`);
  if (player.frame === null) sayFrame(scene.frame);
  document.dispatchEvent(new CustomEvent("xmem:scene", { detail: scene }));
  root.dataset.frame = scene.frame;
  root.dataset.token = scene.token;
  find(".p-undo").disabled = !scene.can_undo; find(".p-redo").disabled = !scene.can_redo;
  say(scene.note || "", scene.kind);
  drawObjects();
  hint();
}

function say(sentence, kind) {
  const note = find(".p-note");
  note.textContent = sentence; note.hidden = !sentence; note.className = `p-note message ${kind || "note"}`;
}

function sayFrame(frame) {
  const scene = state.scene;
  const time = scene.frame === frame ? scene.time : frame / scene.rate, field = find(".p-number");
  if (document.activeElement !== field) field.value = frame + 1;
  find(".p-total").textContent = `of ${scene.frames}`;
  find(".p-time").textContent = clock(time);
  root.classList.toggle("is-key", scene.keys.includes(frame));
  find(".p-key").hidden = !scene.keys.includes(frame);
  find(".p-right").hidden = !scene.is_computed || scene.frame !== frame;
  if (player.frame !== null && document.activeElement !== range) range.value = frame;
  document.dispatchEvent(new CustomEvent("xmem:frame", { detail: frame }));
}

// Colours and objects

const objects = () => [
  ...state.scene.objects,
  ...Object.entries(state.fresh).map(([id, color]) => ({ id: Number(id), color, name: `Object ${id}`, visible: true, fresh: true })),
];
const freeColors = () => {
  const used = new Set(objects().filter((item) => !(item.fresh && !isPainted(item.id))).map((item) => item.color));
  return state.scene.palette.map((_, i) => i).filter((i) => !used.has(i));
};
const isPainted = (id) => state.labels.includes(id);

function newObject(color, quietly) {
  for (const id of Object.keys(state.fresh)) if (!isPainted(Number(id))) delete state.fresh[id];
  const taken = [state.scene.next - 1, ...Object.keys(state.fresh).map(Number), ...state.scene.objects.map((item) => item.id)];
  const id = Math.max(...taken) + 1;
  state.fresh[id] = color;
  state.brush = id;
  if (!quietly) { setTool(state.tool === "erase" ? "brush" : state.tool); drawObjects(); }
}

function pick(id) {
  state.brush = id;
  if (state.tool === "erase") setTool("brush");
  drawObjects();
}

function drawObjects() {
  const scene = state.scene, list = find(".p-objects");
  const shown = scene.objects.concat(objects().filter((item) => item.fresh && isPainted(item.id)));
  const signature = JSON.stringify([shown, state.brush]);
  if (list.dataset.signature !== signature) {
    list.dataset.signature = signature;
    const focus = document.activeElement?.closest?.(".p-object") ? document.activeElement.dataset.key : null;
    const typed = document.activeElement?.matches?.(".p-name") ? document.activeElement.value : null;
    list.replaceChildren(...shown.map(row));
    const again = focus && list.querySelector(`[data-key="${focus}"]`);
    if (again) { again.focus(); if (typed !== null && again.value !== undefined) again.value = typed; }
  }
  const free = freeColors(), active = state.fresh[state.brush];
  find(".p-free").replaceChildren(...free.map((color) => {
    const [name, code] = scene.palette[color];
    const dot = button("p-dot", `Paint a new object in ${name}`, "");
    dot.style.setProperty("--swatch", code);
    dot.dataset.color = color;
    dot.setAttribute("aria-pressed", active === color && !isPainted(state.brush));
    dot.onclick = () => newObject(color);
    return dot;
  }));
  find(".p-new").hidden = !free.length;
  for (const refresh of stops) refresh();
  find(".p-new-text").textContent = shown.length ? "New object" : "Pick a colour and paint";
  paintColor();
}

function row(item) {
  const scene = state.scene, [name, code] = scene.palette[item.color];
  const line = document.createElement("div");
  line.className = "p-object" + (item.id === state.brush ? " is-picked" : "") + (item.visible ? "" : " is-hidden");
  line.style.setProperty("--swatch", code);
  line.dataset.id = item.id;
  const swatch = button("p-swatch", `Paint ${item.name}`, "", `s${item.id}`);
  swatch.setAttribute("aria-pressed", item.id === state.brush);
  swatch.onclick = () => pick(item.id);
  const label = Object.assign(document.createElement("input"), { className: "p-name", value: item.name, maxLength: 40 });
  label.setAttribute("aria-label", `Name of the ${name} object`);
  label.dataset.key = `n${item.id}`;
  label.disabled = Boolean(item.fresh);
  label.onfocus = () => { if (state.brush !== item.id) pick(item.id); };
  label.onchange = () => send("object", { id: item.id, name: label.value });
  label.onkeydown = (event) => { if (event.key === "Enter") label.blur(); };
  const tint = button("p-tint", `Colour of ${item.name}: ${name}`, ICONS.drop, `c${item.id}`);
  tint.onclick = () => openPalette(tint, item);
  const eye = button("p-eye", item.visible ? `Hide ${item.name}` : `Show ${item.name}`, item.visible ? ICONS.eye : ICONS.shut, `e${item.id}`);
  eye.setAttribute("aria-pressed", !item.visible);
  eye.onclick = () => {
    const visible = !item.visible;
    Object.assign(state.scene.objects.find((each) => each.id === item.id) ?? {}, { visible });
    player.again();
    send("object", { id: item.id, visible });
    drawObjects();
  };
  const bin = button("p-bin", `Delete ${item.name}`, ICONS.bin, `b${item.id}`);
  bin.onclick = () => send("object", { id: item.id, remove: true });
  for (const control of [tint, eye, bin]) control.disabled = Boolean(item.fresh);
  line.append(swatch, label, tint, eye, bin);
  return line;
}

function openPalette(anchor, item) {
  const open = find(".p-palette");
  open?.remove();
  if (open?.dataset.id === String(item.id)) return;
  const box = document.createElement("div");
  box.className = "p-palette"; box.dataset.id = item.id;
  box.setAttribute("role", "group"); box.setAttribute("aria-label", `Colours for ${item.name}`);
  state.scene.palette.forEach(([name, code], color) => {
    const dot = button("p-dot", name, "");
    dot.style.setProperty("--swatch", code);
    dot.setAttribute("aria-pressed", color === item.color);
    dot.onclick = () => { box.remove(); send("object", { id: item.id, color }); };
    box.append(dot);
  });
  anchor.closest(".p-object").after(box);
  box.querySelector("[aria-pressed=true]")?.focus();
  box.onkeydown = (event) => { if (event.key === "Escape") { box.remove(); anchor.focus(); } };
}

function button(kind, label, content, key) {
  const made = document.createElement("button");
  made.type = "button"; made.className = kind; made.title = label; made.innerHTML = content;
  made.setAttribute("aria-label", label);
  if (key) made.dataset.key = key;
  return made;
}

const icon = (path) => `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}"/></svg>`;
const ICONS = {
  eye: icon("M2 12s3.5-6.5 10-6.5S22 12 22 12s-3.5 6.5-10 6.5S2 12 2 12zm10-3a3 3 0 100 6 3 3 0 000-6z"),
  shut: icon("M4 4l16 16M9.5 6A10 10 0 0112 5.500c6.500 0 10 6.500 10 6.500a17 17 0 01-3 3.600M6 7.500A17 17 0 002 12s3.500 6.500 10 6.500a9.500 9.500 0 004-.900"),
  bin: icon("M5 7h14M10 7V4.500h4V7M7 7l1 12.500h8L17 7M10.500 11v5M13.500 11v5"),
  drop: icon("M12 3.500c3.500 4 6 7 6 10a6 6 0 01-12 0c0-3 2.500-6 6-10z"),
};

// Drawing what is painted

function colorsById() {
  const table = new Uint8Array(256 * 3);
  for (const item of objects()) {
    const code = parseInt(state.scene.palette[item.color][1].slice(1), 16);
    table.set([code >> 16, (code >> 8) & 255, code & 255], 3 * item.id);
  }
  return table;
}

function redraw(x0, y0, x1, y1) {
  const { width, height } = state.scene, labels = state.labels;
  x0 = Math.max(0, Math.floor(x0) - 1); y0 = Math.max(0, Math.floor(y0) - 1);
  x1 = Math.min(width, Math.ceil(x1) + 1); y1 = Math.min(height, Math.ceil(y1) + 1);
  if (x1 <= x0 || y1 <= y0) return;
  const image = ink.createImageData(x1 - x0, y1 - y0), pixels = image.data, colors = colorsById();
  for (let y = y0, out = 0; y < y1; y++)
    for (let x = x0; x < x1; x++, out += 4) {
      const place = y * width + x, id = labels[place];
      if (!id) continue;
      const inner = x > 0 && y > 0 && x < width - 1 && y < height - 1 && labels[place - 1] === id
        && labels[place + 1] === id && labels[place - width] === id && labels[place + width] === id;
      pixels[out] = colors[3 * id]; pixels[out + 1] = colors[3 * id + 1]; pixels[out + 2] = colors[3 * id + 2];
      pixels[out + 3] = 255 * (inner ? state.opacity : Math.min(1, 2 * state.opacity));
    }
  ink.putImageData(image, x0, y0);
}

function paintColor() {
  const item = objects().find((each) => each.id === state.brush);
  root.style.setProperty("--brush", item ? state.scene.palette[item.color][1] : "#888");
}

function drawMarks(pointer) {
  const parts = [], size = state.scene ? state.scene.width / Math.max(1, stage.clientWidth) : 1;
  const corners = state.corners;
  if (corners.length) {
    const line = [...corners, ...(pointer ? [pointer] : [])].map(([x, y]) => `${x},${y}`).join(" ");
    parts.push(`<polyline points="${line}" class="p-line" stroke-width="${2 * size}"/>`);
    corners.forEach(([x, y], i) => parts.push(`<circle cx="${x}" cy="${y}" r="${(i ? 4 : 6) * size}" stroke-width="${2 * size}" class="p-corner${i ? "" : " p-first"}"/>`));
  }
  if (state.tool === "click") parts.push(...clicking.drawn(size));
  else if (pointer && state.tool !== "polygon")
    parts.push(`<circle cx="${pointer[0]}" cy="${pointer[1]}" r="${state.radius}" class="p-ring ${state.tool}" stroke-width="${1.5 * size}"/>`);
  marks.innerHTML = parts.join("");
}

// Painting

function at(event) {
  const box = paper.getBoundingClientRect();
  return [(event.clientX - box.left) * state.scene.width / box.width, (event.clientY - box.top) * state.scene.height / box.height];
}

function dab(from, to) {
  const { width, height } = state.scene, radius = state.radius, id = state.tool === "erase" ? 0 : state.brush;
  const x0 = Math.min(from[0], to[0]) - radius, x1 = Math.max(from[0], to[0]) + radius;
  const y0 = Math.min(from[1], to[1]) - radius, y1 = Math.max(from[1], to[1]) + radius;
  const dx = to[0] - from[0], dy = to[1] - from[1], length = dx * dx + dy * dy || 1;
  for (let y = Math.max(0, Math.floor(y0)); y < Math.min(height, y1 + 1); y++)
    for (let x = Math.max(0, Math.floor(x0)); x < Math.min(width, x1 + 1); x++) {
      const share = Math.max(0, Math.min(1, ((x + 0.5 - from[0]) * dx + (y + 0.5 - from[1]) * dy) / length));
      const ox = x + 0.5 - from[0] - share * dx, oy = y + 0.5 - from[1] - share * dy;
      if (ox * ox + oy * oy <= radius * radius) state.labels[y * width + x] = id;
    }
  redraw(x0 - 1, y0 - 1, x1 + 2, y1 + 2);
}

const mayPaint = () => state.scene && !waits() && player.frame === null;

view.addEventListener("pointerdown", (event) => {
  if (event.pointerType !== "touch" || !state.scene) return;
  state.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (state.pointers.size !== 2) return;
  clicking.cancel();
  cancelStroke();  // the second finger says that the first one did not mean to paint
  state.pinching = pinch(zoom, [...state.pointers.values()]);
}, true);
view.addEventListener("pointermove", (event) => {
  if (!state.pointers.has(event.pointerId)) return;
  state.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (state.pinching && state.pointers.size === 2) { event.preventDefault(); state.pinching([...state.pointers.values()]); }
}, true);
for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) view.addEventListener(name, (event) => {
  state.pointers.delete(event.pointerId);
  if (!state.pointers.size) state.pinching = null;
});

document.addEventListener("click", (event) => { if (event.target.closest("#run, #start-over")) state.following = true; });
for (const name of ["pointerdown", "keydown"]) document.addEventListener(name, (event) => {
  if (state.following && event.target.closest?.("#canvas, #overview, .worth, .keys, body:focus")) stopFollowing(true);
}, true);

/** stay: where the run was; else where it set out from. */
function stopFollowing(stay) {
  state.following = false;
  if (!state.scene || player.frame === null) return;
  if (stay) go(player.frame); else { state.goal = undefined; player.rest(); sayFrame(state.scene.frame); range.value = state.scene.frame; }
}

function cancelStroke() {
  const stroke = state.stroke;
  state.stroke = null;
  if (!stroke) return;
  state.labels = stroke.before;
  redraw(0, 0, state.scene.width, state.scene.height);
  drawMarks();
}

paper.addEventListener("pointerdown", (event) => {
  if (player.playing) setPlaying(false);
  const takesAway = state.tool === "click" && event.button === 2;
  if (state.pinching || !mayPaint() || (event.pointerType === "mouse" && event.button !== 0 && !takesAway)) return;
  event.preventDefault();
  view.focus({ preventScroll: true });
  const point = at(event);
  if (state.tool === "polygon") return addCorner(point, event);
  paper.setPointerCapture(event.pointerId);
  if (state.tool === "click") return clicking.down(event, point);
  state.stroke = { last: point, before: state.labels.slice(), pointer: event.pointerId, top: paper.getBoundingClientRect().top };
  dab(point, point);
});
paper.addEventListener("pointermove", (event) => {
  if (!state.scene) return;
  if (state.stroke) window.scrollBy(0, paper.getBoundingClientRect().top - state.stroke.top); // something above grew: stay under the hand
  const point = at(event);
  if (state.stroke && state.stroke.pointer === event.pointerId) {
    for (const each of event.getCoalescedEvents?.() ?? []) { const next = at(each); dab(state.stroke.last, next); state.stroke.last = next; }
    dab(state.stroke.last, point);
    state.stroke.moved ||= Math.hypot(point[0] - state.stroke.last[0], point[1] - state.stroke.last[1]) > 0.5;
    state.stroke.last = point;
  }
  if (state.tool === "click" && mayPaint()) clicking.move(event, point); else drawMarks(point);
});
paper.addEventListener("pointerleave", () => { clicking.hide(); if (!state.stroke && state.scene) drawMarks(); });
paper.addEventListener("pointerup", (event) => { finishStroke(); clicking.up(event); });
paper.addEventListener("pointercancel", () => { finishStroke(); clicking.cancel(); });
paper.addEventListener("contextmenu", (event) => { if (state.tool === "click") event.preventDefault(); });

function finishStroke() {
  const stroke = state.stroke;
  if (!stroke) return;
  state.stroke = null;
  if (state.fill && state.tool === "brush") fillNew(stroke.before);
  commit();
  if (state.tool === "brush" && !stroke.moved) hint("That is a dot. With Click (C), one click takes the whole object.");
  const scene = state.waiting;
  state.waiting = null;
  if (scene && scene.frame !== state.scene.frame) receive(scene);
  else if (scene) answered(scene.ack);
}

// Closed outlines become their inside: what this stroke newly encloses and nobody has painted.
function fillNew(before) {
  const width = state.scene.width, id = state.brush;
  const now = enclosed(state.labels, id), earlier = enclosed(before, id);
  if (!now) return;
  for (let i = 0; i < now.inside.length; i++) {
    const place = (now.y + Math.floor(i / now.width)) * width + now.x + (i % now.width);
    if (!now.inside[i] || state.labels[place] || before[place]) continue;
    if (earlier && earlier.has(place % width, Math.floor(place / width))) continue;
    state.labels[place] = id;
  }
  redraw(now.x, now.y, now.x + now.width, now.y + now.height);
}

function enclosed(labels, id) {
  const { width, height } = state.scene;
  let left = width, right = -1, top = height, bottom = -1;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (labels[y * width + x] === id) { if (x < left) left = x; if (x > right) right = x; if (y < top) top = y; if (y > bottom) bottom = y; }
  if (right < 0) return null;
  const w = right - left + 1, h = bottom - top + 1;
  const inside = new Uint8Array(w * h).fill(1), todo = [];
  const visit = (x, y) => {
    if (x < 0 || y < 0 || x >= w || y >= h || !inside[y * w + x] || labels[(top + y) * width + left + x] === id) return;
    inside[y * w + x] = 0; todo.push(x, y);
  };
  for (let x = 0; x < w; x++) { visit(x, 0); visit(x, h - 1); }
  for (let y = 0; y < h; y++) { visit(0, y); visit(w - 1, y); }
  while (todo.length) { const y = todo.pop(), x = todo.pop(); visit(x + 1, y); visit(x - 1, y); visit(x, y + 1); visit(x, y - 1); }
  return { x: left, y: top, width: w, height: h, inside, has: (px, py) => px >= left && py >= top && px <= right && py <= bottom && inside[(py - top) * w + px - left] === 1 };
}

function commit() {
  const { width, height, frame } = state.scene;
  const made = Object.assign(document.createElement("canvas"), { width, height });
  const pen = made.getContext("2d"), image = pen.createImageData(width, height);
  for (let i = 0; i < state.labels.length; i++) { image.data[4 * i] = state.labels[i]; image.data[4 * i + 3] = 255; }
  pen.putImageData(image, 0, 0);
  for (const failed of document.querySelectorAll("#panel .run.failed")) failed.hidden = true;  // what it asked for is done
  send("stroke", { frame, mask: made.toDataURL("image/png"), colors: { ...state.fresh } });
  drawObjects();
}

// Polygon

function addCorner(point, event) {
  const near = ([x, y]) => Math.hypot(x - point[0], y - point[1]) * stage.clientWidth / state.scene.width < NEAR_PIXELS;
  if (state.corners.length >= 3 && near(state.corners[0])) return closePolygon();
  if (!state.corners.length || !near(state.corners[state.corners.length - 1])) state.corners.push(point);
  drawMarks();
}

paper.addEventListener("dblclick", () => { if (state.corners.length >= 3) closePolygon(); });

function closePolygon() {
  const corners = state.corners;
  state.corners = [];
  drawMarks();
  if (corners.length < 3) return;
  const { width, height } = state.scene;
  const made = Object.assign(document.createElement("canvas"), { width, height });
  const pen = made.getContext("2d", { willReadFrequently: true });
  pen.beginPath();
  corners.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.fill("evenodd");
  const alpha = pen.getImageData(0, 0, width, height).data;
  for (let i = 0; i < state.labels.length; i++) if (alpha[4 * i + 3] > 127) state.labels[i] = state.brush;
  redraw(0, 0, width, height);
  commit();
}

// Tools and keys

const stops = [
  rove(find(".p-bar"), "button", () => find("[data-tool][aria-pressed=true]")),
  rove(find(".p-objects"), ".p-object > *", () => find(".p-object.is-picked .p-swatch"), ".p-object"),
  rove(find(".p-free"), "button", () => find(".p-free [aria-pressed=true]")),
];

function setTool(tool) {
  state.tool = tool;
  state.corners = [];
  root.dataset.tool = tool;
  for (const each of root.querySelectorAll("[data-tool]")) each.setAttribute("aria-pressed", each.dataset.tool === tool);
  clicking.isOn = tool === "click";
  hint();
  if (state.scene) drawMarks();
  stops[0]();
}

function hint(sentence) {
  const isEmpty = state.scene && !state.labels.some((id) => id);
  const said = sentence ?? (state.tool === "polygon" ? "Click corner after corner; click the first one, double-click, or press Enter, to close."
    : state.tool === "click" && isEmpty && !clicking.group ? "Click the object, or drag a box around it." : "");
  find(".p-hint").textContent = said;
  find(".p-hint").hidden = !said;
}

function setRadius(radius) {
  state.radius = Math.max(1, Math.min(80, Math.round(radius)));
  find(".p-size").value = state.radius;
}

function step(by) {
  if (!state.scene) return;
  if (player.playing) setPlaying(false);
  go(clamp(shownFrame() + by, state.scene.first, state.scene.last));
}

function toNext(frames, direction) {
  const found = neighbour(frames, shownFrame(), direction);
  if (found !== null) go(found);
}

function go(frame) {
  state.goal = frame;
  if (reel.hasPicture(frame) && frame !== state.scene.frame) player.show(frame); else sayFrame(frame);
  range.value = frame;
  if (frame === state.scene.frame && !state.sent && !state.queue.length) { player.rest(); sayFrame(frame); return; }
  send("go", { frame });
  clearTimeout(state.forget);
  state.forget = setTimeout(() => { state.goal = undefined; }, 700);
}

function fit() {
  stage.style.aspectRatio = `${state.scene.width} / ${state.scene.height}`;
  root.style.setProperty("--ratio", state.scene.width / state.scene.height);
}

for (const each of root.querySelectorAll("[data-tool]")) each.onclick = () => setTool(each.dataset.tool);
find(".p-size").oninput = (event) => { setRadius(event.target.value); if (state.scene) drawMarks([state.scene.width / 2, state.scene.height / 2]); };
find(".p-size").onchange = () => state.scene && drawMarks();
find(".p-minus").onclick = (event) => { clicking.minus = !clicking.minus; event.currentTarget.setAttribute("aria-pressed", clicking.minus); };
find(".p-fill").onclick = (event) => { state.fill = !state.fill; event.currentTarget.setAttribute("aria-pressed", state.fill); };
find(".p-refine").onclick = () => state.scene && send("refine", { frame: state.scene.frame, object: state.brush });
find(".p-clear").onclick = () => { if (!mayPaint()) return; clicking.end(); state.labels.fill(0); redraw(0, 0, state.scene.width, state.scene.height); commit(); };
find(".p-undo").onclick = () => undo(false);
find(".p-redo").onclick = () => undo(true);
find(".p-in").onclick = () => zoom.by(1.5);
find(".p-out").onclick = () => zoom.by(1 / 1.5);
find(".p-back").onclick = (event) => step(event.shiftKey ? -10 : -1);
find(".p-next").onclick = (event) => step(event.shiftKey ? 10 : 1);
find(".p-play").onclick = () => setPlaying(!player.playing);
find(".p-number").onchange = (event) => {
  const frame = typedFrame(event.target.value, state.scene.first, state.scene.last);
  if (Number.isNaN(frame)) event.target.value = state.scene.frame + 1; else go(frame);
};
find(".p-opacity").oninput = (event) => {
  state.opacity = Number(event.target.value);
  if (!state.scene) return;
  player.again();
  redraw(0, 0, state.scene.width, state.scene.height);
};
range.oninput = () => { state.dragging = true; scrub(Number(range.value)); };
range.onchange = () => { state.dragging = false; go(Number(range.value)); };
window.xmemGo = (frame) => { if (state.scene) go(Number(frame)); view.scrollIntoView({ behavior: "smooth", block: "nearest" }); };

// For the timeline, which is a component of its own
window.xmemStage = {
  scrub: (frame) => { state.dragging = true; scrub(frame); },
  release: (frame) => { state.dragging = false; if (state.scene) go(clamp(frame, state.scene.first, state.scene.last)); },
  scene: () => state.scene,
  mask: (frame) => reel.mask(frame),
  picture: (frame) => reel.decode(frame),
  isComplete: () => reel.isComplete(),
};

window.xmemFrame = () => state.scene?.frame ?? 0;
window.xmemRemoveKey = (frame) => send("unkey", { frame });
window.xmemDismiss = (frame, object) => send("dismiss", { frame, object });

// The mask of the shown frame is right: it becomes a key frame.
function accept() { if (!find(".p-right").hidden) send("accept", { frame: state.scene.frame }); }
find(".p-right").onclick = accept;

const doubtful = () => [...document.querySelectorAll(".t-flag")].map((flag) => Number(flag.dataset.frame)).sort((a, b) => a - b);

onKeys(element, {
  isReady: () => Boolean(state.scene),
  tool: (tool) => setTool(tool),
  play: () => setPlaying(!player.playing),
  step,
  key: (direction) => toNext(state.scene.keys, direction),
  doubt: (direction) => toNext(doubtful(), direction),
  accept,
  size: (larger) => setRadius(state.radius * (larger ? 1.25 : 0.8) + (larger ? 1 : 0)),
  object: (number) => { const item = objects()[number - 1]; if (item) pick(item.id); },
  zoom: (factor) => (factor ? zoom.by(factor) : zoom.to(1)),
  close: () => { if (state.corners.length) closePolygon(); else if (clicking.end() && freeColors().length) newObject(freeColors()[0]); },
  escape: () => { state.corners = []; if (state.scene) drawMarks(); },
  help: () => { const box = find(".p-help"); if (box.open) box.close(); else box.showModal(); },
  undo: (again) => {
    if (state.corners.length && !again) { state.corners.pop(); drawMarks(); }
    else if (!find(again ? ".p-redo" : ".p-undo").disabled || state.queue.length || state.sent) undo(again);
  },
});

/** A step back, or forward again; a click that is undone is no longer one of those that belong together. */
async function undo(again) {
  await clicking.turn;
  if (again) clicking.end(); else clicking.undo();
  send(again ? "redo" : "undo", { frame: state.scene.frame });
}
find(".p-help-open").onclick = () => find(".p-help").showModal();
find(".p-help").onclick = (event) => { if (event.target === event.currentTarget) event.currentTarget.close(); };

follow(element, {
  token: () => state.scene?.reel.token,
  ask: (asked) => server.news(asked),
  isFollowed: () => Boolean(document.querySelector("#stop")),
  join: () => trigger("join", {}),
  heard: (news) => {
    reel.news(news.chunks);
    if (state.following && !news.running && !document.querySelector("#stop")) stopFollowing(false);
    root.classList.toggle("is-running", news.running);
    const isIdle = !state.stroke && !state.corners.length && !state.sent && !state.queue.length && player.frame === null;
    if (isIdle && news.edit !== state.scene.edit) send("sync", { frame: state.scene.frame }, true);
  },
});

setTool("click");
setRadius(8);
watch("value", () => receive(props.value));
receive(props.value);
