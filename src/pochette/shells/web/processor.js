/* What the browser calls for audio, and what the page may ask of the audio thread. */
"use strict";

/** Plays a score faster than it sounds: pairs of sample and message, in order. */
function perform(module, config, voices, events, samples) {
  const player = new Polyphony(module, config, voices);
  const audio = new Float32Array(samples);
  let done = 0;
  for (const [at, message] of [...events, [samples, { kind: "none" }]]) {
    for (; done < at; done = Math.min(done + 4800, at)) player.render(audio.subarray(done, Math.min(done + 4800, at)));
    player.apply(message);
  }
  return audio;
}

/** The engine alone on a curve of controls, one row a frame. */
function frames(module, config, rows) {
  const runner = new Runner(module, config.block_samples);
  const audio = new Float32Array(rows.length * config.hop_samples);
  rows.forEach((row, index) => runner.process(row, audio, index * config.hop_samples, config.hop_samples));
  return audio;
}

/** Chords that would exceed full scale are rounded off above the knee; what is not a number is silence. */
function softened(sample, knee) {
  if (!Number.isFinite(sample)) return 0;
  const over = Math.abs(sample) - knee;
  if (over <= 0) return sample;
  return Math.sign(sample) * (knee + (1 - knee) * Math.tanh(over / (1 - knee)));
}

/* The page's clock is not to be had in every audio thread; Date.now counts whole milliseconds, and its mean over many
   blocks is still right. */
const now = globalThis.performance?.now ? () => globalThis.performance.now() : () => Date.now();

class PochetteProcessor extends AudioWorkletProcessor {
  constructor({ processorOptions: { wasm, config } }) {
    super();
    this.config = config;
    this.module = new WebAssembly.Module(wasm);
    this.player = new Polyphony(this.module, config, config.voices);
    this.step = config.sample_rate_hz / sampleRate;
    Object.assign(this, { before: 0, after: 0, between: 1, pulled: 128, source: new Float32Array(128) });
    Object.assign(this, { worked: 0, blocks: 0, recording: null, failed: false });
    this.port.onmessage = ({ data }) => this.receive(data);
    this.port.postMessage({ kind: "ready" });
  }

  receive(message) {
    const { config, module, port } = this;
    const answer = (audio) => port.postMessage({ kind: "answer", id: message.id, audio }, [audio.buffer]);
    if (message.kind === "capture") {
      this.recording = { id: message.id, audio: new Float32Array(message.samples), filled: 0 };
    } else if (message.kind === "frames") {
      answer(frames(module, config, message.rows));
    } else if (message.kind === "perform") {
      answer(perform(module, config, message.voices, message.events, message.samples));
    } else if (message.kind === "measure") {
      const strike = (number) => [0, { kind: "note_on", number, value: 90 }];
      const events = Array.from({ length: message.voices }, (_, index) => strike(48 + index));
      const began = now();
      perform(module, config, message.voices, events, message.samples);
      answer(Float32Array.of((now() - began) / 1000));
    } else {
      this.player.apply(message);
    }
  }

  process(_, [[out]]) {
    const began = now();
    try {
      if (!this.failed) this.fill(out);
    } catch (error) {
      this.failed = true;
      out.fill(0);
      this.port.postMessage({ kind: "failed", why: String(error) });
    }
    this.record(out);
    this.worked += now() - began;
    this.blocks += 1;
    if (this.blocks * out.length >= sampleRate) this.tell(out.length);
    return true;
  }

  fill(out) {
    if (this.step === 1) {
      this.player.render(out);
    } else {
      /* A browser that refuses the engine's rate: straight lines between samples. */
      for (let index = 0; index < out.length; index++) {
        for (; this.between >= 1; this.between -= 1) {
          this.before = this.after;
          this.after = this.pull();
        }
        out[index] = this.before + (this.after - this.before) * this.between;
        this.between += this.step;
      }
    }
    for (let index = 0; index < out.length; index++) out[index] = softened(out[index], this.config.constants.KNEE);
  }

  pull() {
    if (this.pulled === this.source.length) {
      this.player.render(this.source);
      this.pulled = 0;
    }
    return this.source[this.pulled++];
  }

  record(out) {
    const tape = this.recording;
    if (!tape) return;
    const count = Math.min(out.length, tape.audio.length - tape.filled);
    tape.audio.set(out.subarray(0, count), tape.filled);
    tape.filled += count;
    if (tape.filled < tape.audio.length) return;
    this.port.postMessage({ kind: "answer", id: tape.id, audio: tape.audio }, [tape.audio.buffer]);
    this.recording = null;
  }

  tell(blockSamples) {
    const load = this.worked / ((1000 * this.blocks * blockSamples) / sampleRate);
    const sounding = this.player.voices.filter((voice) => voice.active).length;
    this.port.postMessage({ kind: "stats", load, sounding });
    Object.assign(this, { worked: 0, blocks: 0 });
  }
}

registerProcessor("pochette", PochetteProcessor);
