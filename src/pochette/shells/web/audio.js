/* Waking the audio thread and talking with it. All sound is made there, in voice.js, polyphony.js and processor.js. */
"use strict";

const byId = (id) => document.getElementById(id);
const config = JSON.parse(byId("config").textContent);
const wasm = Uint8Array.from(atob(byId("wasm").textContent), (letter) => letter.charCodeAt(0)).buffer;

let context = null;
let node = null;
let scopeTap = null;
let spectrumTap = null;
let waking = null;
const unanswered = new Map();
const changed = new Map();
let questions = 0;

function wake() {
  waking ??= openAudio().catch((error) => {
    waking = null;
    say("failed", error.message);
    throw error;
  });
  if (context?.state === "suspended") context.resume();
  return waking;
}

async function openAudio() {
  say("waking", "");
  if (!globalThis.AudioContext) throw new Error("this browser has no Web Audio");
  try {
    context = new AudioContext({ sampleRate: config.sample_rate_hz, latencyHint: "interactive" });
  } catch {
    context = new AudioContext({ latencyHint: "interactive" });
  }
  if (!context.audioWorklet) throw new Error("this browser has no AudioWorklet");
  await loadWorklet();
  node = new AudioWorkletNode(context, "pochette", {
    numberOfInputs: 0,
    outputChannelCount: [1],
    processorOptions: { wasm, config: { ...config, worklet: "" } },
  });
  const ready = new Promise((resolve, reject) => {
    node.onprocessorerror = () => reject(new Error("the engine does not start"));
    node.port.onmessage = ({ data }) => (data.kind === "ready" ? resolve() : heard(data));
  });
  scopeTap = new AnalyserNode(context, { fftSize: 4096, smoothingTimeConstant: 0 });
  spectrumTap = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0.6, minDecibels: -100 });
  node.connect(scopeTap).connect(spectrumTap).connect(context.destination);
  await ready;
  node.onprocessorerror = () => say("failed", "the engine stopped");
  await context.resume();
  for (const [name, value] of changed) node.port.postMessage({ kind: "set", name, value });
  document.body.classList.add("awake");
  const exact = context.sampleRate === config.sample_rate_hz;
  say("awake", exact ? `${config.sample_rate_hz / 1000} kHz` : `resampled to ${context.sampleRate / 1000} kHz`);
  openMidi();
}

/* A page opened from disk has no origin, and Chromium then gives the audio thread nothing but data: addresses; for a
   browser that wants it the other way round there is the blob. */
async function loadWorklet() {
  try {
    await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(config.worklet)}`);
  } catch {
    const url = URL.createObjectURL(new Blob([config.worklet], { type: "text/javascript" }));
    await context.audioWorklet.addModule(url);
    URL.revokeObjectURL(url);
  }
}

function say(state, detail) {
  byId("state").textContent = state;
  byId("lamp").dataset.state = state;
  byId("state").title = detail;
  if (state === "failed") byId("start").firstElementChild.textContent = detail;
}

function heard(data) {
  if (data.kind === "answer") {
    unanswered.get(data.id)?.(data.audio);
    unanswered.delete(data.id);
  } else if (data.kind === "failed") {
    say("failed", data.why);
  } else if (data.kind === "stats") {
    byId("load").textContent = `${(100 * data.load).toFixed(data.load < 0.1 ? 1 : 0)} %`;
    byId("load-label").title = "time spent making audio, as a share of the time it lasts; mean of the last second";
    byId("sounding").textContent = data.sounding;
    pochette.stats = data;
  }
}

async function send(message) {
  await wake();
  node.port.postMessage(message);
}

async function ask(message) {
  await wake();
  const id = ++questions;
  const answer = new Promise((resolve) => unanswered.set(id, resolve));
  node.port.postMessage({ ...message, id });
  return answer;
}

globalThis.pochette = {
  ready: Promise.resolve(config.name),
  config,
  stats: null,
  start: wake,
  noteOn: (note, touch = 96) => noteOn(note, touch, "script"),
  noteOff: (note) => noteOff(note, "script"),
  setControl: (name, value) => (knobs.has(name) ? knobs.get(name).set(value) : send({ kind: "set", name, value })),
  send,
  midi,
  panic,
  /** What is heard in the next seconds. */
  capture: (seconds) => ask({ kind: "capture", samples: Math.round(seconds * context.sampleRate) }),
  /** The engine alone on rows of controls. */
  frames: (rows) => ask({ kind: "frames", rows }),
  /** A score of [sample, message], faster than it sounds. */
  perform: (events, samples, voices = 8) => ask({ kind: "perform", events, samples, voices }),
  /** Seconds of work for so many seconds of so many voices. */
  measure: async (voices, seconds) => {
    const samples = Math.round(seconds * config.sample_rate_hz);
    return (await ask({ kind: "measure", voices, samples }))[0];
  },
};
