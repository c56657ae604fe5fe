// The page's address carries the key of its session, and this browser remembers the latest sessions.
//
// The server puts {key, name, picture, days} into props.value: key is null on a page without a video, `gone` names one
// that is over. Reload, a copied link and the browser's Back all lead to the address, and the address to the session.

const STORE = "xmem:sessions", MOST = 6, DAY_MS = 86400e3;
const root = element.querySelector(".r-root");
let shown = null;   // the key of what is on the page
let before = null;  // what was on the page before that, to go back to
let days = 7;

const inAddress = () => new URLSearchParams(location.search).get("session");

function addressOf(key) {
  const address = new URL(location.href);
  if (key) address.searchParams.set("session", key); else address.searchParams.delete("session");
  for (const asked of ["gallery", "frame"]) address.searchParams.delete(asked);  // it is open now
  return address;
}

function stored() {
  try {
    const found = JSON.parse(localStorage.getItem(STORE)) ?? [];
    return found.filter((item) => Date.now() - item.time < days * DAY_MS);
  } catch { return []; }  // a browser that keeps nothing
}

function store(items) {
  for (let count = MOST; count > 0; count--) {
    try { localStorage.setItem(STORE, JSON.stringify(items.slice(0, count))); return; } catch { /* too much for it */ }
  }
}

const forget = (key) => store(stored().filter((item) => item.key !== key));

function receive(value) {
  days = value?.days ?? days;
  if (value?.gone) forget(value.gone);
  if (value?.key) {
    const { key, name, picture } = value;
    store([{ key, name, picture, time: Date.now() }, ...stored().filter((item) => item.key !== key)]);
  }
  if (value && "key" in value) show(value.key, Boolean(value.gone));
  draw();
}

function show(key, isGone) {
  if (shown && key !== shown) before = shown;
  const isOther = shown !== null && key !== shown;  // Back leads to it
  shown = key;
  if (inAddress() === key) return;
  history[isOther && !isGone ? "pushState" : "replaceState"](history.state, "", addressOf(key));
}

addEventListener("popstate", () => { if (inAddress() !== shown) location.reload(); });

function ago(time) {
  const minutes = Math.round((Date.now() - time) / 60e3);
  if (minutes < 2) return "just now";
  if (minutes < 60) return `${minutes} minutes ago`;
  const hours = Math.round(minutes / 60);
  if (hours < 36) return hours === 1 ? "1 hour ago" : `${hours} hours ago`;
  return `${Math.round(hours / 24)} days ago`;
}

const made = (tag, properties, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

function draw() {
  const items = stored().filter((item) => item.key !== shown);
  const back = before && items.find((item) => item.key === before);
  const parts = [];
  if (back) parts.push(made("a", { className: "r-back", href: addressOf(back.key) }, `← Back to ${back.name}`));
  if (!shown && items.length) {
    const list = made("ul", { ariaLabel: "Recent work" }, ...items.map(entry));
    parts.push(made("p", { className: "group" }, "Go on with…"), list);
  }
  root.replaceChildren(...parts);
}

function entry(item) {
  const words = made("span", {}, made("b", {}, item.name), ago(item.time));
  const link = made("a", { href: addressOf(item.key) }, made("img", { src: item.picture, alt: "" }), words);
  const remove = made("button", { type: "button", title: "Take it off this list", ariaLabel: `Forget ${item.name}` }, "×");
  remove.addEventListener("click", () => { forget(item.key); draw(); });
  return made("li", {}, link, remove);
}

watch("value", () => receive(props.value));
const asked = new URLSearchParams(location.search);  // until it is there, nothing else is offered
if (asked.has("session") || asked.has("gallery")) root.replaceChildren(made("p", { className: "message r-coming", role: "status" }, asked.has("session") ? "Bringing your work back…" : "Opening it…"));
else receive(props.value);
