/* One knob a control: drag, wheel, keys, double-click. */
"use strict";

const knobs = new Map();

function toKnob(control, value) {
  if (control.curve === "logarithmic") return Math.log(value / control.low) / Math.log(control.high / control.low);
  return (value - control.low) / (control.high - control.low);
}

function fromKnob(control, position) {
  const at = Math.min(Math.max(position, 0), 1);
  if (control.curve === "logarithmic") return control.low * (control.high / control.low) ** at;
  return control.low + (control.high - control.low) * at;
}

function spell(control, value) {
  const unit = control.unit === "cents" ? "ct" : control.unit;
  if (control.unit === "s" && value < 1) return `${(1000 * value).toFixed(0)} ms`;
  const span = Math.max(Math.abs(control.low), Math.abs(control.high));
  const digits = span >= 200 ? 0 : span >= 20 ? 1 : 2;
  return `${value.toFixed(digits)}${unit ? ` ${unit}` : ""}`;
}

function makeKnob(control) {
  const knob = document.createElement("div");
  knob.className = "knob";
  knob.tabIndex = 0;
  const title = control.name.replace(/_(s|hz|db|cents)$/, "").replaceAll("_", " ");
  const range = { role: "slider", "aria-valuemin": control.low, "aria-valuemax": control.high };
  for (const [name, value] of Object.entries({ ...range, "aria-label": title })) knob.setAttribute(name, value);
  knob.title = `${control.help || title}\ndouble-click: ${spell(control, control.default)}`;
  const dial = document.createElement("span");
  dial.className = "dial";
  dial.append(label("cap", ""));
  const reading = label("value", "");
  knob.append(dial, label("title", title), reading);

  let value = control.default;
  const show = () => {
    const position = toKnob(control, value);
    knob.style.setProperty("--arc", `${270 * position}deg`);
    knob.style.setProperty("--turn", `${270 * position - 135}deg`);
    reading.textContent = spell(control, value);
    knob.setAttribute("aria-valuenow", value);
    knob.setAttribute("aria-valuetext", spell(control, value));
  };
  const set = (next, tell = true) => {
    value = Math.min(Math.max(next, control.low), control.high);
    changed.set(control.name, value);
    show();
    if (tell && node) node.port.postMessage({ kind: "set", name: control.name, value });
  };
  const turn = (by) => set(fromKnob(control, toKnob(control, value) + by));
  turnable(knob, turn, () => set(control.default), (position) => set(fromKnob(control, position)));
  show();
  knobs.set(control.name, { control, set });
  return knob;
}

/** Drag, wheel, keys and double-click. */
function turnable(knob, turn, reset, go) {
  let grabbed = null;
  knob.addEventListener("pointerdown", (event) => {
    knob.setPointerCapture(event.pointerId);
    grabbed = { x: event.clientX, y: event.clientY };
  });
  knob.addEventListener("pointermove", (event) => {
    if (!grabbed) return;
    const travel = grabbed.y - event.clientY + (event.clientX - grabbed.x);
    grabbed = { x: event.clientX, y: event.clientY };
    turn(travel / (event.shiftKey ? 1200 : 200));
  });
  knob.addEventListener("lostpointercapture", () => (grabbed = null));
  knob.addEventListener("dblclick", reset);
  knob.addEventListener("wheel", (event) => {
    event.preventDefault();
    turn(-Math.sign(event.deltaY) * (event.shiftKey ? 0.005 : 0.03));
  }, { passive: false });
  const steps = { ArrowUp: 0.02, ArrowRight: 0.02, ArrowDown: -0.02, ArrowLeft: -0.02, PageUp: 0.1, PageDown: -0.1 };
  knob.addEventListener("keydown", (event) => {
    if (event.code in steps) turn(steps[event.code]);
    else if (event.code === "Home") go(0);
    else if (event.code === "End") go(1);
    else if (event.code === "Backspace" || event.code === "Delete") reset();
    else return;
    event.preventDefault();
  });
}

const turned = config.controls.filter((control) => !config.played.includes(control.name));
byId("engine-knobs").append(...turned.map(makeKnob));
byId("engine-knobs").hidden = turned.length === 0;
byId("patch-knobs").append(...config.patch.filter((control) => control.name !== "glide_s").map(makeKnob));
