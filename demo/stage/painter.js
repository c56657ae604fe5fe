// The canvas: shows a frame with its index mask, moves through frames, and hands what the visitor does to those who do it.
//
// Runs in gr.HTML's js_on_load, with `element`, `trigger`, `props` and `watch`. The server puts a scene into
// props.value (see demo/visit/scene.py); what the visitor does leaves by `trigger`, one action at a time (actions.js). A stroke
// carries the frame that it was drawn on together with the whole mask, so that it cannot land on another frame, and nothing
// painted is lost by changing frames. In motion the frames come from the reel (reel.js, player.js); at rest the picture is
// the video's own.

import { Actions } from "./actions.js";
import { Brush } from "./brush.js";
import { Clicking } from "./clicking.js";
import { clamp, clock, neighbour, typedFrame } from "./frames.js";
import { onKeys } from "./keys.js";
import { follow } from "./news.js";
import { Objects } from "./objects.js";
import { Player } from "./player.js";
import { Polygon } from "./polygon.js";
import { Reel } from "./reel.js";
import { rove } from "./rove.js";
import { Zoom, pinch } from "./zoom.js";

const root = element.querySelector(".p-root");
const find = (selector) => root.querySelector(selector);
const view = find(".p-view"), stage = find(".p-stage"), picture = find(".p-picture");
const paper = find(".p-paper"), marks = find(".p-marks"), range = find(".p-range");
const ink = paper.getContext("2d", { willReadFrequently: true });

const state = {
  scene: null,        // the latest complete scene
  labels: null,       // Uint8Array [H * W], the index mask
  waiting: null,      // a scene that arrived during a stroke
  dot: null,          // the frame on which the latest stroke began an object as a mere dot
  tool: "click", opacity: 0.46,
  pointers: new Map(), pinching: null,
};

// Who does what

const actions = new Actions(
  (name, data) => trigger(name, { shown: state.scene?.frame ?? 0, ...data }),
  (on) => root.classList.toggle("is-busy", on),
);
const send = (name, data, quiet) => actions.send(name, data, quiet);
const objects = new Objects(root, {
  scene: () => state.scene,
  isPainted: (id) => state.labels.includes(id),
  send,
  picked: () => { if (state.tool === "erase") setTool("brush"); },
  begun: () => setTool(state.tool === "erase" ? "brush" : state.tool),
  seen: () => player.again(),
});
const mask = () => ({ labels: state.labels, width: state.scene.width, height: state.scene.height });
const show = (labels) => { state.labels = labels; redrawAll(); };
const brush = new Brush({ mask, show, id: () => objects.brush, erases: () => state.tool === "erase", redraw });
const polygon = new Polygon({
  mask,
  id: () => objects.brush,
  scale: () => stage.clientWidth / state.scene.width,
  marks: () => drawMarks(),
  changed: () => { redrawAll(); commit(); },
});
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
const clicking = new Clicking({
  proposal: find(".p-proposal"),
  ask: (asked) => server.propose(asked),
  token: () => state.scene.reel.token,
  frame: () => state.scene.frame,
  brush: () => objects.brush,
  labels: () => state.labels,
  size: () => state.scene,
  color: () => rgb(objects.picked()?.color ?? 0),
  show,
  commit: () => commit(),
  settled: () => actions.settled(),
  marks: () => { if (state.scene) drawMarks(); hint(); },
  say: (sentence, kind = "bad") => say(sentence, kind),
  model: () => window.xmemClicker ?? "xmem-click",
});

/** Nothing is drawn, and nothing is on its way. */
const isIdle = () => !brush.stroke && !polygon.corners.length && actions.isIdle;

// What moves

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
  const scene = state.scene;
  if (scene && isIdle() && player.frame === null && !scene.is_key && frames.includes(scene.frame)) send("go", { frame: scene.frame }, true);
}

window.xmemSettled = async () => {
  finishStroke();
  clicking.giveUp();
  await clicking.turn;
  await actions.settled();
};

// Scenes

async function receive(scene) {
  if (!scene || typeof scene !== "object") return;
  if (scene.ack && scene.ack === actions.sent?.ack && actions.sent.quiet && (brush.stroke || actions.queue.length)) {
    actions.answered(scene.ack);  // something was painted since it was asked for: what comes next is newer
    return;
  }
  if (scene.image && brush.stroke) { state.waiting = scene; return; }
  if (scene.empty) { root.classList.add("is-empty"); delete root.dataset.frame; state.scene = null; state.goal = undefined; player.rest(); reel.close(); }
  else if (scene.image) await load(scene);
  else if (state.scene && (scene.frame === undefined || scene.frame === state.scene.frame)) Object.assign(state.scene, scene);
  if (state.scene) adopt();
  if (scene.ack) actions.answered(scene.ack);
}

