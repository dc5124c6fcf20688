"use strict";
/* The world model of dreamer_lite and the physics of CartPole, written in plain JavaScript for a browser.

   Names and order follow dreamer_lite/rssm.py, world_model.py and latents.py; tests/browser/test_player.py compares
   every output with PyTorch, and the physics with gymnasium. Weights are Float32Array. Results are Float64Array: with
   bins of up to 5e8, the rounding of float32 would spoil their mean. */

const symlog = x => Math.sign(x) * Math.log1p(Math.abs(x));
const symexp = x => Math.sign(x) * Math.expm1(Math.abs(x));
const sigmoid = x => 1 / (1 + Math.exp(-x));
const silu = x => x * sigmoid(x);
const join = (...parts) => {
  const out = new Float64Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) { out.set(part, at); at += part.length; }
  return out;
};

/* Bytes of little-endian numbers → Float32Array. Notebooks carry "float16", to stay small. */
function unpack(base64, kind) {
  const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
  if (kind === "float32") return new Float32Array(bytes.buffer);
  const halves = new Uint16Array(bytes.buffer);
  return Float32Array.from(halves, h => {
    const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, fraction = h & 1023;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  });
}

/* Seeded random numbers (mulberry32): the same seed gives the same episode. */
function seeded(seed) {
  return () => {
    seed = (seed + 0x6D2B79F5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

class WorldModel {
  /* data: {config, tensors: {name: [offset, ...shape]}, kind, numbers}, as export.py writes it. */
  constructor(data) {
    this.config = data.config;
    const numbers = unpack(data.numbers, data.kind);
    this.tensors = {};
    for (const [name, [offset, ...shape]] of Object.entries(data.tensors)) {
      const size = shape.reduce((a, b) => a * b, 1);
      this.tensors[name] = {shape, values: numbers.subarray(offset, offset + size)};
    }
  }

  linear(name, x) {
    const {shape: [outputs, inputs], values} = this.tensors[name + ".weight"];
    const bias = this.tensors[name + ".bias"].values, y = new Float64Array(outputs);
    for (let i = 0, at = 0; i < outputs; i++) {
      let sum = bias[i];
      for (let j = 0; j < inputs; j++) sum += values[at++] * x[j];
      y[i] = sum;
    }
    return y;
  }

  norm(name, x) {
    let sum = 0;
    for (const v of x) sum += v * v;
    const scale = 1 / Math.sqrt(sum / x.length + 1e-4), gain = this.tensors[name + ".gain"].values;
    return x.map((v, i) => v * scale * gain[i]);
  }

  mlp(name, layers, x) {
    for (let k = 0; k < layers; k++) {
      x = this.norm(`${name}.${3 * k + 1}`, this.linear(`${name}.${3 * k}`, x)).map(silu);
    }
    return x;
  }

  /* A block-diagonal layer: each block sees its slice of x, all see `shared`. Weights have the shape
     (own + shared, blocks, outputs / blocks). */
  blockLinear(name, x, shared = []) {
    const {shape: [, blocks, per], values} = this.tensors[name + ".weight"], bias = this.tensors[name + ".bias"].values;
    const own = x.length / blocks, y = Float64Array.from(bias);
    for (let b = 0; b < blocks; b++) {
      for (let j = 0; j < per; j++) {
        let sum = 0;
        for (let i = 0; i < own; i++) sum += x[b * own + i] * values[(i * blocks + b) * per + j];
        for (let s = 0; s < shared.length; s++) sum += shared[s] * values[((own + s) * blocks + b) * per + j];
        y[b * per + j] += sum;
      }
    }
    return y;
  }

  initial() {
    return {h: new Float64Array(this.config.deter), z: new Float64Array(this.config.groups * this.config.classes)};
  }

  feature(state) { return join(state.h, state.z); }

  recurrent(state, action) {
    const {deter, blocks} = this.config, per = deter / blocks;
    const a = this.mlp("rssm.a_in", 1, action.map(v => v / Math.max(1, Math.abs(v))));
    const shared = join(this.mlp("rssm.h_in", 1, state.h), this.mlp("rssm.z_in", 1, state.z), a);
    let core = state.h;
    for (let k = 0; k < this.config.layers.core; k++) {
      core = this.norm(`rssm.core_norms.${k}`, this.blockLinear(`rssm.core.${k}`, core, k ? [] : shared)).map(silu);
    }
    const gates = this.blockLinear("rssm.gates", core), h = new Float64Array(deter);
    for (let i = 0; i < deter; i++) {
      const at = Math.floor(i / per) * 3 * per + (i % per);
      const candidate = Math.tanh(sigmoid(gates[at]) * gates[at + per]), update = sigmoid(gates[at + 2 * per] - 1);
      h[i] = update * candidate + (1 - update) * state.h[i];
    }
    return h;
  }

  encode(obs) { return this.mlp("encoder", this.config.layers.encoder, Float64Array.from(obs, symlog)); }
  prior(h) { return this.linear("rssm.prior_net.1", this.mlp("rssm.prior_net.0", this.config.layers.prior, h)); }
  posterior(h, tokens) {
    const hidden = this.mlp("rssm.posterior_net.0", this.config.layers.posterior, join(h, tokens));
    return this.linear("rssm.posterior_net.1", hidden);
  }

  /* Logits → probabilities, group by group, mixed with 1 % of the uniform distribution. */
  unimix(logits) {
    const {groups, classes, mix} = this.config, probs = new Float64Array(logits.length);
    for (let g = 0; g < groups; g++) {
      const part = logits.subarray(g * classes, (g + 1) * classes), top = Math.max(...part);
      const e = Array.from(part, v => Math.exp(v - top)), sum = e.reduce((a, b) => a + b, 0);
      for (let k = 0; k < classes; k++) probs[g * classes + k] = (1 - mix) * e[k] / sum + mix / classes;
    }
    return probs;
  }

  /* One-hot samples. draws: one uniform number per group; it selects the class whose interval of the cumulative
     probability holds it. */
  sample(probs, draws) {
    const {groups, classes} = this.config, z = new Float64Array(probs.length);
    for (let g = 0; g < groups; g++) {
      let k = 0, sum = probs[g * classes];
      while (sum <= draws[g] && k < classes - 1) sum += probs[g * classes + ++k];
      z[g * classes + k] = 1;
    }
    return z;
  }

  draws(random) { return Array.from({length: this.config.groups}, random); }

  /* One step with closed eyes. */
  imagineStep(state, action, draws) {
    const h = this.recurrent(state, action);
    return {h, z: this.sample(this.unimix(this.prior(h)), draws)};
  }

  /* One step with open eyes. surprise is KL(posterior || prior) in nats. */
  observeStep(state, action, obs, isFirst, draws) {
    if (isFirst) { state = this.initial(); action = new Float64Array(action.length); }
    const h = this.recurrent(state, action);
    const prior = this.unimix(this.prior(h)), posterior = this.unimix(this.posterior(h, this.encode(obs)));
    let surprise = 0;
    for (let i = 0; i < prior.length; i++) surprise += posterior[i] * (Math.log(posterior[i]) - Math.log(prior[i]));
    return {state: {h, z: this.sample(posterior, draws)}, prior, posterior, surprise};
  }

  decode(feature) {
    return this.linear("decoder.1", this.mlp("decoder.0", this.config.layers.decoder, feature)).map(symexp);
  }

  continues(feature) {
    return sigmoid(this.linear("continue_head.1", this.mlp("continue_head.0", this.config.layers.reward, feature))[0]);
  }

  reward(feature) {
    const logits = this.linear("reward_head.1", this.mlp("reward_head.0", this.config.layers.reward, feature));
    const top = Math.max(...logits), e = Array.from(logits, v => Math.exp(v - top)), sum = e.reduce((a, b) => a + b, 0);
    const bins = this.tensors.bins.values;
    let value = 0;
    for (let i = 0, j = e.length - 1; i < j; i++, j--) value += (e[j] - e[i]) / sum * bins[j];  // mirror bins cancel
    return value;
  }

  /* Probabilities of the actions. */
  policy(feature) {
    const logits = this.linear("actor.heads.0", this.mlp("actor.net", this.config.layers.head, feature));
    const top = Math.max(...logits), e = logits.map(v => Math.exp(v - top)), sum = e.reduce((a, b) => a + b, 0);
    return e.map(v => v / sum);
  }
}

/* gymnasium's CartPole-v1: push left (0) or right (1), Euler steps of 0.02 s. State: x, speed, angle, spin. */
const CartPole = {
  LIMIT: 2.4, FALL: 12 * Math.PI / 180,
  start: random => Array.from({length: 4}, () => 0.1 * random() - 0.05),
  step([x, speed, angle, spin], side) {
    const force = side ? 10 : -10, sin = Math.sin(angle), cos = Math.cos(angle);
    const push = (force + 0.05 * spin * spin * sin) / 1.1;
    const turn = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos * cos / 1.1));
    const faster = push - 0.05 * turn * cos / 1.1;
    return [x + 0.02 * speed, speed + 0.02 * faster, angle + 0.02 * spin, spin + 0.02 * turn];
  },
  fallen: ([x, , angle]) => Math.abs(x) > CartPole.LIMIT || Math.abs(angle) > CartPole.FALL,
};

/* Reality and dreams, moved by the same actions. mode: with "you", you push; with "agent", the agent acts on what it
   sees; with "inside", it acts in the dream. */
class Game {
  constructor(model, {seed = 1, mode = "agent", dreams = 1} = {}) {
    Object.assign(this, {model, seed, mode, dreams});
    this.restart();
  }

  restart() {
    this.random = seeded(this.seed++);
    this.real = CartPole.start(this.random);
    this.steps = 0;
    this.over = false;
    this.open = this.mode !== "inside";  // the dream's eyes
    this.turn = 0;
    const nothing = new Float64Array(2);
    this.seen = this.model.observeStep(this.model.initial(), nothing, this.real, true, this.model.draws(this.random));
    this.states = this.copies(this.seen.state);
    this.drift = [];
    this.surprises = [];
    this.read();
  }

  copies(state) { return Array.from({length: this.dreams}, () => ({h: state.h, z: state.z})); }

  setDreams(count) {
    this.dreams = count;
    while (this.states.length < count) this.states.push({...this.states[0]});
    this.states.length = count;
    this.read();
  }

  setMode(mode) {
    this.mode = mode;
    if (mode === "inside") this.open = false;
  }

  /* Open or close the dream's eyes. When they open, each dream jumps to the state that the agent knows from looking. */
  setEyes(open) {
    this.open = open && this.mode !== "inside";
    if (this.open) { this.states = this.copies(this.seen.state); this.read(); }
  }

  choose(state) { return this.random() < this.model.policy(this.model.feature(state))[1] ? 1 : 0; }

  /* One step. wish: 0, 1, or null, when no key is held: pushes alternate then, since CartPole always pushes. */
  step(wish = null) {
    if (this.over) return;
    const {model} = this;
    let side = wish;
    if (this.mode === "agent") side = this.choose(this.seen.state);
    if (this.mode === "inside") side = this.choose(this.states[0]);
    if (side === null) side = this.turn = 1 - this.turn;
    const action = Float64Array.of(side ? 0 : 1, side ? 1 : 0);
    this.steps++;
    this.side = side;
    if (this.mode !== "inside") {
      this.real = CartPole.step(this.real, side);
      this.seen = model.observeStep(this.seen.state, action, this.real, false, model.draws(this.random));
    }
    const dreamed = state => model.imagineStep(state, action, model.draws(this.random));
    this.states = this.open ? this.copies(this.seen.state) : this.states.map(dreamed);
    this.read();
    this.over = this.mode === "inside" ? this.continues < 0.5 : CartPole.fallen(this.real) || this.steps >= 500;
  }

  /* What the dreams show now, and the chart's values for this step. */
  read() {
    const features = this.states.map(state => this.model.feature(state));
    this.shown = features.map(feature => this.model.decode(feature));
    this.continues = this.model.continues(features[0]) / (1 - 1 / this.model.config.discountHorizon);
    this.reward = this.model.reward(features[0]);
    const ranges = [2.4, 3, 0.21, 3];  // of each number, in a typical episode
    const shares = ranges.map((range, i) => Math.min(Math.abs(this.real[i] - this.shown[0][i]) / range, 1));
    this.apart = this.mode === "inside" ? NaN : shares.reduce((a, b) => a + b, 0) / 4;
    this.drift[this.steps] = this.apart;
    this.surprises[this.steps] = this.open ? this.seen.surprise : NaN;
  }
}

if (typeof module !== "undefined") module.exports = {WorldModel, CartPole, Game, seeded, unpack};
