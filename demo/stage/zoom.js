// The picture's zoom: buttons, Ctrl and wheel, two fingers. The view scrolls, the stage inside it is larger than it.

import { clamp } from "./frames.js";

export const MOST = 8;

export class Zoom {
  /** changed(factor): after each change. */
  constructor(view, stage, changed) {
    Object.assign(this, { view, stage, changed, factor: 1 });
    view.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.by(Math.exp(-event.deltaY * 0.0025), event.clientX, event.clientY);
    }, { passive: false });
  }

  /** Zoom so that what is at (x, y) of the screen stays there; the middle of the view without them. */
  by(factor, x, y) {
    const box = this.view.getBoundingClientRect(), inner = this.stage.getBoundingClientRect();
    x ??= box.left + box.width / 2;
    y ??= box.top + box.height / 2;
    const across = (x - inner.left) / inner.width, down = (y - inner.top) / inner.height;
    this.to(this.factor * factor);
    this.place(across, down, x, y);
  }

  to(factor) {
    this.factor = clamp(factor, 1, MOST);
    this.stage.style.width = `${100 * this.factor}%`;
    this.view.classList.toggle("is-zoomed", this.factor > 1);
    this.changed(this.factor);
  }

  /** Scroll so that the point at these shares of the picture is at (x, y) of the screen. */
  place(across, down, x, y) {
    const box = this.view.getBoundingClientRect();
    this.view.scrollLeft = across * this.stage.offsetWidth - (x - box.left);
    this.view.scrollTop = down * this.stage.offsetHeight - (y - box.top);
  }
}

/** Two fingers as one gesture. begin: where they went down; returns what `move` of each new place means. */
export function pinch(zoom, begin) {
  const middle = ([a, b]) => [(a.x + b.x) / 2, (a.y + b.y) / 2], apart = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y) || 1;
  const inner = zoom.stage.getBoundingClientRect(), [x, y] = middle(begin), factor = zoom.factor, distance = apart(begin);
  const across = (x - inner.left) / inner.width, down = (y - inner.top) / inner.height;
  return (now) => {
    zoom.to((factor * apart(now)) / distance);
    zoom.place(across, down, ...middle(now));
  };
}
