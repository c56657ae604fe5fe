// Small pictures and masks of all frames: what scrubbing and playing show without asking the server.
//
// Both come in chunks of frames, those around the playhead first, one request at a time; pictures are kept as JPEG up to
// a limit, a few of them decoded. Masks come anew where the server's digest of their chunk has changed.

import { chunksAround, clamp } from "./frames.js";
import { areasOf, bytesOf } from "./runs.js";
import { Shelf } from "./shelf.js";

const KEPT_BYTES = 96e6, DECODED_BYTES = 120e6, AHEAD = 16;

export class Reel {
  /** ask: {pictures({token, chunk}), masks({token, chunk, known})}, both async; arrived(what): "pictures" or "masks". */
  constructor(ask, arrived) {
    Object.assign(this, { ask, arrived });
    this.jpegs = new Shelf(KEPT_BYTES);
    this.bitmaps = new Shelf(DECODED_BYTES, (bitmap) => bitmap.close());
    this.close();
  }

  close() {
    Object.assign(this, { token: null, frame: 0, count: 0, chunk: 1, width: 0, height: 0, busy: {}, failed: {} });
    Object.assign(this, { masks: new Map(), digests: [], wanted: [] });
    this.jpegs.clear();
    this.bitmaps.clear();
  }

  /** about: {token, count, chunk, width, height} as the scene's `reel`. */
  open(about, frame) {
    if (about.token !== this.token) { this.close(); Object.assign(this, about); }
    this.at(frame);
  }

  /** The playhead is here: what is around it comes first. */
  at(frame) {
    this.frame = frame;
    this.fetchPictures();
    this.fetchMasks();
    for (let away = 0; away <= AHEAD; away++) for (const next of [frame + away, frame - away]) this.decode(next);
  }

  /** What the server has: a digest of the masks of each chunk. */
  news(digests) {
    this.wanted = digests;
    this.fetchMasks();
  }

  chunks() { return Math.ceil(this.count / this.chunk); }

  async fetchPictures() {
    if (this.busy.pictures || !this.token) return;
    const token = this.token, room = this.jpegs.size < 0.9 * KEPT_BYTES, own = Math.floor(this.frame / this.chunk);
    const missing = (chunk) => !this.failed[chunk] && !this.jpegs.has(this.firstOf(chunk));
    const next = chunksAround(this.frame, this.chunk, this.chunks()).find((chunk) => missing(chunk) && (room || chunk === own));
    if (next === undefined) return;
    this.busy.pictures = true;
    const found = await this.ask.pictures({ token, chunk: next }).catch(() => null);
    if (token !== this.token) return;
    this.busy.pictures = false;
    if (!found?.frames) this.failed[next] = true;
    else {
      found.frames.forEach((jpeg, i) => {
        const bytes = bytesOf(jpeg);
        this.jpegs.set(this.firstOf(next) + i, bytes, bytes.length);
      });
      this.arrived("pictures");
    }
    this.fetchPictures();
  }

  async fetchMasks() {
    if (this.busy.masks || !this.token) return;
    const token = this.token, isOld = (chunk) => this.wanted[chunk] !== undefined && this.digests[chunk] !== this.wanted[chunk];
    const next = chunksAround(this.frame, this.chunk, this.chunks()).find(isOld);
    if (next === undefined) return;
    this.busy.masks = true;
    const digest = this.wanted[next], known = {};
    for (let frame = this.firstOf(next); frame < Math.min(this.count, this.firstOf(next + 1)); frame++)
      if (this.masks.has(frame)) known[frame] = this.masks.get(frame).version;
    const found = await this.ask.masks({ token, chunk: next, known }).catch(() => null);
    if (token !== this.token) return;
    this.busy.masks = false;
    this.digests[next] = digest;
    if (found?.masks) {
      const gone = found.gone.filter((frame) => this.masks.delete(frame));
      for (const [frame, [version, runs]] of Object.entries(found.masks)) {
        const bytes = bytesOf(runs);
        this.masks.set(Number(frame), { version, bytes, areas: areasOf(bytes) });
      }
      this.arrived("masks", [...gone, ...Object.keys(found.masks).map(Number)]);
    }
    this.fetchMasks();
  }

  firstOf(chunk) { return chunk * this.chunk; }

  /** The mask's {version, bytes, areas} on a frame; undefined where there is none (yet). */
  mask(frame) { return this.masks.get(frame); }

  /** Whether the pictures of all frames are here. */
  isComplete() { return this.count > 0 && this.jpegs.items.size === this.count; }

  hasPicture(frame) { return this.jpegs.has(frame); }

  /** The picture, where it is decoded already. */
  picture(frame) { return this.bitmaps.get(frame); }

  /** Promise of the picture; of null where it has not come yet. */
  async decode(frame) {
    if (frame !== clamp(frame, 0, this.count - 1)) return null;
    const known = this.bitmaps.get(frame);
    if (known) return known;
    const jpeg = this.jpegs.get(frame), token = this.token;
    if (!jpeg) return null;
    const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
    if (token !== this.token) { bitmap.close(); return null; }
    if (!this.bitmaps.has(frame)) this.bitmaps.set(frame, bitmap, 4 * bitmap.width * bitmap.height);
    return this.bitmaps.get(frame);
  }
}
