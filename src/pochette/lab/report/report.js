"use strict";

// Players: one sounds at a time; another version of the same clip goes on where the last one was.
document.documentElement.classList.add("scripted");
let sounding = null;
let clipInHand = null;

function stop() {
  if (!sounding) return;
  sounding.querySelector("audio").pause();
  sounding.classList.remove("playing");
  sounding.querySelector("button").setAttribute("aria-pressed", "false");
  sounding = null;
}

function play(take) {
  const clip = take.closest(".clip");
  const goesOn = sounding && sounding.closest(".clip") === clip;
  const at = goesOn ? sounding.querySelector("audio").currentTime : 0;
  stop();
  const audio = take.querySelector("audio");
  audio.currentTime = at;
  audio.play().catch(() => {}); // a tap may stop it before it began
  take.classList.add("playing");
  take.querySelector("button").setAttribute("aria-pressed", "true");
  sounding = take;
  clipInHand = clip;
  requestAnimationFrame(draw);
}

function draw() {
  if (!sounding) return;
  const audio = sounding.querySelector("audio");
  const share = audio.duration ? audio.currentTime / audio.duration : 0;
  for (const needle of sounding.closest(".clip").querySelectorAll(".needle")) {
    needle.style.left = `${100 * share}%`;
  }
  requestAnimationFrame(draw);
}

for (const take of document.querySelectorAll(".take")) {
  take.querySelector("audio").controls = false;
  take.querySelector("button").addEventListener("click", () => (take === sounding ? stop() : play(take)));
  take.querySelector("audio").addEventListener("ended", () => { if (take === sounding) stop(); });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const takes = (clipInHand || document.querySelector(".clip"))?.querySelectorAll(".take") ?? [];
  const wanted = takes[Number(event.key) - 1];
  if (wanted) play(wanted);
  if (event.key === "Escape") stop();
});

window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
