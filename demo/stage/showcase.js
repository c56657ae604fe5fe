// The gallery's first piece plays on the empty page while it is in sight, unless the visitor asked for less motion.

const film = element.querySelector("video"), button = element.querySelector("button");
let isWanted = !matchMedia("(prefers-reduced-motion: reduce)").matches;  // until the button says otherwise
let isSeen = false;

function update() {
  if (!isWanted || !isSeen) return film.pause();
  const { root, api_prefix: prefix } = window.gradio_config;
  if (!film.src) film.src = `${root}${prefix}/file=${encodeURI(film.dataset.file)}`;
  film.play().catch(() => {});  // where a browser forbids it, the picture stands still and the button starts it
}

function say() {
  const word = film.paused ? "Play" : "Pause";
  button.setAttribute("aria-label", word);
  button.title = word;
  button.classList.toggle("is-playing", !film.paused);
}

film.muted = true;
for (const event of ["play", "pause"]) film.addEventListener(event, say);
button.addEventListener("click", () => { isWanted = film.paused; update(); });
new IntersectionObserver((entries) => { isSeen = entries.at(-1).isIntersecting; update(); }).observe(film);
