// A click on a key frame goes there, its cross removes it: both through the canvas, which does one thing at a time.

element.addEventListener("click", (event) => {
  const go = event.target.closest("[data-go]"), remove = event.target.closest("[data-remove]");
  if (go) window.xmemGo(Number(go.dataset.go));
  if (remove) window.xmemRemoveKey(Number(remove.dataset.remove));
});
