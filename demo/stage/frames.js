// Arithmetic of frames. They count from 0 here and from 1 where people read them.

export const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

/** "0:03.48" of seconds. */
export function clock(seconds) {
  const hundredths = Math.round(seconds * 100), two = (value) => String(value).padStart(2, "0");
  return `${Math.floor(hundredths / 6000)}:${two(Math.floor(hundredths / 100) % 60)}.${two(hundredths % 100)}`;
}

/** The frame at a place of the timeline; share: 0 to 1 of its width. */
export const frameAt = (share, first, last) => first + Math.round(clamp(share, 0, 1) * (last - first));

/** The place of a frame on the timeline, in percent of its width. */
export const placeOf = (frame, first, last) => (last > first ? (100 * (frame - first)) / (last - first) : 50);

/** What a text that people typed means as a frame (from 0); NaN for what is no number. */
export function typedFrame(text, first, last) {
  const number = Number.parseInt(text, 10);
  return Number.isNaN(number) ? NaN : clamp(number - 1, first, last);
}

/** The entry of `frames` (ascending) next to `frame` in a direction (1 or -1); null where there is none. */
export function neighbour(frames, frame, direction) {
  const found = frames.filter((other) => (direction > 0 ? other > frame : other < frame));
  if (!found.length) return null;
  return direction > 0 ? found[0] : found[found.length - 1];
}

/** Chunks 0..count-1 by their distance from that of `frame`, the nearest first, those ahead before those behind. */
export function chunksAround(frame, chunk, count) {
  const own = clamp(Math.floor(frame / chunk), 0, count - 1), order = [own];
  for (let away = 1; away < count; away++) {
    if (own + away < count) order.push(own + away);
    if (own - away >= 0) order.push(own - away);
  }
  return order;
}
