// Pure parts of the stage's script; pytest starts these where node is (see tests/demo/test_script.py).

import assert from "node:assert/strict";
import { test } from "node:test";
import { chunksAround, clock, frameAt, neighbour, placeOf, typedFrame } from "../../../demo/stage/frames.js";
import { areasOf, bytesOf, labelsOf, painted } from "../../../demo/stage/runs.js";
import { dab, fillNew } from "../../../demo/stage/masks.js";
import { Clicking } from "../../../demo/stage/clicking.js";
import { Actions } from "../../../demo/stage/actions.js";
import { Shelf } from "../../../demo/stage/shelf.js";
import { Reel } from "../../../demo/stage/reel.js";

test("runs become labels and areas", () => {
  const bytes = Uint8Array.from([0, 130, 1, 3, 5, 0, 1, 1, 128, 2]);  // 130 zeros, 5 threes, 1 zero, 256 ones
  const labels = labelsOf(bytes, 392);
  assert.deepEqual([labels[129], labels[130], labels[134], labels[135], labels[136], labels[391]], [0, 3, 3, 0, 1, 1]);
  assert.deepEqual(areasOf(bytes), { 3: 5, 1: 256 });
  assert.deepEqual([...bytesOf("AIIB")], [0, 130, 1]);
});

test("runs that are cut short, or longer than the picture, end with it", () => {
  assert.deepEqual([...labelsOf(Uint8Array.from([2, 200, 1]), 3)], [2, 2, 2]);
  assert.deepEqual([...labelsOf(Uint8Array.from([2, 129]), 3)], [2, 0, 0]);
});

test("a mask is painted in its colours, its outline more solid than its inside", () => {
  const labels = new Uint8Array(25).fill(1, 5, 20), pixels = painted(labels, 5, 5, { 1: [9, 8, 7] }, 0.4);
  assert.deepEqual([...pixels.slice(0, 4)], [0, 0, 0, 0]);
  assert.deepEqual([...pixels.slice(4 * 12, 4 * 13)], [9, 8, 7, 102]);
  assert.equal(pixels[4 * 5 + 3], 204);
  assert.equal(painted(labels, 5, 5, {}, 0.4).some(Boolean), false, "what has no colour is hidden");
});

test("a shelf keeps what was used last", () => {
  const gone = [], shelf = new Shelf(10, (value) => gone.push(value));
  shelf.set("a", 1, 4); shelf.set("b", 2, 4); shelf.get("a"); shelf.set("c", 3, 4);
  assert.deepEqual([shelf.has("a"), shelf.has("b"), shelf.size, gone], [true, false, 8, [2]]);
  shelf.set("d", 4, 40);
  assert.deepEqual([shelf.has("d"), shelf.items.size], [true, 1], "one that is too large alone is kept alone");
});

test("frames, places and times", () => {
  assert.equal(clock(3.48), "0:03.48"); assert.equal(clock(61.999), "1:02.00");
  assert.deepEqual([frameAt(0, 4, 9), frameAt(0.5, 0, 10), frameAt(2, 4, 9)], [4, 5, 9]);
  assert.deepEqual([placeOf(4, 4, 4), placeOf(5, 0, 10)], [50, 50]);
  assert.deepEqual([typedFrame("5", 0, 9), typedFrame("0", 0, 9), typedFrame("99", 0, 9)], [4, 0, 9]);
  assert.ok(Number.isNaN(typedFrame("x", 0, 9)));
  assert.deepEqual([neighbour([1, 5, 9], 5, 1), neighbour([1, 5, 9], 5, -1), neighbour([1], 1, 1)], [9, 1, null]);
  assert.deepEqual(chunksAround(40, 32, 4), [1, 2, 0, 3]);
  assert.deepEqual(chunksAround(0, 32, 1), [0]);
});

const settled = async () => { for (let i = 0; i < 60; i++) await Promise.resolve(); };

test("a reel asks for what is near first, once each, and for masks that changed alone", async () => {
  const asked = [], ask = {
    pictures: async ({ chunk }) => { asked.push(`p${chunk}`); return { frames: ["AAAA", "AAAA"] }; },
    masks: async ({ chunk, known }) => {
      asked.push(`m${chunk}:${Object.keys(known)}`);
      return { masks: { [2 * chunk]: ["v", "AQI="] }, gone: [2 * chunk + 1] };
    },
  };
  globalThis.createImageBitmap = async () => ({ width: 1, height: 1, close() {} });
  const changed = [], reel = new Reel(ask, (what, frames) => what === "masks" && changed.push(frames));
  reel.open({ token: "t", count: 6, chunk: 2, width: 2, height: 1 }, 3);
  await settled();
  assert.deepEqual(asked.splice(0), ["p1", "p2", "p0"]);
  reel.news(["a", "b", "c"]);
  await settled();
  assert.deepEqual(asked.splice(0), ["m1:", "m2:", "m0:"]);
  assert.deepEqual(reel.mask(2).areas, { 1: 2 });
  assert.deepEqual(changed, [[2], [4], [0]], "frames that had no mask and have none have not changed");
  reel.news(["a", "B", "c"]);
  await settled();
  assert.deepEqual(asked.splice(0), ["m1:2"]);
  reel.open({ token: "other", count: 2, chunk: 2, width: 2, height: 1 }, 0);
  assert.equal(reel.mask(2), undefined);
});

