// Clicks on the picture, and words for what is on it: what a click would take is shown while the pointer moves, roughly at
// first and as it would be painted once the pointer rests, and each click is painted at once.
//
// Clicks belong together while they are about one object on one frame: the server answers all of them with one mask, which
// takes the place of what the object had on the frame before the first of them.

const DRAG_PIXELS = 8;  // on the screen: what moves further is a box
const HOVER_MS = 70;    // between two questions of a pointer that moves
const LATER_MS = 1000;  // between two questions while the server fetches a helper that is to answer

export class Clicking {
  /** canvas: what the painter lends: ask(asked), token(), frame(), brush(), labels(), size(), color(), show(labels), commit(),
   * settled(), marks(), say(sentence, kind), model(), the network that answers, and proposal, a canvas over the picture. */
  constructor(canvas) {
    Object.assign(this, { canvas, group: null, minus: false, pressed: null, asking: false, wanted: null, turn: Promise.resolve(), busy: 0, hidden: 0, later: false, fresh: null, early: null });
    this.pen = canvas.proposal.getContext("2d");
  }

  /** A pointer went down at a place of the picture. It may be a click, so that its answer is asked for before it is lifted. */
  down(event, point) {
    const takesAway = this.takesAway(event);
    this.pressed = { id: event.pointerId, from: point, screen: [event.clientX, event.clientY], to: null, takesAway };
    if (this.busy) return;
    const group = this.next(), clicks = [...group.clicks, [...point, !takesAway]];
    this.early = { group, clicks: String(clicks), found: this.ask(group, clicks, false).catch(() => null) };
  }

  move(event, point) {
    const pressed = this.pressed;
    if (pressed?.id === event.pointerId) {
      const far = Math.hypot(event.clientX - pressed.screen[0], event.clientY - pressed.screen[1]) > DRAG_PIXELS;
      if (far || pressed.to) { pressed.to = point; this.hide(); }
    } else if (event.pointerType !== "touch") this.hover(point, this.takesAway(event));
    this.canvas.marks();
  }

  up(event) {
    const pressed = this.pressed;
    if (pressed?.id !== event.pointerId) return;
    this.pressed = null;
    if (pressed.to) this.add({ box: boxOf(pressed.from, pressed.to, this.canvas.size()) });
    else this.add({ click: [...pressed.from, !pressed.takesAway] });
  }

  cancel() { this.pressed = null; this.hide(); this.canvas.marks(); }

  takesAway(event) { return this.minus !== (event.altKey || event.button === 2); }

  /** The clicks that belong together; begun anew for another object or frame. */
  current() {
    this.group = this.next();
    this.fresh = null;
    return this.group;
  }

  /** Those that the next click will belong to. */
  next() {
    const { frame, brush, labels } = this.canvas, isOf = (group) => group?.frame === frame() && group.id === brush();
    if (isOf(this.group)) return this.group;
    if (!isOf(this.fresh) || this.fresh.of !== labels())  // others came from the server: an undo, a run
      this.fresh = { of: labels(), frame: frame(), id: brush(), before: labels().slice(), clicks: [], box: null, words: "", undos: [], previous: maskOf(labels(), brush(), this.canvas.size()) };
    return this.fresh;
  }

  /** A click or a box more, after those before it were answered; or words, with which something new begins. */
  add({ click, box, words }) {
    this.clear();
    if (words) this.group = null;
    const group = this.current(), before = group.box;
    if (click) group.clicks.push(click); else if (box) group.box = box; else group.words = words;
    group.undos.push(() => { if (click) group.clicks.pop(); else if (box) group.box = before; });
    this.canvas.marks();
    this.busy++;
    this.turn = this.turn.then(() => this.take(group)).catch((error) => this.canvas.say(String(error))).finally(() => { this.busy--; });
  }

  async take(group) {
    if (group.words && !group.clicks.length) this.canvas.say("Looking for it…", "note");
    let found = await this.answer(group);
    while (found.later && this.group === group) {
      this.canvas.say(found.later, "note");
      this.later = true;
      await new Promise((done) => setTimeout(done, LATER_MS));
      if (this.group === group) found = await this.ask(group, group.clicks, false);
    }
    this.later = false;
    if (this.group !== group) return;
    if (found.refused || !found.width) {
      this.undo();
      this.canvas.say(found.refused ?? "Nothing was found there: click in the middle of the object, or drag a box around it.");
      return;
    }
    const labels = group.before.slice(), { width } = this.canvas.size();
    for (let i = 0; i < labels.length; i++) if (labels[i] === group.id) labels[i] = 0;
    each(await pixelsOf(found), found, width, (place) => { labels[place] = group.id; });
    this.canvas.show(labels);
    this.canvas.commit();
    await this.canvas.settled();  // so that each click is undone by itself
  }

  /** What the clicks of a group mean; asked for already, where the last of them has just come down. */
  async answer(group) {
    const early = this.early;
    this.early = null;
    const isSame = early?.group === group && early.clicks === String(group.clicks);
    return (isSame && await early.found) || this.ask(group, group.clicks, false);
  }

  ask({ box, words, previous }, clicks, quick) {
    const { token, frame, model, ask } = this.canvas;
    return ask({ token: token(), frame: frame(), clicks, box, words, previous: words ? null : previous, quick, model: model() });
  }

  /** Wait no longer for a helper that the server fetches; whether that was so. What it was to answer is forgotten. */
  giveUp() {
    if (!this.later) return false;
    this.later = false;
    this.group = null;
    this.canvas.say("");
    this.canvas.marks();
    return true;
  }

  /** Forget the latest click or box of the group; what it painted is undone by the server. */
  undo() {
    this.group?.undos.pop()?.();
    if (!this.group?.undos.length) this.group = null;
    this.hide();
    this.canvas.marks();
  }

