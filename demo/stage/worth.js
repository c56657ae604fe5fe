// A click on a frame that is worth checking goes there; "Looks fine" takes it off the list for good.

element.addEventListener("click", (event) => {
  const fine = event.target.closest("[data-fine]"), target = event.target.closest("[data-frame]");
  if (fine) window.xmemDismiss(Number(fine.dataset.fine), Number(fine.dataset.object));
  else if (target) window.xmemGo(Number(target.dataset.frame));
});