test("a brush leaves a round way, and a closed outline its inside", () => {
  const mask = { labels: new Uint8Array(900), width: 30, height: 30 }, before = mask.labels.slice();
  const corners = [[6, 6], [24, 6], [24, 24], [6, 24], [6, 6]];
  for (let i = 1; i < corners.length; i++) dab(mask, corners[i - 1], corners[i], 1.5, 2);
  assert.deepEqual([mask.labels[30 * 6 + 15], mask.labels[30 * 15 + 15], mask.labels[0]], [2, 0, 0]);
  mask.labels[30 * 14 + 14] = 1;
  fillNew(mask, before, 2);
  assert.deepEqual([mask.labels[30 * 15 + 15], mask.labels[30 * 14 + 14], mask.labels[30 * 3 + 3]], [2, 1, 0]);
});

test("actions go one at a time, and only the latest stroke of a frame is sent", () => {
  const sent = [], actions = new Actions((name, data) => sent.push([name, data.frame, data.ack]), () => {});
  actions.send("go", { frame: 1 });
  actions.send("stroke", { frame: 1 });
  actions.send("stroke", { frame: 1 });
  actions.send("stroke", { frame: 2 });
  actions.answered(7);
  assert.deepEqual([sent, actions.waits, actions.queue.length], [[["go", 1, 1]], true, 2]);
  actions.answered(1); actions.answered(2); actions.answered(3);
  assert.deepEqual([sent.slice(1), actions.isIdle], [[["stroke", 1, 2], ["stroke", 2, 3]], true]);
});

test("what a click would take is not shown once the pointer has left", async () => {
  let answer;
  const proposal = { dataset: {}, getContext: () => ({ clearRect() {} }) }, shown = [];
  const clicking = new Clicking({ ...canvas([]), proposal, ask: () => new Promise((done) => { answer = done; }) });
  clicking.propose = async (found) => shown.push(found);
  for (const leaves of [true, false]) {
    const asked = clicking.hover([5, 5], false);
    if (leaves) clicking.hide();
    answer({ width: 1 });
    if (!leaves) { while (!shown.length) await null; clicking.hide(); }
    await asked;
  }
  assert.equal(shown.length, 1);
});

test("a pointer that moves is answered quickly, and one that rests as its click will be", async () => {
  const lent = canvas(Array(9).fill({ width: 0 })), clicking = new Clicking(lent);
  clicking.propose = async () => {};
  const moving = clicking.hover([1, 1], false);
  clicking.hover([2, 2], true);
  await moving;
  assert.deepEqual(lent.asked.map(({ clicks, quick }) => [clicks, quick]), [[[[1, 1, true]], true], [[[2, 2, false]], true], [[[2, 2, false]], false]]);
});

test("what is shown goes on from what is painted, as a click does", async () => {
  const lent = canvas(Array(9).fill({ width: 0 })), clicking = new Clicking(lent);
  clicking.propose = async () => {};
  clicking.fresh = { frame: 3, id: 1, of: lent.labels(), clicks: [], previous: "the mask" };
  await clicking.hover([1, 1], false);
  assert.deepEqual(lent.asked.map(({ previous }) => previous), ["the mask", "the mask"]);
  assert.equal(clicking.current().previous, "the mask");
  clicking.end();
  const fresh = clicking.next(), others = new Uint8Array(4);
  assert.equal(fresh.previous, null, "what is painted meanwhile is looked at anew");
  assert.equal(clicking.next(), fresh);
  clicking.canvas.labels = () => others;
  assert.notEqual(clicking.next(), fresh, "also what an undo brings back");
});

function canvas(answers) {
  const asked = [], said = [], labels = new Uint8Array(4);
  const proposal = { dataset: {}, getContext: () => ({ clearRect() {} }) };
  const lent = { proposal, token: () => "", frame: () => 3, brush: () => 1, model: () => "small", marks() {}, labels: () => labels, size: () => ({ width: 2, height: 2 }) };
  return { asked, said, ...lent, say: (sentence) => said.push(sentence), ask: async (what) => { asked.push(what); return answers.shift(); } };
}

test("words begin anew, and what a helper has to be fetched for is asked again until it answers", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const lent = canvas([{ later: "1 of 2 MB" }, { later: "2 of 2 MB" }, { refused: "Nothing is a car." }]), clicking = new Clicking(lent);
  clicking.group = { frame: 3, id: 1, clicks: [[1, 1, true]], undos: [() => {}] };
  clicking.add({ words: "a car" });
  const done = clicking.turn;
  for (let i = 0; i < 40; i++) { await null; context.mock.timers.tick(1000); }
  await done;
  assert.deepEqual(lent.asked.map(({ words, clicks, previous, model }) => [words, clicks.length, previous, model]), Array(3).fill(["a car", 0, null, "small"]));
  assert.deepEqual(lent.said.slice(1), ["1 of 2 MB", "2 of 2 MB", "Nothing is a car."]);
  assert.equal(clicking.group, null, "words for nothing are forgotten");
});

test("whoever does not want to wait for a helper undoes it, and nothing else", async () => {
  const lent = canvas(Array(9).fill({ later: "1 of 2 MB" })), clicking = new Clicking(lent);
  assert.equal(clicking.giveUp(), false);
  clicking.add({ words: "a car" });
  while (!clicking.later) await new Promise((done) => setTimeout(done));
  assert.deepEqual([clicking.giveUp(), clicking.giveUp(), clicking.group], [true, false, null]);
  await clicking.turn;
  assert.deepEqual([lent.asked.length, lent.said.at(-1)], [1, ""]);
});
