// What is done to an index mask: {labels: Uint8Array [height * width], row by row, width, height}.

/** A round brush goes from one point to another and leaves its id. Returns [left, top, right, bottom] around its way. */
export function dab({ labels, width, height }, from, to, radius, id) {
  const x0 = Math.min(from[0], to[0]) - radius, x1 = Math.max(from[0], to[0]) + radius;
  const y0 = Math.min(from[1], to[1]) - radius, y1 = Math.max(from[1], to[1]) + radius;
  const dx = to[0] - from[0], dy = to[1] - from[1], length = dx * dx + dy * dy || 1;
  for (let y = Math.max(0, Math.floor(y0)); y < Math.min(height, y1 + 1); y++)
    for (let x = Math.max(0, Math.floor(x0)); x < Math.min(width, x1 + 1); x++) {
      const share = Math.max(0, Math.min(1, ((x + 0.5 - from[0]) * dx + (y + 0.5 - from[1]) * dy) / length));
      const ox = x + 0.5 - from[0] - share * dx, oy = y + 0.5 - from[1] - share * dy;
      if (ox * ox + oy * oy <= radius * radius) labels[y * width + x] = id;
    }
  return [x0 - 1, y0 - 1, x1 + 2, y1 + 2];
}

/** Closed outlines become their inside: what a stroke newly encloses and nobody has painted. before: the labels before it.
 * Returns [left, top, right, bottom] around the object, null where there is none. */
export function fillNew(mask, before, id) {
  const { labels, width } = mask, now = enclosed(mask, id), earlier = enclosed({ ...mask, labels: before }, id);
  if (!now) return null;
  for (let i = 0; i < now.inside.length; i++) {
    const place = (now.y + Math.floor(i / now.width)) * width + now.x + (i % now.width);
    if (!now.inside[i] || labels[place] || before[place]) continue;
    if (earlier && earlier.has(place % width, Math.floor(place / width))) continue;
    labels[place] = id;
  }
  return [now.x, now.y, now.x + now.width, now.y + now.height];
}

/** What cannot be reached from outside of the box around an object without crossing it, the object included. */
function enclosed({ labels, width, height }, id) {
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
