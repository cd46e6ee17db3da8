// The schedulers of the page, in the arithmetic of Diffusers.
//
// A scheduler lists the timesteps of a run; `step` takes the predicted noise at one of them and returns the next
// latents and the predicted image ("predicted original sample", x0), both in latent space.
// Source: diffusers, schedulers/scheduling_dpmsolver_multistep.py, scheduling_ddim.py and scheduling_lcm.py, with the
// settings that `from_config` takes over from Stable Diffusion 1.5's scheduler_config.json.

import { randn } from "./random.js";

const TRAIN_TIMESTEPS = 1000;
const BETA_START = 0.00085;
const BETA_END = 0.012;
const LCM_ORIGINAL_STEPS = 50;
const LCM_TIMESTEP_SCALING = 10;
const LCM_SIGMA_DATA = 0.5;

/** The share of the clean image's variance that is left at each timestep of the training. */
export const ALPHAS_CUMPROD = makeAlphasCumprod();

function makeAlphasCumprod() {
  const alphas = new Float64Array(TRAIN_TIMESTEPS);
  const [first, last] = [Math.sqrt(BETA_START), Math.sqrt(BETA_END)];
  let product = 1;
  for (let t = 0; t < TRAIN_TIMESTEPS; t++) {
    const beta = (first + ((last - first) * t) / (TRAIN_TIMESTEPS - 1)) ** 2;
    product *= 1 - beta;
    alphas[t] = product;
  }
  return alphas;
}

/** Apply a function of two numbers to each pair of entries. */
function combine(a, b, f) {
  return Float32Array.from(a, (value, i) => f(value, b[i]));
}

/** The image that is left when the predicted noise is taken out of the latents at timestep t. */
export function predictOriginal(latents, noise, t) {
  const [alpha, sigma] = [Math.sqrt(ALPHAS_CUMPROD[t]), Math.sqrt(1 - ALPHAS_CUMPROD[t])];
  return combine(latents, noise, (x, e) => (x - sigma * e) / alpha);
}

/** DPM-Solver++ 2M (Lu et al. 2022, arXiv:2211.01095): each step also uses the prediction of the step before. */
export class DPMSolverMultistep {
  constructor(steps) {
    this.timesteps = [];
    for (let i = steps; i >= 1; i--) this.timesteps.push(roundHalfToEven(i * ((TRAIN_TIMESTEPS - 1) / steps)));
    this.previous = null; // the predicted image of the step before
  }

  step(noise, index, latents) {
    const t = this.timesteps[index];
    const original = predictOriginal(latents, noise, t);
    const last = index === this.timesteps.length - 1;
    let next = original; // the final noise level is zero
    if (!last) {
      const [from, to] = [level(t), level(this.timesteps[index + 1])];
      const h = to.lambda - from.lambda;
      const scale = -to.alpha * Math.expm1(-h);
      let slope = null;
      if (this.previous) {
        const r = (from.lambda - level(this.timesteps[index - 1]).lambda) / h;
        slope = combine(original, this.previous, (now, before) => (now - before) / r);
      }
      next = combine(latents, original, (x, d) => (to.sigma / from.sigma) * x + scale * d);
      if (slope) next = combine(next, slope, (x, d) => x + 0.5 * scale * d);
    }
    this.previous = original;
    return { latents: next, original };
  }
}

/** The share of image and of noise at a timestep, and half the logarithm of their ratio squared. */
function level(t) {
  const [alpha, sigma] = [Math.sqrt(ALPHAS_CUMPROD[t]), Math.sqrt(1 - ALPHAS_CUMPROD[t])];
  return { alpha, sigma, lambda: Math.log(alpha) - Math.log(sigma) };
}

/** DDIM (Song et al. 2020, arXiv:2010.02502) without added noise. */
export class DDIM {
  constructor(steps) {
    const stride = Math.floor(TRAIN_TIMESTEPS / steps);
    this.stride = stride;
    this.timesteps = Array.from({ length: steps }, (_, i) => (steps - 1 - i) * stride + 1);
  }

  step(noise, index, latents) {
    const t = this.timesteps[index];
    const original = predictOriginal(latents, noise, t);
    const alpha = ALPHAS_CUMPROD[Math.max(t - this.stride, 0)];
    const next = combine(original, noise, (x, e) => Math.sqrt(alpha) * x + Math.sqrt(1 - alpha) * e);
    return { latents: next, original };
  }
}

/** Latent consistency (Luo et al. 2023, arXiv:2310.04378): predict the image, add noise again, a few times. */
export class LCM {
  constructor(steps, generator) {
    const stride = Math.floor(TRAIN_TIMESTEPS / LCM_ORIGINAL_STEPS);
    const trained = Array.from({ length: LCM_ORIGINAL_STEPS }, (_, i) => (LCM_ORIGINAL_STEPS - i) * stride - 1);
    this.timesteps = Array.from({ length: steps }, (_, i) => trained[Math.floor((i * LCM_ORIGINAL_STEPS) / steps)]);
    this.generator = generator;
  }

  step(noise, index, latents) {
    const t = this.timesteps[index];
    const scaled = t * LCM_TIMESTEP_SCALING;
    const skip = LCM_SIGMA_DATA ** 2 / (scaled ** 2 + LCM_SIGMA_DATA ** 2);
    const out = scaled / Math.sqrt(scaled ** 2 + LCM_SIGMA_DATA ** 2);
    const original = predictOriginal(latents, noise, t);
    const denoised = combine(original, latents, (d, x) => out * d + skip * x);
    if (index === this.timesteps.length - 1) return { latents: denoised, original: denoised };
    const alpha = ALPHAS_CUMPROD[this.timesteps[index + 1]];
    const added = randn(this.generator, latents.length);
    const next = combine(denoised, added, (d, e) => Math.sqrt(alpha) * d + Math.sqrt(1 - alpha) * e);
    return { latents: next, original: denoised };
  }
}

/** Round as NumPy does: a half goes to the even neighbour. */
function roundHalfToEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 ? floor + 1 : floor;
}