async function load(scene) {
  const mask = new Image(), image = new Image();
  mask.src = scene.mask; image.src = scene.image;
  await Promise.all([mask.decode(), image.decode()]);
  const { width, height } = scene, isHere = state.scene?.frame === scene.frame && state.scene.reel.token === scene.reel.token;
  if (isHere && (brush.stroke || actions.hasStrokeBehind(scene.ack))) {
    const { image: _, mask: __, ...known } = scene;  // what is painted is newer
    Object.assign(state.scene, known);
    return;
  }
  const reader = Object.assign(document.createElement("canvas"), { width, height });
  const pen = reader.getContext("2d", { willReadFrequently: true });
  pen.drawImage(mask, 0, 0);
  const pixels = pen.getImageData(0, 0, width, height).data;
  const labels = new Uint8Array(width * height);
  for (let i = 0; i < labels.length; i++) labels[i] = pixels[4 * i];
  const isSame = isHere && state.labels.length === labels.length && labels.every((id, i) => id === state.labels[i]);
  if (!isSame && actions.sent?.name !== "undo") clicking.end();  // its clicks were about what was there before
  const isOther = !state.scene || state.scene.width !== width || state.scene.height !== height;
  Object.assign(state, { scene: { ...scene }, labels: isSame ? state.labels : labels });  // of the same, what a pressed pointer asked for still holds
  polygon.clear();
  if (isOther) { paper.width = width; paper.height = height; objects.brush = 0; fit(); zoom.to(1); }
  reel.open(scene.reel, scene.frame);
  if (!player.playing && !state.dragging && (player.frame === null || player.frame === scene.frame)) player.rest();
  picture.src = scene.image;
  picture.alt = `Frame ${scene.frame + 1} of ${scene.frames}`;
  marks.setAttribute("viewBox", `0 0 ${width} ${height}`);
  root.classList.remove("is-empty");
  redrawAll();
  drawMarks();
}

