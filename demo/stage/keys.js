// Keys, everywhere on the page but where text is typed.

const TOOLS = { b: "brush", e: "erase", p: "polygon", c: "click" };
const TYPED = "input:not([type=range]):not([type=checkbox]):not([type=radio]):not([type=button]), textarea, select, [contenteditable], [role=listbox], video";
const PRESSED = "button, a, summary, input[type=checkbox], input[type=radio], [role=tab]";  // Space and Enter are theirs
const SLID = "input[type=range], [role=tab], [role=radio], input[type=radio]";  // arrow keys are theirs
const ROVED = "[data-rove] :focus-visible";  // also theirs, where Tab led there

/** What a key means: [name, argument] of `actions` of `onKeys`; null for none. pressed: {key, shift, ctrl, isPressed, isSlid},
 * the latter two of what has the focus. */
export function meaning({ key, shift, ctrl, isPressed, isSlid }) {
  const low = key.toLowerCase();
  if (ctrl) return low === "z" ? ["undo", shift] : low === "y" ? ["undo", true] : null;
  if (low === "arrowleft" || low === "arrowright") return isSlid ? null : ["step", (low === "arrowleft" ? -1 : 1) * (shift ? 10 : 1)];
  if (key === " ") return isPressed ? null : ["play"];
  if (key === "Enter") return isPressed ? null : ["close"];
  if (key === "Escape") return ["escape"];
  if (key === "?") return ["help"];
  if (key === ",") return ["key", -1];
  if (key === ".") return ["key", 1];
  if (low === "n") return ["doubt", shift ? -1 : 1];
  if (low === "a") return ["accept"];
  if (key === "[" || key === "]") return ["size", key === "]"];
  if (key === "+" || key === "=") return ["zoom", 1.5];
  if (key === "-") return ["zoom", 1 / 1.5];
  if (key === "0") return ["zoom", 0];
  if (key >= "1" && key <= "8") return ["object", Number(key)];
  return low in TOOLS && !shift ? ["tool", TOOLS[low]] : null;
}

/** actions: functions by the names that `meaning` gives, and isReady(). Ends with the element. */
export function onKeys(element, actions) {
  const pressed = (event) => {
    if (!element.isConnected) return document.removeEventListener("keydown", pressed, true);
    const target = event.target.closest ? event.target : document.body;
    if (!actions.isReady() || target.closest(TYPED) || event.altKey) return;
    const found = meaning({
      key: event.key, shift: event.shiftKey, ctrl: event.ctrlKey || event.metaKey,
      isPressed: Boolean(target.closest(PRESSED)), isSlid: Boolean(target.closest(SLID)) || target.matches(ROVED),
    });
    if (!found || (document.querySelector("dialog[open]") && found[0] !== "help")) return;
    if (found[0] !== "escape" && found[0] !== "close") event.preventDefault();
    if (found[0] === "undo") event.stopPropagation();
    actions[found[0]](...found.slice(1));
  };
  document.addEventListener("keydown", pressed, true);
}
