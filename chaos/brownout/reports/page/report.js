"use strict";
const scenes = [...document.querySelectorAll("details.scene")];

function openLinked() {
  const linked = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (linked && linked.matches("details")) {
    linked.open = true;
    linked.scrollIntoView();
    linked.querySelector("summary").focus({ preventScroll: true });
  }
}
addEventListener("hashchange", openLinked);
openLinked();

const all = document.getElementById("all");
for (const [label, open] of all ? [["open all", true], ["close all", false]] : []) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.addEventListener("click", () => scenes.forEach((scene) => { scene.open = open; }));
  all.append(button);
}

const tip = document.getElementById("tip");

function where(box, shown, number) {
  const [low, high] = shown.decades;
  const [atS, tookS] = shown.dots[number];
  const decade = Math.log10(Math.max(tookS, 10 ** low));
  return {
    x: box.left + box.width * Math.min(atS / (shown.length || 1), 1),
    y: box.top + box.height * (1 - (decade - low) / (high - low)),
  };
}

function tell(plot, shown, number) {
  const [atS, tookS, phase, answer, event] = shown.dots[number];
  const { x, y } = where(plot.getBoundingClientRect(), shown, number);
  tip.textContent = `${shown.phases[phase]}: ${shown.answers[answer]}\n`
    + `due at ${atS.toFixed(2)} s, took ${tookS.toFixed(3)} s, event ${event}`;
  tip.hidden = false;
  tip.style.left = `${Math.min(x + 12, innerWidth - tip.offsetWidth - 4)}px`;
  tip.style.top = `${Math.max(4, y - tip.offsetHeight - 8)}px`;
}

function nearest(plot, shown, pointer) {
  const box = plot.getBoundingClientRect();
  let best = 0, least = Infinity;
  shown.dots.forEach((_, number) => {
    const { x, y } = where(box, shown, number);
    const far = Math.hypot(x - pointer.clientX, y - pointer.clientY);
    if (far < least) [best, least] = [number, far];
  });
  return best;
}

for (const plot of document.querySelectorAll(".plot.latency")) {
  const shown = JSON.parse(plot.querySelector("script").textContent);
  let current = -1;
  const show = (number) => {
    current = Math.min(Math.max(number, 0), shown.dots.length - 1);
    tell(plot, shown, current);
  };
  plot.addEventListener("pointermove", (event) => show(nearest(plot, shown, event)));
  plot.addEventListener("pointerleave", () => { tip.hidden = true; });
  plot.addEventListener("blur", () => { tip.hidden = true; });
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) {
      event.preventDefault();
      show(current + step);
    } else if (event.key === "Escape") {
      tip.hidden = true;
    }
  });
}
