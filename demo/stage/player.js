// Scrubbing and playing: frames from the reel, with the masks over them, on a canvas above the picture.

import { labelsOf, painted } from "./runs.js";

export class Player {
  /** paper: the canvas; reel; look(): {first, last, rate, colors, opacity}; moved(frame): the playhead went there. */
  constructor(paper, reel, look, moved) {
    Object.assign(this, { paper, reel, look, moved });
    this.pen = paper.getContext("2d");
    this.overlay = document.createElement("canvas");
    this.frame = null;    // that is shown in motion; null while the full picture is
    this.playing = null;  // {frame, since}: where and when (ms) playing began
    this.asked = 0;
    this.shown = 0;       // of `asked`, what was drawn last
    this.draws = 0;
  }

  /** Show a frame at once, in the reel's size, if it is there. */
  show(frame) {
    this.frame = frame;
    const number = ++this.asked;
    this.reel.at(frame);
    this.moved(frame);
    const ready = this.reel.picture(frame);
    if (ready) this.draw(frame, ready, number);
    else this.reel.decode(frame).then((bitmap) => bitmap && number > this.shown && this.frame !== null && this.draw(frame, bitmap, number));
  }

  draw(frame, bitmap, number) {
    const { width, height } = bitmap;
    if (this.paper.width !== width || this.paper.height !== height) Object.assign(this.paper, { width, height });
    this.pen.drawImage(bitmap, 0, 0);
    this.drawMask(frame);
    this.paper.hidden = false;
    this.paper.dataset.frame = frame;
    this.paper.dataset.draws = ++this.draws;
    this.shown = number;
  }

  drawMask(frame) {
    const mask = this.reel.mask(frame);
    if (!mask) return;
    const { width, height } = this.reel, { colors, opacity } = this.look();
    if (this.overlay.width !== width || this.overlay.height !== height) Object.assign(this.overlay, { width, height });
    const pixels = painted(labelsOf(mask.bytes, width * height), width, height, colors, opacity);
    this.overlay.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
    this.pen.drawImage(this.overlay, 0, 0, this.paper.width, this.paper.height);
  }

  /** The same frame again: masks, colours or opacity have changed. */
  again() { if (this.frame !== null && !this.playing) this.show(this.frame); }

  /** The full picture is there: it takes over. */
  rest() {
    this.playing = null;
    this.frame = null;
    this.paper.hidden = true;
  }

  play(frame) {
    const { first, last } = this.look();
    this.playing = { frame: frame >= last ? first : frame, since: null };
    requestAnimationFrame((now) => this.tick(now));
  }

  tick(now) {
    const from = this.playing;
    if (!from) return;
    from.since ??= now;
    const { first, last, rate } = this.look();
    let frame = from.frame + Math.floor(((now - from.since) * rate) / 1000);
    if (frame > last) { this.playing = { frame: first, since: now }; frame = first; }
    if (!this.reel.hasPicture(frame)) {  // not come yet: the clock waits for it
      this.playing = { frame, since: now };
      this.reel.at(frame);
    } else if (frame !== this.frame) this.show(frame);
    requestAnimationFrame((next) => this.tick(next));
  }

  /** Stop playing; returns the frame that is shown. */
  pause() {
    this.playing = null;
    return this.frame;
  }
}
