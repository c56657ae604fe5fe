// The plot follows the pointer and the canvas; whatever names a frame leads there.

const frameAt = (plot, event) => {
  const { first, last } = plot.closest(".timeline").dataset, box = plot.getBoundingClientRect();
  const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  return Math.round(Number(first) + share * (last - first));
};
const place = (frame) => {
  const line = element.querySelector(".timeline"), cursor = element.querySelector(".t-cursor");
  if (!line || frame === undefined) return;
  const { first, last } = line.dataset;
  cursor.style.left = `${100 * (frame - first) / Math.max(1, last - first)}%`;
};
element.addEventListener("click", (event) => {
  const target = event.target.closest("[data-frame]"), plot = event.target.closest(".t-plot");
  if (target) window.xmemGo(Number(target.dataset.frame));
  else if (plot) window.xmemGo(frameAt(plot, event));
});
element.addEventListener("pointermove", (event) => {
  const plot = event.target.closest(".t-plot"), tip = plot?.querySelector(".t-tip");
  if (!tip) return;
  const box = plot.getBoundingClientRect();
  tip.textContent = `Frame ${frameAt(plot, event) + 1}`;
  tip.style.left = `${Math.min(box.width - 40, Math.max(40, event.clientX - box.left))}px`;
});
document.addEventListener("xmem:frame", (event) => place(event.detail));
watch("value", () => place(window.xmemFrame?.()));
