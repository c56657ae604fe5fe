// The ends of the trim by keyboard: a slider tells of a new value once a pointer is lifted, a field once it is left, and a
// number beyond the video is refused rather than taken as its end.

const trim = element.closest("#trim");
const steps = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"];

trim.addEventListener("keyup", ({ target, key }) => {
  if (target.type === "range" && steps.includes(key)) target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
  if (target.type === "number" && key === "Enter") target.dispatchEvent(new FocusEvent("blur"));
});

trim.addEventListener("change", ({ target }) => {
  if (target.type !== "number") return;
  const frame = Math.min(Math.max(Math.round(target.value), target.min), target.max);
  if (String(frame) === target.value) return;
  target.value = frame;
  target.dispatchEvent(new Event("input", { bubbles: true }));
});
