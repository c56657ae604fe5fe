// Runs before Gradio. Its picture of loading has a clock, which goes on behind the page when that is long there, and has
// the browser draw sixty times a second for nobody (Gradio 6.31): clocks are read five times a second.
(() => {
  const draw = window.requestAnimationFrame.bind(window);
  const isClock = (work) => !work.length && /^\(\)=>\{.{0,40}performance\.now\(\)-/.test(work);
  window.requestAnimationFrame = (work) => (isClock(work) ? setTimeout(work, 200) : draw(work));
})();
