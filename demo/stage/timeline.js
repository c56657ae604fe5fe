// The timeline: dragging scrubs, pointing shows a thumbnail with the values, and what a run computes fills it as it comes.

import { clamp, frameAt, placeOf } from "./frames.js";

const THUMB = 168;  // pixels
let dragged = null; // the pointer that scrubs
let pointed = 0;    // of thumbnails, the one asked for last

const find = (selector) => element.querySelector(selector);
const ends = () => {
  const { first, last } = find(".timeline").dataset;
  return [Number(first), Number(last)];
};

function at(event) {
  const box = find(".t-plot").getBoundingClientRect();
  return frameAt((event.clientX - box.left) / box.width, ...ends());
}

element.addEventListener("click", (event) => {
  const target = event.target.closest("[data-frame]");
  if (target) window.xmemGo(Number(target.dataset.frame));
});

element.addEventListener("pointerdown", (event) => {
  if (!event.target.closest(".t-plot, .t-axis") || event.button) return;
  event.preventDefault();
  dragged = event.pointerId;
  element.setPointerCapture(event.pointerId);
  window.xmemStage.scrub(at(event));
});
element.addEventListener("pointermove", (event) => {
  if (dragged === event.pointerId) window.xmemStage.scrub(at(event));
  else if (event.pointerType === "mouse" && event.target.closest(".t-plot, .t-axis")) point(event);
});
element.addEventListener("pointerup", (event) => {
  if (dragged !== event.pointerId) return;
  dragged = null;
  window.xmemStage.release(at(event));
  if (event.pointerType === "mouse") point(event);
});
element.addEventListener("pointercancel", () => { dragged = null; });

async function point(event) {
  const frame = at(event), tip = find(".t-tip"), canvas = tip.querySelector("canvas"), number = ++pointed;
  const box = find(".timeline").getBoundingClientRect();
  tip.style.left = `${clamp(event.clientX - box.left, THUMB / 2 + 8, box.width - THUMB / 2 - 8)}px`;
  tip.querySelector("p").innerHTML = said(frame);
  const picture = await window.xmemStage.picture(frame);
  if (number !== pointed) return;
  canvas.hidden = !picture;
  if (!picture) return;
  const height = Math.round((THUMB * picture.height) / picture.width);
  if (canvas.width !== 2 * THUMB || canvas.height !== 2 * height) Object.assign(canvas, { width: 2 * THUMB, height: 2 * height });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
}

function said(frame) {
  const [first] = ends(), scene = window.xmemStage.scene(), areas = window.xmemStage.mask(frame)?.areas ?? {};
  const size = scene.reel.width * scene.reel.height, name = (text) => Object.assign(document.createElement("i"), { textContent: text }).outerHTML;
  const lines = JSON.parse(find(".timeline").dataset.values).map(([label, id, certainty]) => {
    const percent = certainty[frame - first], parts = [];
    if (percent !== null && percent !== undefined) parts.push(`${percent} % certain`);
    if (id in areas) parts.push(`${(100 * areas[id] / size).toFixed(1)} % of the picture`);
    return parts.length ? `<br>${name(label)} ${parts.join(", ")}` : "";
  });
  return `<b>Frame ${frame + 1}</b>${lines.join("")}`;
}

function place(frame) {
  const cursor = find(".t-cursor");
  if (cursor && frame !== undefined) cursor.style.left = `${placeOf(frame, ...ends())}%`;
}

/** A strip along the top: the frames that have a mask. */
function drawLive() {
  const strip = find(".t-live");
  if (!strip || !window.xmemStage) return;
  const [first, last] = ends(), count = last - first + 1;
  Object.assign(strip, { width: Math.min(count, 2000), height: 1 });
  const pen = strip.getContext("2d"), step = Math.max(1, count / strip.width);
  pen.fillStyle = getComputedStyle(strip).color;
  for (let x = 0; x < strip.width; x++) if (window.xmemStage.mask(first + Math.floor(x * step))) pen.fillRect(x, 0, 1, 1);
}

document.addEventListener("xmem:frame", (event) => { if (element.isConnected && find(".timeline")) place(event.detail); });
document.addEventListener("xmem:reel", (event) => { if (element.isConnected && event.detail === "masks") drawLive(); });
watch("value", () => { if (find(".timeline")) { place(window.xmemFrame?.()); drawLive(); } });
