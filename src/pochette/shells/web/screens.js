/* What is heard, drawn: the wave, held still by its rising edge, and its spectrum. */
"use strict";

const PHOSPHOR = "#ffc66b";
const wave = new Float32Array(4096);
const bins = new Uint8Array(4096);
const LOWEST_HZ = 30;

function fitted(canvas) {
  const scale = Math.min(devicePixelRatio || 1, 2);
  const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  return { pen, width, height, scale };
}

function grid({ pen, width, height, scale }, across) {
  pen.strokeStyle = "rgba(255, 198, 107, 0.09)";
  pen.lineWidth = scale;
  pen.beginPath();
  for (const x of across) {
    pen.moveTo(x * width, 0);
    pen.lineTo(x * width, height);
  }
  for (let row = 1; row < 4; row++) {
    pen.moveTo(0, (row * height) / 4);
    pen.lineTo(width, (row * height) / 4);
  }
  pen.stroke();
}

function glow(pen, scale, draw) {
  pen.lineJoin = "round";
  for (const [width, colour] of [[6, "rgba(255, 150, 40, 0.12)"], [3, "rgba(255, 176, 70, 0.25)"], [1.4, PHOSPHOR]]) {
    pen.lineWidth = width * scale;
    pen.strokeStyle = colour;
    pen.beginPath();
    draw();
    pen.stroke();
  }
}

function drawWave() {
  const screen = fitted(byId("scope"));
  const { pen, width, height, scale } = screen;
  grid(screen, [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]);
  scopeTap?.getFloatTimeDomainData(wave);
  const shown = 1500;
  const peak = wave.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0.05);
  let start = 0;
  for (let at = 1; at < wave.length - shown; at++) {
    if (wave[at - 1] < 0 && wave[at] >= 0) {
      start = at;
      break;
    }
  }
  glow(pen, scale, () => {
    for (let x = 0; x < width; x += scale) {
      const sample = wave[start + Math.floor((x / width) * shown)];
      pen.lineTo(x, height * (0.5 - (0.42 * sample) / Math.max(peak, 0.25)));
    }
  });
}

function drawSpectrum() {
  const screen = fitted(byId("spectrum"));
  const { pen, width, height, scale } = screen;
  const nyquistHz = (context?.sampleRate ?? config.sample_rate_hz) / 2;
  const octaves = Math.log2(nyquistHz / LOWEST_HZ);
  const decades = [50, 100, 200, 500, 1000, 2000, 5000, 10000].filter((hz) => hz < nyquistHz);
  const place = (hz) => Math.log2(hz / LOWEST_HZ) / octaves;
  grid(screen, decades.map(place));
  pen.fillStyle = "rgba(255, 198, 107, 0.4)";
  pen.font = `${10 * scale}px ui-monospace, monospace`;
  for (const hz of [100, 1000, 10000].filter((hz) => hz < nyquistHz)) {
    pen.fillText(hz >= 1000 ? `${hz / 1000}k` : hz, place(hz) * width + 4 * scale, 13 * scale);
  }
  spectrumTap?.getByteFrequencyData(bins);
  const level = (x) => {
    const binAt = (at) => (LOWEST_HZ * 2 ** ((at / width) * octaves) * bins.length) / nyquistHz;
    const [from, to] = [binAt(x), binAt(x + scale)];
    const whole = Math.floor(from);
    /* Between two bins a straight line; of many bins under one point the strongest, so that no partial is missed. */
    let most = bins[whole] + (from - whole) * ((bins[whole + 1] ?? 0) - bins[whole]);
    for (let bin = Math.ceil(from); bin < to; bin++) most = Math.max(most, bins[bin] ?? 0);
    return height * (1 - (0.92 * most) / 255) - scale;
  };
  const shade = pen.createLinearGradient(0, 0, 0, height);
  shade.addColorStop(0, "rgba(255, 170, 60, 0.55)");
  shade.addColorStop(1, "rgba(255, 120, 20, 0.02)");
  pen.fillStyle = shade;
  pen.beginPath();
  pen.moveTo(0, height);
  for (let x = 0; x < width; x += scale) pen.lineTo(x, level(x));
  pen.lineTo(width, height);
  pen.fill();
  glow(pen, scale, () => {
    for (let x = 0; x < width; x += scale) pen.lineTo(x, level(x));
  });
}

(function draw() {
  drawWave();
  drawSpectrum();
  requestAnimationFrame(draw);
})();
