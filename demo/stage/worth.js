// A click on a frame that is worth checking goes there.

element.addEventListener("click", (event) => {
  const target = event.target.closest("[data-frame]");
  if (target) window.xmemGo(Number(target.dataset.frame));
});