function adopt() {
  const scene = state.scene;
  objects.adopt();
  if (document.activeElement !== range) range.value = scene.frame;
  range.min = scene.first; range.max = scene.last;
  range.setAttribute("aria-valuetext", `Frame ${scene.frame + 1} of ${scene.frames}`);
  if (player.frame === null) sayFrame(scene.frame);
  document.dispatchEvent(new CustomEvent("xmem:scene", { detail: scene }));
  root.dataset.frame = scene.frame;
  root.dataset.token = scene.token;
  find(".p-undo").disabled = !scene.can_undo; find(".p-redo").disabled = !scene.can_redo;
  say(scene.note || "", scene.kind);
  objects.draw();
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

// Drawing what is painted

function colorsById() {
  const table = new Uint8Array(256 * 3);
  for (const item of objects.all()) {
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

function redrawAll() { redraw(0, 0, state.scene.width, state.scene.height); }

function drawMarks(pointer) {
  const size = state.scene ? state.scene.width / Math.max(1, stage.clientWidth) : 1, parts = polygon.drawn(size, pointer);
  if (state.tool === "click") parts.push(...clicking.drawn(size));
  else if (pointer && state.tool !== "polygon")
    parts.push(`<circle cx="${pointer[0]}" cy="${pointer[1]}" r="${brush.radius}" class="p-ring ${state.tool}" stroke-width="${1.5 * size}"/>`);
  marks.innerHTML = parts.join("");
}

// Painting

function at(event) {
  const box = paper.getBoundingClientRect();
  return [(event.clientX - box.left) * state.scene.width / box.width, (event.clientY - box.top) * state.scene.height / box.height];
}

const mayPaint = () => state.scene && !actions.waits && player.frame === null;

view.addEventListener("pointerdown", (event) => {
  if (event.pointerType !== "touch" || !state.scene) return;
  state.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (state.pointers.size !== 2) return;
  clicking.cancel();
  brush.cancel();  // the second finger says that the first one did not mean to paint
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

paper.addEventListener("pointerdown", (event) => {
  if (player.playing) setPlaying(false);
  const takesAway = state.tool === "click" && event.button === 2;
  if (state.pinching || !mayPaint() || (event.pointerType === "mouse" && event.button !== 0 && !takesAway)) return;
  event.preventDefault();
  view.focus({ preventScroll: true });
  const point = at(event);
  if (state.tool === "polygon") return polygon.add(point);
  paper.setPointerCapture(event.pointerId);
  if (state.tool === "click") return clicking.down(event, point);
  brush.down(event, point, paper.getBoundingClientRect().top);
});
paper.addEventListener("pointermove", (event) => {
  if (!state.scene) return;
  if (brush.stroke) window.scrollBy(0, paper.getBoundingClientRect().top - brush.stroke.top); // something above grew: stay under the hand
  brush.move(event, at);
  const point = at(event);
  if (state.tool === "click" && mayPaint()) clicking.move(event, point); else drawMarks(point);
});
paper.addEventListener("pointerleave", () => { clicking.hide(); if (!brush.stroke && state.scene) drawMarks(); });
paper.addEventListener("pointerup", (event) => { finishStroke(); clicking.up(event); });
paper.addEventListener("pointercancel", () => { finishStroke(); clicking.cancel(); });
paper.addEventListener("contextmenu", (event) => { if (state.tool === "click") event.preventDefault(); });

function finishStroke() {
  const stroke = brush.finish();
  if (!stroke) return;
  const isDot = state.tool === "brush" && !stroke.moved && !stroke.before.includes(objects.brush);
  state.dot = isDot ? state.scene.frame : null;
  commit();
  hint();
  const scene = state.waiting;
  state.waiting = null;
  if (scene) receive(scene);
}

function commit() {
  const { width, height, frame } = state.scene;
  const made = Object.assign(document.createElement("canvas"), { width, height });
  const pen = made.getContext("2d"), image = pen.createImageData(width, height);
  for (let i = 0; i < state.labels.length; i++) { image.data[4 * i] = state.labels[i]; image.data[4 * i + 3] = 255; }
  pen.putImageData(image, 0, 0);
  for (const failed of document.querySelectorAll("#panel .run.failed")) failed.hidden = true;  // what it asked for is done
  send("stroke", { frame, mask: made.toDataURL("image/png"), colors: { ...objects.fresh } });
  objects.draw();
}

paper.addEventListener("dblclick", () => { if (polygon.corners.length >= 3) polygon.close(); });

// Tools and keys

const refreshTools = rove(find(".p-bar"), "button, .p-words input", () => find("[data-tool][aria-pressed=true]"));

function setTool(tool) {
  state.tool = tool;
  polygon.clear();
  root.dataset.tool = tool;
  for (const each of root.querySelectorAll("[data-tool]")) each.setAttribute("aria-pressed", each.dataset.tool === tool);
  clicking.isOn = tool === "click";
  hint();
  if (state.scene) drawMarks();
  refreshTools();
}

function hint() {
  const isEmpty = state.scene && !state.labels.some((id) => id);
  const isDot = state.tool === "brush" && state.scene && state.dot === state.scene.frame && !isEmpty;
  const said = isDot ? "That is a dot. With Click (C), one click takes the whole object."
    : state.tool === "polygon" ? "Click corner after corner; click the first one, double-click, or press Enter, to close."
    : state.tool === "click" && isEmpty && !clicking.group ? "Click the object, or drag a box around it." : "";
  find(".p-hint").textContent = said;
  find(".p-hint").hidden = !said;
}

function setRadius(radius) {
  brush.radius = Math.max(1, Math.min(80, Math.round(radius)));
  find(".p-size").value = brush.radius;
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
  if (frame === state.scene.frame && actions.isIdle) { player.rest(); sayFrame(frame); return; }
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
find(".p-words")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const field = find(".p-words input"), words = field.value.trim();
  if (!words || !mayPaint()) return;
  view.focus({ preventScroll: true });
  clicking.add({ words });
});
find(".p-fill").onclick = (event) => { brush.fill = !brush.fill; event.currentTarget.setAttribute("aria-pressed", brush.fill); };
find(".p-refine").onclick = () => state.scene && send("refine", { frame: state.scene.frame, object: objects.brush });
find(".p-clear").onclick = () => { if (!mayPaint()) return; clicking.end(); state.labels.fill(0); redrawAll(); commit(); };
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
  redrawAll();
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
  size: (larger) => setRadius(brush.radius * (larger ? 1.25 : 0.8) + (larger ? 1 : 0)),
  object: (number) => { const item = objects.all()[number - 1]; if (item) objects.pick(item.id); },
  zoom: (factor) => (factor ? zoom.by(factor) : zoom.to(1)),
  close: () => {
    const free = objects.freeColors();
    if (polygon.corners.length) polygon.close(); else if (clicking.end() && free.length) objects.start(free[0]);
  },
  escape: () => { polygon.clear(); if (state.scene) drawMarks(); },
  help: () => { const box = find(".p-help"); if (box.open) box.close(); else box.showModal(); },
  undo: (again) => {
    if (polygon.corners.length && !again) { polygon.corners.pop(); drawMarks(); }
    else if (!find(again ? ".p-redo" : ".p-undo").disabled || !actions.isIdle) undo(again);
  },
});

/** A step back, or forward again; a click that is undone is no longer one of those that belong together. */
async function undo(again) {
  if (clicking.giveUp()) return;
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
    if (isIdle() && player.frame === null && news.edit !== state.scene.edit) send("sync", { frame: state.scene.frame }, true);
  },
});

setTool("click");
setRadius(8);
watch("value", () => receive(props.value));
receive(props.value);
