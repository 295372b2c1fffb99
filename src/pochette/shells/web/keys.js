/* Notes from the computer keyboard, from mouse and fingers on the drawn piano, and from MIDI. */
"use strict";

const NOTES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "G♯", "A", "B♭", "B"];
const noteName = (note) => `${NOTES[note % 12]}${Math.floor(note / 12) - 1}`;
const isBlack = (note) => [1, 3, 6, 8, 10].includes(note % 12);

const sounding = new Map(); // note -> who holds it, so that two hands on one key do not cut each other

function noteOn(note, velocity, holder = "hand") {
  if (note < 0 || note > 127) return;
  const holders = sounding.get(note) ?? new Set();
  sounding.set(note, holders.add(holder));
  press(note, true);
  send({ kind: "note_on", number: note, value: velocity });
}

function noteOff(note, holder = "hand") {
  const holders = sounding.get(note);
  if (!holders?.delete(holder) || holders.size) return;
  sounding.delete(note);
  press(note, false);
  send({ kind: "note_off", number: note });
}

function panic() {
  for (const note of sounding.keys()) press(note, false);
  sounding.clear();
  held.clear();
  touches.clear();
  if (node) send({ kind: "panic" });
}

function press(note, down) {
  byId(`key-${note}`)?.classList.toggle("down", down);
}

const CODES = ["KeyA", "KeyW", "KeyS", "KeyE", "KeyD", "KeyF", "KeyT", "KeyG", "KeyY", "KeyH", "KeyU", "KeyJ", "KeyK"]
  .concat(["KeyO", "KeyL", "KeyP", "Semicolon", "Quote"]);
const held = new Map();
const range = (config.pitch_range_hz ?? [130, 1050]).map((hz) => 69 + 12 * Math.log2(hz / 440));
let typedBase = Math.min(Math.max(12 * Math.round(((range[0] + range[1]) / 2 - 7) / 12), 24), 84); // the note of KeyA
let base = null; // lowest key shown, a C
let velocity = 96;

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onKnob = document.activeElement?.classList.contains("knob");
  const step = CODES.indexOf(event.code);
  if (step >= 0) {
    if (!event.repeat && !held.has(event.code)) {
      held.set(event.code, typedBase + step);
      noteOn(typedBase + step, velocity, event.code);
    }
  } else if (event.code === "KeyZ" || (event.code === "ArrowLeft" && !onKnob)) shift(-12);
  else if (event.code === "KeyX" || (event.code === "ArrowRight" && !onKnob)) shift(12);
  else if (event.code === "KeyC" || event.code === "KeyV") setVelocity(velocity + (event.code === "KeyC" ? -8 : 8));
  else if (event.code === "Escape") panic();
  else if (event.code === "Space" && document.activeElement?.tagName !== "BUTTON") {
    if (!event.repeat) send({ kind: "control_change", number: 64, value: 127 });
  } else return;
  event.preventDefault();
});

addEventListener("keyup", (event) => {
  if (held.has(event.code)) {
    noteOff(held.get(event.code), event.code);
    held.delete(event.code);
  } else if (event.code === "Space" && node) send({ kind: "control_change", number: 64, value: 0 });
});

/* A window that loses the keyboard never hears the key go up. */
addEventListener("blur", () => {
  for (const [code, note] of held) noteOff(note, code);
  held.clear();
});

function setVelocity(value) {
  velocity = Math.min(Math.max(value, 8), 127);
  byId("velocity").textContent = velocity;
}

function shift(semitones) {
  const next = Math.min(Math.max(base + semitones, 12), 96);
  typedBase += next - base;
  base = next;
  drawPiano();
}

const piano = byId("piano");
const touches = new Map(); // pointer -> note

function octavesThatFit() {
  return Math.min(Math.max(Math.floor(piano.clientWidth / 290), 1), 4);
}

