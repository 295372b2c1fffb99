/* Several voices played as one instrument; the twin of pochette.instrument.polyphony. */
"use strict";

/** Several voices played as one instrument. */
class Polyphony {
  constructor(module, config, voices) {
    this.config = config;
    this.performance = new Performance(config);
    this.voices = Array.from(
      { length: voices },
      () => new Voice(new Runner(module, config.block_samples), this.performance, config),
    );
    this.age = 0;
    this.volume = this.performance.values.volume ** 2;
    this.volumeStep = 1 / (config.constants.FADE_S * config.sample_rate_hz);
  }

  apply({ kind, number = 0, value = 0, name = "" }) {
    if (kind === "note_on" && value > 0) this.noteOn(number, value);
    else if (kind === "note_on" || kind === "note_off") this.noteOff(number);
    else if (kind === "control_change") this.controlChange(number, value);
    else if (kind === "pitch_bend") this.performance.bend = clamp(value, -1, 1);
    else if (kind === "set") this.performance.set(name, value);
    else if (kind === "panic") this.panic();
  }

  noteOn(note, velocity) {
    this.age += 1;
    this.noteOff(note);
    const rank = (voice) => [voice.active, !voice.released, voice.age];
    const before = (a, b) => {
      const [x, y] = [rank(a), rank(b)];
      const first = x.findIndex((item, index) => item !== y[index]);
      return first >= 0 && x[first] < y[first];
    };
    const voice = this.voices.reduce((best, other) => (before(other, best) ? other : best));
    voice.play(note, clamp(velocity / 127, 0, 1), this.age);
  }

  noteOff(note) {
    for (const voice of this.voices) if (voice.note === note && voice.keyDown) voice.letGo();
  }

  controlChange(number, value) {
    const hands = this.performance;
    const position = clamp(value / 127, 0, 1);
    const knob = hands.knobs[this.config.knob_ccs.indexOf(number)];
    const name = this.config.patch_ccs[number] ?? knob?.name;
    if (name) hands.set(name, fromKnob(hands.declared[name], position));
    else if (number === 1) hands.wheel = position;
    else if (number === 11) hands.expression = position;
    else if (number === 64) this.sustain(value >= 64);
    else if (number === 121) {
      Object.assign(hands, { bend: 0, wheel: 0, expression: 1 });
      this.sustain(false);
    } else if (number === 123) for (const voice of this.voices) voice.letGo();
    else if (number === 120) this.panic();
  }

  sustain(down) {
    this.performance.sustain = down;
    for (const voice of this.voices) voice.pedal();
  }

  panic() {
    this.performance.sustain = false;
    for (const voice of this.voices) voice.stop();
  }

  render(audio) {
    audio.fill(0);
    for (const voice of this.voices) voice.addTo(audio, audio.length);
    const start = this.volume;
    const distance = this.performance.values.volume ** 2 - start;
    for (let index = 0; index < audio.length; index++) {
      if (distance) {
        this.volume = start + Math.sign(distance) * Math.min((index + 1) * this.volumeStep, Math.abs(distance));
      }
      audio[index] *= this.volume;
    }
  }
}
