// The list of objects beside the picture: which one is painted, their names and colours, a colour for a new one.

import { rove } from "./rove.js";

export class Objects {
  /** root: the painter's element. canvas: what the painter lends: scene(), isPainted(id), send(name, data), picked() (another
   * object is painted now), begun() (a new one is), seen() (an object was hidden or shown). */
  constructor(root, canvas) {
    Object.assign(this, { root, canvas, brush: 0, fresh: {} });  // id that is painted; colours by id that the server does not know yet
    this.list = root.querySelector(".p-objects");
    this.free = root.querySelector(".p-free");
    this.stops = [
      rove(this.list, ".p-object > *", () => this.list.querySelector(".is-picked .p-swatch"), ".p-object"),
      rove(this.free, "button", () => this.free.querySelector("[aria-pressed=true]")),
    ];
  }

  all() {
    const fresh = ([id, color]) => ({ id: Number(id), color, name: `Object ${id}`, visible: true, fresh: true });
    return [...this.canvas.scene().objects, ...Object.entries(this.fresh).map(fresh)];
  }

  picked() { return this.all().find((item) => item.id === this.brush); }

  freeColors() {
    const used = new Set(this.all().filter((item) => !(item.fresh && !this.canvas.isPainted(item.id))).map((item) => item.color));
    return this.canvas.scene().palette.map((_, i) => i).filter((i) => !used.has(i));
  }

  /** A scene came: what it knows is fresh no more, and something is painted with. */
  adopt() {
    const known = new Set(this.canvas.scene().objects.map((item) => item.id));
    for (const id of Object.keys(this.fresh)) if (known.has(Number(id))) delete this.fresh[id];
    if (known.has(this.brush) || this.brush in this.fresh) return;
    const visible = this.canvas.scene().objects.filter((item) => item.visible);
    if (visible.length) this.brush = visible[0].id; else this.begin(this.freeColors()[0] ?? 0);
  }

  /** What is painted next is a new object. */
  begin(color) {
    const scene = this.canvas.scene();
    for (const id of Object.keys(this.fresh)) if (!this.canvas.isPainted(Number(id))) delete this.fresh[id];
    const taken = [scene.next - 1, ...Object.keys(this.fresh).map(Number), ...scene.objects.map((item) => item.id)];
    this.brush = Math.max(...taken) + 1;
    this.fresh[this.brush] = color;
  }

  /** The visitor chose a colour for a new object. */
  start(color) {
    this.begin(color);
    this.canvas.begun();
    this.draw();
  }

  pick(id) {
    this.brush = id;
    this.canvas.picked();
    this.draw();
  }

  draw() {
    const { list } = this, { scene, isPainted } = this.canvas;
    const shown = scene().objects.concat(this.all().filter((item) => item.fresh && isPainted(item.id)));
    const signature = JSON.stringify([shown, this.brush]);
    if (list.dataset.signature !== signature) {
      list.dataset.signature = signature;
      const focus = document.activeElement?.closest?.(".p-object") ? document.activeElement.dataset.key : null;
      const typed = document.activeElement?.matches?.(".p-name") ? document.activeElement.value : null;
      list.replaceChildren(...shown.map((item) => this.row(item)));
      const again = focus && list.querySelector(`[data-key="${focus}"]`);
      if (again) { again.focus(); if (typed !== null && again.value !== undefined) again.value = typed; }
    }
    this.drawFree(shown.length > 0);
    for (const refresh of this.stops) refresh();
    const item = this.picked();
    this.root.style.setProperty("--brush", item ? scene().palette[item.color][1] : "#888");
  }

  drawFree(hasObjects) {
    const free = this.freeColors(), active = this.fresh[this.brush];
    const focus = this.free.contains(document.activeElement) ? document.activeElement.dataset.color : null;
    this.free.replaceChildren(...free.map((color) => {
      const [name, code] = this.canvas.scene().palette[color];
      const dot = button("p-dot", `Paint a new object in ${name}`, "");
      dot.style.setProperty("--swatch", code);
      dot.dataset.color = color;
      dot.setAttribute("aria-pressed", active === color && !this.canvas.isPainted(this.brush));
      dot.onclick = () => this.start(color);
      return dot;
    }));
    if (focus !== null) (this.free.querySelector(`[data-color="${focus}"]`) ?? this.free.firstChild)?.focus();
    this.root.querySelector(".p-new").hidden = !free.length;
    this.root.querySelector(".p-new-text").textContent = hasObjects ? "New object" : "Colour of the first object";
  }

