/* One voice in the audio thread: the engine in WebAssembly, played by the same rules as
   pochette.instrument.voice in Python (same names, same order, same constants).
   A test plays one score in both and compares the samples. */
"use strict";

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function clampControl(control, value) {
  return Number.isNaN(value) ? control.default : clamp(value, control.low, control.high);
}

function fromKnob(control, position) {
  const at = clamp(position, 0, 1);
  if (control.curve === "logarithmic") return control.low * (control.high / control.low) ** at;
  return control.low + (control.high - control.low) * at;
}

/** One voice of the engine in its own WebAssembly memory. */
class Runner {
  constructor(module, blockSamples) {
    this.engine = new WebAssembly.Instance(module, {}).exports;
    this.blockSamples = blockSamples;
    this.state = this.engine.pochette_arena_state();
    this.view();
    this.reset();
  }

  /* Memory that grows gets a new buffer; the old views are then empty. */
  view() {
    const { memory, pochette_arena_controls: controls, pochette_arena_audio: audio, pochette_info: info } = this.engine;
    this.buffer = memory.buffer;
    this.controls = new Float32Array(this.buffer, controls(), Math.max(info(3), 0));
    this.audio = new Float32Array(this.buffer, audio(), this.blockSamples);
  }

  reset() {
    this.engine.pochette_reset(this.state);
  }

  process(row, out, from, samples) {
    if (this.buffer !== this.engine.memory.buffer) this.view();
    for (let done = 0; done < samples; ) {
      const count = Math.min(samples - done, this.blockSamples);
      this.controls.set(row);
      this.engine.pochette_process(this.state, this.controls.byteOffset, this.audio.byteOffset, count);
      out.set(count === this.blockSamples ? this.audio : this.audio.subarray(0, count), from + done);
      done += count;
    }
  }
}

/** What the player's hands and feet are doing now, common to all voices. */
class Performance {
  constructor(config) {
    this.constants = config.constants;
    this.controls = config.controls;
    this.declared = Object.fromEntries([...config.controls, ...config.patch].map((control) => [control.name, control]));
    this.knobs = config.controls.filter((control) => !config.played.includes(control.name));
    this.values = Object.fromEntries(Object.values(this.declared).map((control) => [control.name, control.default]));
    Object.assign(this, { bend: 0, wheel: 0, expression: 1, sustain: false });
  }

  set(name, value) {
    if (Object.hasOwn(this.declared, name)) this.values[name] = clampControl(this.declared[name], value);
  }

  expressionDb() {
    return 40 * Math.log10(Math.max(this.expression, 1e-4));
  }
}

/** One runner and the note that it plays. */
class Voice {
  constructor(runner, performance, config) {
    Object.assign(this, { runner, performance, controls: config.controls, constants: config.constants });
    this.pitchRange = config.pitch_range_hz;
    this.rate = config.sample_rate_hz;
    this.hop = config.hop_samples;
    this.lead = config.lead_samples;
    this.frameS = this.hop / this.rate;
    this.smoothing = 1 - Math.exp(-this.frameS / this.constants.SMOOTH_S);
    this.fadeSamples = Math.max(1, Math.round(this.constants.FADE_S * this.rate));
    const loudness = this.controls.find((control) => control.name === "loudness_db");
    this.hasLoudness = loudness !== undefined;
    this.hasVelocity = this.controls.some((control) => control.name === "velocity");
    this.defaultDb = loudness ? loudness.default : 0;
    this.floorDb = Math.max(loudness ? loudness.low : -Infinity, this.constants.SILENCE_DB);
    Object.assign(this, { active: false, keyDown: false, released: false, pending: false, stopping: false });
    Object.assign(this, { note: -1, velocity: 0, age: 0, gain: 0, targetGain: 0, frameLeft: 0 });
    this.row = new Float32Array(this.controls.length);
    this.smoothed = new Float64Array(this.controls.length);
    this.piece = new Float32Array(this.hop);
  }

  play(note, velocity, age) {
    Object.assign(this, { note, velocity, age, keyDown: true, released: false });
    if (this.active) {
      this.pending = true;
      this.targetGain = 0;
    } else {
      this.begin();
    }
  }

  letGo() {
    this.keyDown = false;
    this.pedal();
  }

  pedal() {
    this.released = this.released || !(this.keyDown || this.performance.sustain);
  }

  stop() {
    Object.assign(this, { pending: false, stopping: true, targetGain: 0, keyDown: false, released: true });
  }

  addTo(audio, length) {
    let position = 0;
    while (this.active && position < length) {
      if (this.frameLeft === 0) this.nextFrame();
      for (; this.leadLeft > 0; this.leadLeft -= this.hop) this.runner.process(this.row, this.piece, 0, this.hop);
      const samples = Math.min(this.frameLeft, length - position);
      this.runner.process(this.row, this.piece, 0, samples);
      this.frameLeft -= samples;
      const loudest = this.mix(audio, position, samples);
      position += samples;
      this.restIfDone(loudest, samples);
    }
  }

