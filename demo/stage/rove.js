// One tab stop for a group of controls: Tab goes past it, arrow keys go within it, Home and End to its ends.

/** group: an element; selector: its controls; stop(): the one that Tab comes to, else the first one that can be used;
 * row: selector of what arrows up and down go between, if any. Returns a function to call when the controls changed. */
export function rove(group, selector, stop = () => null, row = null) {
  group.dataset.rove = "";
  const all = () => [...group.querySelectorAll(selector)].filter((each) => !each.disabled);
  const refresh = () => {
    const found = all(), focused = found.includes(document.activeElement) ? document.activeElement : null;
    const here = focused ?? stop() ?? found[0];
    for (const each of found) each.tabIndex = each === here ? 0 : -1;
  };
  const moves = {
    ArrowRight: (found, place) => found[place + 1],
    ArrowLeft: (found, place) => found[place - 1],
    ArrowDown: (found, place) => beside(found, place, 1),
    ArrowUp: (found, place) => beside(found, place, -1),
    Home: (found) => found[0],
    End: (found) => found.at(-1),
  };
  // The same control of the next row, else its first; without rows the next control.
  const beside = (found, place, direction) => {
    if (!row) return found[place + direction];
    const rows = [...group.querySelectorAll(row)], next = rows[rows.indexOf(found[place].closest(row)) + direction];
    const there = found.filter((each) => next?.contains(each));
    return there.find((each) => each.className === found[place].className) ?? there[0];
  };
  group.addEventListener("keydown", (event) => {
    const found = all().filter((each) => each.getClientRects().length), place = found.indexOf(event.target);
    if (!(event.key in moves) || place < 0 || event.ctrlKey || event.altKey || event.metaKey || stays(event)) return;
    if (!event.target.matches(":focus-visible")) return;  // it was clicked: arrow keys are the frames'
    event.preventDefault();
    moves[event.key](found, place)?.focus();
  });
  for (const name of ["focusin", "focusout"]) group.addEventListener(name, () => queueMicrotask(refresh));
  refresh();
  return refresh;
}

/** Whether a key moves within a text that is being typed. */
function stays({ key, target }) {
  if (target.selectionStart === undefined || target.selectionStart === null || key === "ArrowUp" || key === "ArrowDown") return false;
  const { selectionStart: start, selectionEnd: end, value } = target;
  return key === "ArrowLeft" ? end > 0 && !(start === 0 && end === value.length) : key === "ArrowRight" ? start < value.length && !(start === 0 && end === value.length) : true;
}