function drawPiano() {
  const octaves = octavesThatFit();
  base ??= typedBase - 12 * Math.floor(octaves / 2);
  const last = base + 12 * octaves;
  const [low, high] = config.pitch_range_hz ? range : [0, 127];
  const white = 100 / (7 * octaves + 1);
  let whites = 0;
  piano.replaceChildren();
  for (let note = base; note <= last; note++) {
    const key = document.createElement("div");
    key.id = `key-${note}`;
    key.dataset.note = note;
    key.setAttribute("role", "button");
    key.setAttribute("aria-label", noteName(note));
    key.className = `key ${isBlack(note) ? "black" : "white"}`;
    if (note < low - 0.5 || note > high + 0.5) key.classList.add("beyond");
    key.style.left = `${isBlack(note) ? whites * white - 0.29 * white : whites++ * white}%`;
    key.style.width = `${isBlack(note) ? 0.58 * white : white}%`;
    key.append(label("name", note % 12 === 0 ? noteName(note) : NOTES[note % 12]));
    const typed = CODES[note - typedBase];
    if (typed) key.append(label("typed", { Semicolon: ";", Quote: "'" }[typed] ?? typed.slice(3)));
    key.classList.toggle("down", sounding.has(note));
    piano.append(key);
  }
  byId("range").textContent = `${noteName(base)} – ${noteName(last)}`;
}

function label(kind, text) {
  const span = document.createElement("span");
  span.className = kind;
  span.textContent = text;
  return span;
}

function keyUnder(event) {
  const key = document.elementFromPoint(event.clientX, event.clientY)?.closest(".key");
  if (!key) return null;
  const box = key.getBoundingClientRect();
  const depth = (event.clientY - box.top) / box.height; // the front of a key has the longer lever
  return { note: Number(key.dataset.note), velocity: Math.round(30 + 97 * Math.min(Math.max(depth, 0), 1)) };
}

function touch(event) {
  const found = keyUnder(event);
  const before = touches.get(event.pointerId);
  if (found?.note === before) return;
  if (before !== undefined) noteOff(before, event.pointerId);
  touches.delete(event.pointerId);
  if (!found) return;
  touches.set(event.pointerId, found.note);
  noteOn(found.note, found.velocity, event.pointerId);
}

piano.addEventListener("pointerdown", (event) => {
  if (event.button > 0) return;
  event.preventDefault();
  piano.setPointerCapture(event.pointerId);
  touch(event);
});
piano.addEventListener("pointermove", (event) => touches.has(event.pointerId) && touch(event));
for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
  piano.addEventListener(end, (event) => {
    noteOff(touches.get(event.pointerId), event.pointerId);
    touches.delete(event.pointerId);
  });
}
piano.addEventListener("contextmenu", (event) => event.preventDefault());
byId("down").addEventListener("click", () => shift(-12));
byId("up").addEventListener("click", () => shift(12));
byId("panic").addEventListener("click", panic);
byId("start").addEventListener("click", () => wake().catch(() => {}));
new ResizeObserver(drawPiano).observe(piano);

async function openMidi() {
  const tell = (text) => (byId("midi").textContent = text);
  if (!navigator.requestMIDIAccess) return tell("no MIDI in this browser");
  try {
    const access = await navigator.requestMIDIAccess();
    const listen = () => {
      const inputs = [...access.inputs.values()];
      for (const input of inputs) input.onmidimessage = ({ data }) => midi(data);
      tell(inputs.length ? inputs.map((input) => input.name).join(", ") : "no MIDI keyboard");
    };
    access.onstatechange = listen;
    listen();
  } catch {
    tell("MIDI not allowed");
  }
}

function midi([status, first, second = 0]) {
  const kind = status >> 4;
  if (kind === 9 && second > 0) noteOn(first, second, "midi");
  else if (kind === 8 || kind === 9) noteOff(first, "midi");
  else if (kind === 14) send({ kind: "pitch_bend", value: (first + 128 * second - 8192) / 8192 });
  else if (kind === 11) {
    const name = config.patch_ccs[first] ?? turned[config.knob_ccs.indexOf(first)]?.name;
    const knob = knobs.get(name);
    if (knob) knob.set(fromKnob(knob.control, second / 127));
    else send({ kind: "control_change", number: first, value: second });
  }
}
