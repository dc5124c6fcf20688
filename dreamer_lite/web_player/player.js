"use strict";
/* The page around a Game: keys, buttons, a clock and the drawing. */

const COLOURS = {reality: "#0072B2", dream: "#D55E00", posterior: "#009E73", grey: "#6B6B6B"};
const $ = id => document.getElementById(id);
const stage = $("stage"), pen = stage.getContext("2d");
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const modes = document.querySelectorAll("[data-mode]");
const touch = matchMedia("(hover: none) and (pointer: coarse)").matches;
const LOOKING = 25;  // steps for which the agent's eyes are open after it takes over

const player = {
  game: new Game(new WorldModel(DATA), {mode: DATA.mode || "agent"}),
  paused: still,  // with reduced motion, you start it yourself
  speed: still ? 5 : 25,
  begun: false,  // when you take over, the clock waits for your first push
  closing: Infinity,  // the step at which the eyes close by themselves
  held: new Set(), wish: null, since: 0, last: null, frames: 0, before: null,

  press(side) {
    if (this.game.over) this.restart();
    if (this.game.mode !== "you") this.setMode("you");
    this.begun = true;
    this.held.add(side);
    this.wish = side;
    this.show();
  },
  release(side) {
    this.held.delete(side);
    this.wish = this.held.size ? [...this.held][0] : null;
    this.show();
  },
  setMode(mode) {
    const {game} = this, afresh = game.over || mode === "inside" || game.mode === "inside", change = mode !== game.mode;
    game.setMode(mode);
    if (afresh) this.restart();
    else if (change) this.takeOver();
    this.show();
  },
  takeOver() {
    this.begun = false;
    this.closing = this.game.mode === "you" ? Infinity : this.game.steps + LOOKING;
  },
  setEyes(open) { this.closing = Infinity; this.game.setEyes(open); this.show(); },
  setPaused(paused) { this.paused = paused; this.show(); },
  restart() { this.game.restart(); this.before = null; this.takeOver(); this.show(); },
  waiting() { return this.game.mode === "you" && !this.begun; },
  step() {
    this.before = {real: this.game.real, shown: this.game.shown};
    this.game.step(this.wish);
    this.begun = true;
    if (this.game.steps >= this.closing) this.setEyes(false);
  },

  tick(now) {
    const passed = this.last === null ? 0 : Math.min(now - this.last, 100);
    this.last = now;
    this.frames++;
    if (!this.paused && !this.game.over && !this.waiting()) {
      this.since += passed * this.speed / 1000;
      for (; this.since >= 1; this.since--) this.step();
    }
    draw(this.game, this.paused ? 1 : Math.min(this.since, 1), this.before);
    const hold = touch ? "a push button" : "← or →, or a push button,";
    $("words").textContent = this.waiting() ? `Hold ${hold} to begin.` : words(this.game);
    requestAnimationFrame(time => this.tick(time));
  },

  show() {
    const {game} = this;
    for (const button of modes) button.setAttribute("aria-pressed", button.dataset.mode === game.mode);
    $("eyes").classList.toggle("on", game.open);
    $("eyes").textContent = game.open ? "eyes: open" : "eyes: closed";
    $("eyes").disabled = game.mode === "inside";
    $("pause").textContent = this.paused ? "play" : "pause";
    $("left").classList.toggle("held", this.held.has(0));
    $("right").classList.toggle("held", this.held.has(1));
    $("speed").value = String(this.speed);
  },
};

const percent = share => `${Math.round(100 * share)}\u00a0%`;

function words(game) {
  const parts = [`Step ${game.steps}.`];
  if (game.mode !== "inside") parts.push(`Dream and reality are ${percent(game.apart)} of their range apart.`);
  const chance = percent(Math.min(game.continues, 1));
  parts.push(`The dream predicts: reward ${game.reward.toFixed(2)}, chance to continue ${chance}.`);
  if (game.open) parts.push(`Surprise: ${game.seen.surprise.toFixed(1)} nats.`);
  if (game.over) parts.push(`${ending(game)} Push, or start again.`);
  return parts.join(" ");
}

function ending({mode, real}) {
  if (mode === "inside") return "The dreamed episode has ended.";
  if (!CartPole.fallen(real)) return "500 steps: the time limit.";
  return Math.abs(real[0]) > CartPole.LIMIT ? "The cart has left the track." : "The pole has fallen.";
}

/* Draw two tracks and a chart. part: how far the clock is from one step to the next, 0 to 1; before: what was shown one
   step ago. */
function draw(game, part, before) {
  const width = stage.clientWidth || 860, height = stage.clientHeight || 520, ratio = window.devicePixelRatio || 1;
  const across = Math.round(width * ratio), down = Math.round(height * ratio);
  if (stage.width !== across || stage.height !== down) Object.assign(stage, {width: across, height: down});
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const between = (now, then) => then && !game.over ? Array.from(now, (v, i) => then[i] + (v - then[i]) * part) : now;
  const lane = (height - 110) / 2;
  const real = between(game.real, before && before.real);
  cart(12, lane, "reality", [real], COLOURS.reality, width, game.mode === "inside" ? 0.25 : 1);
  const dreams = game.shown.map((obs, i) => between(obs, before && before.shown[i]));
  cart(12 + lane, lane, game.open ? "dream, eyes open" : "dream, eyes closed", dreams, COLOURS.dream, width, 1);
  chart(game, 20, height - 86, width - 40, 70);
}