  row(item) {
    const { scene, send } = this.canvas, [name, code] = scene().palette[item.color];
    const line = document.createElement("div");
    line.className = "p-object" + (item.id === this.brush ? " is-picked" : "") + (item.visible ? "" : " is-hidden");
    line.style.setProperty("--swatch", code);
    line.dataset.id = item.id;
    const swatch = button("p-swatch", `Paint ${item.name}`, "", `s${item.id}`);
    swatch.setAttribute("aria-pressed", item.id === this.brush);
    swatch.onclick = () => this.pick(item.id);
    const label = Object.assign(document.createElement("input"), { className: "p-name", value: item.name, maxLength: 40 });
    label.setAttribute("aria-label", `Name of the ${name} object`);
    label.dataset.key = `n${item.id}`;
    label.disabled = Boolean(item.fresh);
    label.onfocus = () => { if (this.brush !== item.id) this.pick(item.id); };
    label.onchange = () => send("object", { id: item.id, name: label.value });
    label.onkeydown = (event) => { if (event.key === "Enter") label.blur(); };
    const tint = button("p-tint", `Colour of ${item.name}: ${name}`, ICONS.drop, `c${item.id}`);
    tint.onclick = () => this.openPalette(tint, item);
    const eye = button("p-eye", item.visible ? `Hide ${item.name}` : `Show ${item.name}`, item.visible ? ICONS.eye : ICONS.shut, `e${item.id}`);
    eye.setAttribute("aria-pressed", !item.visible);
    eye.onclick = () => {
      const visible = !item.visible;
      Object.assign(scene().objects.find((each) => each.id === item.id) ?? {}, { visible });
      this.canvas.seen();
      send("object", { id: item.id, visible });
      this.draw();
    };
    const bin = button("p-bin", `Delete ${item.name}`, ICONS.bin, `b${item.id}`);
    bin.onclick = () => send("object", { id: item.id, remove: true });
    for (const control of [tint, eye, bin]) control.disabled = Boolean(item.fresh);
    line.append(swatch, label, tint, eye, bin);
    return line;
  }

  openPalette(anchor, item) {
    const open = this.list.querySelector(".p-palette");
    open?.remove();
    if (open?.dataset.id === String(item.id)) return;
    const box = document.createElement("div");
    box.className = "p-palette"; box.dataset.id = item.id;
    box.setAttribute("role", "group"); box.setAttribute("aria-label", `Colours for ${item.name}`);
    this.canvas.scene().palette.forEach(([name, code], color) => {
      const dot = button("p-dot", name, "");
      dot.style.setProperty("--swatch", code);
      dot.setAttribute("aria-pressed", color === item.color);
      dot.onclick = () => { box.remove(); this.canvas.send("object", { id: item.id, color }); };
      box.append(dot);
    });
    anchor.closest(".p-object").after(box);
    box.querySelector("[aria-pressed=true]")?.focus();
    box.onkeydown = (event) => { if (event.key === "Escape") { box.remove(); anchor.focus(); } };
  }
}

function button(kind, label, content, key) {
  const made = document.createElement("button");
  made.type = "button"; made.className = kind; made.title = label; made.innerHTML = content;
  made.setAttribute("aria-label", label);
  if (key) made.dataset.key = key;
  return made;
}

const icon = (path) => `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}"/></svg>`;
const ICONS = {
  eye: icon("M2 12s3.5-6.5 10-6.5S22 12 22 12s-3.5 6.5-10 6.5S2 12 2 12zm10-3a3 3 0 100 6 3 3 0 000-6z"),
  shut: icon("M4 4l16 16M9.5 6A10 10 0 0112 5.500c6.500 0 10 6.500 10 6.500a17 17 0 01-3 3.600M6 7.500A17 17 0 002 12s3.500 6.500 10 6.500a9.500 9.500 0 004-.900"),
  bin: icon("M5 7h14M10 7V4.500h4V7M7 7l1 12.500h8L17 7M10.500 11v5M13.500 11v5"),
  drop: icon("M12 3.500c3.500 4 6 7 6 10a6 6 0 01-12 0c0-3 2.500-6 6-10z"),
};