  begin() {
    this.runner.reset();
    Object.assign(this, { active: true, pending: false, stopping: false });
    this.semitone = this.folded(this.note);
    Object.assign(this, { attack: 0, releaseDb: 0, timeS: 0, vibratoPhase: 0 });
    Object.assign(this, { frameLeft: 0, quietSamples: 0, endedSamples: 0, leadLeft: this.lead });
    this.bend = this.performance.bend;
    this.expressionDb = this.performance.expressionDb();
    this.controls.forEach((control, index) => (this.smoothed[index] = this.performance.values[control.name]));
    this.gain = this.targetGain = this.hasLoudness ? 1 : 0;
  }

  nextFrame() {
    const relativeDb = this.relativeDb();
    const loudnessDb = this.defaultDb + relativeDb;
    const pitchHz = this.pitchHz();
    for (let index = 0; index < this.controls.length; index++) {
      const control = this.controls[index];
      this.smoothed[index] += this.smoothing * (this.performance.values[control.name] - this.smoothed[index]);
      let value = this.smoothed[index];
      if (control.name === "pitch_hz") value = pitchHz;
      if (control.name === "loudness_db") value = loudnessDb;
      if (control.name === "velocity") value = this.constants.VELOCITIES * this.velocity;
      this.row[index] = clampControl(control, value);
    }
    if (!(this.hasLoudness || this.pending || this.stopping)) this.targetGain = 10 ** (relativeDb / 20);
    if (this.released && loudnessDb <= this.floorDb) this.endedSamples += this.hop;
    this.frameLeft = this.hop;
    this.timeS += this.frameS;
  }

  relativeDb() {
    const { values } = this.performance;
    this.attack = Math.min(1, this.attack + this.frameS / values.attack_s);
    if (this.released) this.releaseDb -= (this.constants.RELEASE_DB * this.frameS) / values.release_s;
    this.expressionDb += this.smoothing * (this.performance.expressionDb() - this.expressionDb);
    const touchDb = this.hasVelocity ? 0 : values.dynamics_db * (this.velocity - this.constants.MEZZO);
    return touchDb + 20 * Math.log10(Math.max(this.attack, 1e-4)) + this.releaseDb + this.expressionDb;
  }

  pitchHz() {
    const { values, wheel, bend } = this.performance;
    const { VIBRATO_DELAY_S, VIBRATO_SWELL_S, WHEEL_CENTS, BEND_SEMITONES } = this.constants;
    this.bend += this.smoothing * (bend - this.bend);
    const swell = clamp((this.timeS - VIBRATO_DELAY_S) / VIBRATO_SWELL_S, 0, 1);
    const depthCents = values.vibrato_depth_cents + wheel * WHEEL_CENTS;
    this.vibratoPhase = (this.vibratoPhase + values.vibrato_rate_hz * this.frameS) % 1;
    const vibrato = ((swell * depthCents) / 100) * Math.sin(2 * Math.PI * this.vibratoPhase);
    return values.tuning_hz * 2 ** ((this.semitone + this.bend * BEND_SEMITONES + vibrato - 69) / 12);
  }

  folded(note) {
    if (!this.pitchRange) return note;
    const [low, high] = this.pitchRange.map((hz) => 69 + 12 * Math.log2(hz / 440));
    let folded = note;
    while (folded > high + 0.5) folded -= 12;
    while (folded < low - 0.5) folded += 12;
    return folded;
  }

  /** Adds the piece with its moving gain; gives its loudest sample. */
  mix(audio, position, samples) {
    const start = this.gain;
    const distance = this.targetGain - start;
    const direction = Math.sign(distance);
    let loudest = 0;
    for (let index = 0; index < samples; index++) {
      if (distance) this.gain = start + direction * Math.min((index + 1) / this.fadeSamples, Math.abs(distance));
      const sample = this.piece[index] * this.gain;
      loudest = Math.max(loudest, Math.abs(sample));
      audio[position + index] += sample;
    }
    return loudest;
  }

  restIfDone(loudest, samples) {
    if (this.targetGain === 0 && this.gain <= 1e-9 && (this.pending || this.stopping)) {
      this.active = false;
      if (this.pending) this.begin();
      return;
    }
    if (this.endedSamples === 0) return;
    this.quietSamples = loudest < this.constants.SILENCE ? this.quietSamples + samples : 0;
    if (this.quietSamples >= this.constants.QUIET_S * this.rate) this.active = false;
    else if (this.endedSamples > this.constants.LINGER_S * this.rate && !this.pending) this.stop();
  }
}
