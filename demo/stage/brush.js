// Strokes of brush and eraser.

import { dab, fillNew } from "./masks.js";

export class Brush {
  /** canvas: what the painter lends: mask() {labels, width, height}, id() that is painted, erases(), redraw(...box), show(labels). */
  constructor(canvas) { Object.assign(this, { canvas, radius: 8, fill: true, stroke: null }); }

  /** top: of the canvas on the screen. */
  down(event, point, top) {
    this.stroke = { last: point, before: this.canvas.mask().labels.slice(), pointer: event.pointerId, top };
    this.to(point);
  }

  /** at(event): its point on the picture; also those since the last event count. */
  move(event, at) {
    const stroke = this.stroke;
    if (stroke?.pointer !== event.pointerId) return;
    const from = stroke.last, point = at(event);
    for (const each of event.getCoalescedEvents?.() ?? []) this.to(at(each));
    this.to(point);
    stroke.moved ||= Math.hypot(point[0] - from[0], point[1] - from[1]) > 0.5;
  }

  to(point) {
    const { mask, erases, id, redraw } = this.canvas;
    redraw(...dab(mask(), this.stroke.last, point, this.radius, erases() ? 0 : id()));
    this.stroke.last = point;
  }

  /** The stroke is complete. Returns it, null where there was none. */
  finish() {
    const stroke = this.stroke, { mask, erases, id, redraw } = this.canvas;
    this.stroke = null;
    if (stroke && this.fill && !erases()) {
      const box = fillNew(mask(), stroke.before, id());
      if (box) redraw(...box);
    }
    return stroke;
  }

  /** As if it had not begun. */
  cancel() {
    const stroke = this.stroke;
    this.stroke = null;
    if (stroke) this.canvas.show(stroke.before);
  }
}
