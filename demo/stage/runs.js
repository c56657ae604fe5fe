// Index masks as runs of equal ids, row by row, as `demo/stage/feed.py` writes them: the id as a byte, then the length in
// groups of 7 bits, lowest first, with bit 7 set where another follows.

/** The ids of `count` pixels as Uint8Array; pixels that no run reaches are 0. bytes: Uint8Array. */
export function labelsOf(bytes, count) {
  const labels = new Uint8Array(count);
  let place = 0;
  for (let i = 0; i < bytes.length && place < count;) {
    const id = bytes[i++];
    let length = 0, shift = 0, byte;
    do { byte = bytes[i++] ?? 0; length |= (byte & 127) << shift; shift += 7; } while (byte & 128);
    if (id) labels.fill(id, place, Math.min(count, place + length));
    place += length;
  }
  return labels;
}

/** Pixels of each id that is in the runs: {id: count}, without the background. */
export function areasOf(bytes) {
  const areas = {};
  for (let i = 0; i < bytes.length;) {
    const id = bytes[i++];
    let length = 0, shift = 0, byte;
    do { byte = bytes[i++] ?? 0; length |= (byte & 127) << shift; shift += 7; } while (byte & 128);
    if (id) areas[id] = (areas[id] ?? 0) + length;
  }
  return areas;
}

/** Uint8Array of a text in base64. */
export function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** RGBA (Uint8ClampedArray) of an index mask: fills with `opacity` (0 to 1), outlines nearly solid.
 * colors: [r, g, b] by id; ids without one are not drawn. */
export function painted(labels, width, height, colors, opacity) {
  const pixels = new Uint8ClampedArray(4 * width * height), inside = Math.round(255 * opacity);
  const edge = Math.round(255 * Math.min(1, 2 * opacity));
  for (let y = 0, place = 0; y < height; y++)
    for (let x = 0; x < width; x++, place++) {
      const color = colors[labels[place]];
      if (!color) continue;
      const id = labels[place];
      const isInner = x > 0 && y > 0 && x < width - 1 && y < height - 1 && labels[place - 1] === id
        && labels[place + 1] === id && labels[place - width] === id && labels[place + width] === id;
      const out = 4 * place;
      pixels[out] = color[0]; pixels[out + 1] = color[1]; pixels[out + 2] = color[2];
      pixels[out + 3] = isInner ? inside : edge;
    }
  return pixels;
}