function cart(top, lane, title, all, colour, width, strength) {
  const scale = Math.min(width / 5.4, lane / 1.9), middle = width / 2, ground = top + lane - 22;
  pen.globalAlpha = 1;
  pen.fillStyle = colour;
  pen.font = "14px system-ui, sans-serif";
  pen.fillText(title, 14, top + 12);
  pen.strokeStyle = COLOURS.grey;
  pen.lineWidth = 1;
  line(middle - 2.4 * scale, ground, middle + 2.4 * scale, ground);
  for (const side of [-2.4, 2.4]) line(middle + side * scale, ground - 7, middle + side * scale, ground + 7);
  all.slice().reverse().forEach((obs, i) => {
    pen.globalAlpha = (i === all.length - 1 ? 1 : 0.22) * strength;
    const x = middle + Math.max(-2.7, Math.min(2.7, obs[0])) * scale, angle = obs[2], length = 1.15 * scale;
    pen.fillStyle = colour;
    pen.fillRect(x - 0.28 * scale, ground - 0.3 * scale, 0.56 * scale, 0.3 * scale);
    pen.strokeStyle = "#222";
    pen.lineWidth = Math.max(3, 0.07 * scale);
    pen.lineCap = "round";
    line(x, ground - 0.3 * scale, x + length * Math.sin(angle), ground - 0.3 * scale - length * Math.cos(angle));
  });
  pen.globalAlpha = 1;
}

function chart(game, left, top, width, height) {
  const count = Math.max(120, game.drift.length), x = i => left + width * i / (count - 1);
  pen.strokeStyle = COLOURS.grey;
  pen.lineWidth = 1;
  line(left, top + height, left + width, top + height);
  pen.fillStyle = COLOURS.grey;
  pen.font = "12px system-ui, sans-serif";
  pen.fillText("distance from reality, up to 50 %, and surprise, up to 10 nats", left, top - 4);
  curve(game.surprises, COLOURS.posterior, v => top + height - height * Math.min(v / 10, 1), x);
  curve(game.drift, COLOURS.dream, v => top + height - height * Math.min(v / 0.5, 1), x);
}

function curve(values, colour, y, x) {
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  pen.beginPath();
  let down = false;
  values.forEach((v, i) => {
    if (Number.isNaN(v)) { down = false; return; }
    if (down) pen.lineTo(x(i), y(v)); else pen.moveTo(x(i), y(v));
    down = true;
  });
  pen.stroke();
}

function line(x1, y1, x2, y2) { pen.beginPath(); pen.moveTo(x1, y1); pen.lineTo(x2, y2); pen.stroke(); }

const SIDES = {arrowleft: 0, arrowright: 1, a: 0, d: 1};
const KEYS = {
  " ": () => player.setPaused(!player.paused), s: () => { player.setPaused(true); player.step(); },
  r: () => player.restart(), e: () => player.setEyes(!player.game.open),
  1: () => player.setMode("you"), 2: () => player.setMode("agent"), 3: () => player.setMode("inside"),
};
const sideOf = event => SIDES[event.key.toLowerCase()];
const typing = ({target, key, ctrlKey, metaKey, altKey}) =>
  target.tagName === "SELECT" || (key === " " && target.tagName === "BUTTON") || ctrlKey || metaKey || altKey;
addEventListener("keydown", event => {
  if (typing(event)) return;
  const side = sideOf(event), act = KEYS[event.key.toLowerCase()];
  if (side === undefined && !act) return;
  event.preventDefault();  // arrows must neither scroll the page nor edit the notebook around it
  event.stopPropagation();
  if (side !== undefined) { if (!event.repeat) player.press(side); } else if (!event.repeat) act();
});
addEventListener("keyup", event => { if (sideOf(event) !== undefined) player.release(sideOf(event)); });
addEventListener("blur", () => { for (const side of [...player.held]) player.release(side); });
for (const [id, side] of [["left", 0], ["right", 1]]) {
  $(id).addEventListener("pointerdown", event => { $(id).setPointerCapture(event.pointerId); player.press(side); });
  for (const end of ["pointerup", "pointercancel"]) $(id).addEventListener(end, () => player.release(side));
  $(id).addEventListener("keydown", event => { if (event.key === "Enter" && !event.repeat) player.press(side); });
  $(id).addEventListener("keyup", event => { if (event.key === "Enter") player.release(side); });
}
for (const button of modes) button.addEventListener("click", () => player.setMode(button.dataset.mode));
// A clicked button keeps the focus, and the space bar would press it again. detail: clicks of the mouse, 0 by the keyboard
for (const button of document.querySelectorAll("button"))
  button.addEventListener("click", event => { if (event.detail) button.blur(); });
$("eyes").addEventListener("click", () => player.setEyes(!player.game.open));
$("pause").addEventListener("click", () => player.setPaused(!player.paused));
$("one").addEventListener("click", () => { player.setPaused(true); player.step(); });
$("again").addEventListener("click", () => player.restart());
$("speed").addEventListener("change", event => { player.speed = Number(event.target.value); });
$("dreams").addEventListener("change", event => player.game.setDreams(Number(event.target.value)));
player.takeOver();
player.show();
requestAnimationFrame(time => player.tick(time));
