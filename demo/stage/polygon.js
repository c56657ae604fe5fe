// A polygon by its corners.

const NEAR_PIXELS = 9;  // on the screen: a click there means the corner

export class Polygon {
  /** canvas: what the painter lends: mask() {labels, width, height}, id() that is painted, scale() pixels of the screen by one of
   * the picture, marks(), changed(). */
  constructor(canvas) { Object.assign(this, { canvas, corners: [] }); }

  add(point) {
    const near = ([x, y]) => Math.hypot(x - point[0], y - point[1]) * this.canvas.scale() < NEAR_PIXELS;
    if (this.corners.length >= 3 && near(this.corners[0])) return this.close();
    if (!this.corners.length || !near(this.corners[this.corners.length - 1])) this.corners.push(point);
    this.canvas.marks();
  }

  /** It becomes paint, where it has an inside. */
  close() {
    const { corners } = this, { labels, width, height } = this.canvas.mask();
    this.clear();
    this.canvas.marks();
    if (corners.length < 3) return;
    const made = Object.assign(document.createElement("canvas"), { width, height });
    const pen = made.getContext("2d", { willReadFrequently: true });
    pen.beginPath();
    corners.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.fill("evenodd");
    const alpha = pen.getImageData(0, 0, width, height).data, id = this.canvas.id();
    for (let i = 0; i < labels.length; i++) if (alpha[4 * i + 3] > 127) labels[i] = id;
    this.canvas.changed();
  }

  clear() { this.corners = []; }

  /** As SVG. size: of a pixel of the screen in the picture's; pointer: where the next corner would be. */
  drawn(size, pointer) {
    if (!this.corners.length) return [];
    const line = [...this.corners, ...(pointer ? [pointer] : [])].map(([x, y]) => `${x},${y}`).join(" ");
    return [
      `<polyline points="${line}" class="p-line" stroke-width="${2 * size}"/>`,
      ...this.corners.map(([x, y], i) => `<circle cx="${x}" cy="${y}" r="${(i ? 4 : 6) * size}" stroke-width="${2 * size}" class="p-corner${i ? "" : " p-first"}"/>`),
    ];
  }
}