  /** The clicks so far are what was meant: the next one begins another object. */
  end() { const had = Boolean(this.group); this.group = null; this.hide(); this.canvas.marks(); return had; }

  // What a click would take

  async hover(point, takesAway) {
    this.wanted = { point, takesAway };
    if (this.asking || this.busy) return;
    this.asking = true;
    try {
      while (this.wanted && !this.pressed && !this.busy) {
        const wanted = this.wanted, hidden = this.hidden;
        this.wanted = null;
        await this.proposal(wanted, true);
        const rests = !this.wanted && hidden === this.hidden && !this.pressed && !this.busy;
        if (rests) await this.proposal(wanted, false);
      }
    } finally { this.asking = false; }
  }

  /** Show what a click at a place would take, and pause. quick: without a closer look, as long as the pointer moves. */
  async proposal({ point, takesAway }, quick) {
    const begun = performance.now(), hidden = this.hidden;  // one that was hidden meanwhile stays so: the pointer may have left
    const group = this.next(), frame = this.canvas.frame();
    const found = await this.ask(group, [...group.clicks, [...point, !takesAway]], quick);
    if (hidden === this.hidden && !this.pressed && frame === this.canvas.frame()) await this.propose(found, hidden, quick);
    const took = performance.now() - begun;
    await new Promise((done) => setTimeout(done, Math.max(HOVER_MS - took, 0.6 * took)));  // five eighths of a core at most
  }

  get isOn() { return this.on; }

  /** Whether clicks are what the pointer makes now. */
  set isOn(on) { this.on = on; if (!on) { this.group = null; this.pressed = null; this.hide(); } }

  async propose(found, hidden, quick) {
    const { width, height } = this.canvas.size(), paper = this.canvas.proposal;
    if (paper.width !== width || paper.height !== height) Object.assign(paper, { width, height });
    this.pen.clearRect(0, 0, width, height);
    Object.assign(paper.dataset, { pixels: found.width ? 1 : 0, look: "" });  // until it is drawn
    if (!found.width) return;
    const alpha = await pixelsOf(found);
    if (hidden !== this.hidden) return;
    const image = this.pen.createImageData(found.width, found.height), [r, g, b] = this.canvas.color();
    const isIn = (x, y) => x >= 0 && y >= 0 && x < found.width && y < found.height && alpha[y * found.width + x];
    for (let y = 0, i = 0; y < found.height; y++) for (let x = 0; x < found.width; x++, i++) {
      if (!alpha[i]) continue;
      const isEdge = !isIn(x - 2, y) || !isIn(x + 2, y) || !isIn(x, y - 2) || !isIn(x, y + 2);
      image.data.set(isEdge ? [255, 255, 255, 230] : [r, g, b, 70], 4 * i);
    }
    this.pen.putImageData(image, found.left, found.top);
    paper.dataset.look = quick ? "quick" : "closer";
  }

  /** Nothing is proposed, and what is painted may have changed. */
  hide() { this.fresh = null; this.clear(); }

  /** Nothing is proposed. */
  clear() {
    this.hidden++;
    this.wanted = null;
    this.canvas.proposal.dataset.pixels = 0;
    this.pen.clearRect(0, 0, this.canvas.proposal.width, this.canvas.proposal.height);
  }

  /** Marks of the clicks and of a box, for an SVG in pixels of the picture; size: of one on the screen. */
  drawn(size) {
    const group = this.group, box = this.pressed?.to ? boxOf(this.pressed.from, this.pressed.to, this.canvas.size()) : group?.box;
    const parts = box ? [`<rect x="${box[0]}" y="${box[1]}" width="${box[2] - box[0]}" height="${box[3] - box[1]}" class="p-line" stroke-width="${2 * size}"/>`] : [];
    for (const [x, y, of] of group?.clicks ?? [])
      parts.push(`<circle cx="${x}" cy="${y}" r="${5.5 * size}" stroke-width="${2 * size}" class="p-click${of ? "" : " p-away"}"/>`,
        `<path d="M${x - 2.6 * size} ${y}h${5.2 * size}${of ? `M${x} ${y - 2.6 * size}v${5.2 * size}` : ""}" stroke-width="${1.6 * size}" class="p-sign"/>`);
    return parts;
  }
}

/** Left, top, right, bottom of two corners, in the picture. */
export function boxOf([ax, ay], [bx, by], { width, height }) {
  const x = [ax, bx].map((value) => Math.max(0, Math.min(width, value))), y = [ay, by].map((value) => Math.max(0, Math.min(height, value)));
  return [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)];
}

/** Where an object is, as a PNG of the picture's size; null where it is nowhere. */
function maskOf(labels, id, { width, height }) {
  if (!labels.includes(id)) return null;
  const made = Object.assign(document.createElement("canvas"), { width, height });
  const pen = made.getContext("2d"), image = pen.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < labels.length; i++) pixels[i] = labels[i] === id ? 0xff0000ff : 0xff000000;  // red; bytes from the last to the first
  pen.putImageData(image, 0, 0);
  return made.toDataURL("image/png");
}

/** Which pixels of a proposal's part are of it. */
async function pixelsOf(found) {
  const image = new Image();
  image.src = found.mask;
  await image.decode();
  const pen = Object.assign(document.createElement("canvas"), { width: found.width, height: found.height }).getContext("2d");
  pen.drawImage(image, 0, 0);
  return pen.getImageData(0, 0, found.width, found.height).data.filter((_, i) => i % 4 === 0);
}

function each(pixels, { left, top, width }, across, visit) {
  for (let i = 0; i < pixels.length; i++) if (pixels[i]) visit((top + Math.floor(i / width)) * across + left + (i % width));
}
