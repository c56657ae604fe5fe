// The memory settings of the model's family: a line for each. Runs in gr.HTML's js_on_load.
//
// The server puts {family, title, settings, values} into props.value (see demo/runs/memory.py); what the visitor sets
// goes back into its `values`, and `trigger("input")` says so.

const root = element.querySelector(".m-root");
let own = null;  // what was sent from here, lest it be drawn again under the visitor's hands

function send(name, value) {
  own = { ...props.value, values: { ...props.value.values, [name]: value } };
  props.value = own;
  trigger("input", {});
}

function make(tag, options = {}, ...children) {
  const made = Object.assign(document.createElement(tag), options);
  made.append(...children);
  return made;
}

function flag(item, value) {
  const box = make("input", { type: "checkbox", checked: value, id: `m-${item.name}` });
  box.onchange = () => send(item.name, box.checked);
  return [box];
}

function number(item, value) {
  const { low: min, high: max, step, name } = item;
  const field = make("input", { type: "number", min, max, step, id: `m-${name}`, value: value ?? "" });
  field.onchange = () => {
    const wanted = field.value === "" ? item.default ?? item.first : Math.min(max, Math.max(min, Math.round(Number(field.value))));
    field.value = wanted;
    send(name, wanted);
  };
  if (!item.none) return [field];
  field.hidden = value === null;
  const all = make("input", { type: "checkbox", checked: value === null, id: `m-${name}-none` });
  all.onchange = () => {
    field.hidden = all.checked;
    field.value ||= item.first;
    send(name, all.checked ? null : Number(field.value));
  };
  return [field, make("label", { htmlFor: all.id, className: "m-none" }, all, item.none)];
}

function line(item, value) {
  const label = make("label", { htmlFor: `m-${item.name}` }, item.label);
  if (item.note) label.append(make("small", {}, item.note));
  const controls = item.flag ? flag(item, value) : number(item, value);
  return make("div", { className: "m-line" }, label, make("span", { className: "m-controls" }, ...controls));
}

function draw(value) {
  if (!value || value === own || JSON.stringify(value) === JSON.stringify(own)) return;
  own = value;
  const reset = make("button", { type: "button", className: "m-reset" }, "Defaults");
  reset.onclick = () => {
    draw({ ...value, values: Object.fromEntries(value.settings.map((item) => [item.name, item.default])) });
    props.value = own;
    trigger("input", {});
  };
  const head = make("p", { className: "m-head" }, `Of ${value.title}, with its paper's symbols`, reset);
  root.replaceChildren(head, ...value.settings.map((item) => line(item, value.values[item.name])));
}

watch("value", () => draw(props.value));
draw(props.value);
