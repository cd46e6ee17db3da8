// Text to image: the loop of notebook 01 in JavaScript. Networks run in ONNX Runtime Web.

import { Generator, randn } from "./random.js";
import { DDIM, DPMSolverMultistep, LCM } from "./schedulers.js";

const CHANNELS = 12;
const LATENT_SIZE = 16;
const TOKENS = 77;
export const IMAGE_SIZE = 128;

export const SCHEDULERS = { DPMSolverMultistepScheduler: DPMSolverMultistep, DDIMScheduler: DDIM, LCMScheduler: LCM };

/**
 * @typedef {object} Request what to generate
 * @property {string} prompt
 * @property {string} negativePrompt
 * @property {number | bigint | string} seed
 * @property {number} steps
 * @property {number} guidanceScale classifier-free guidance; at most 1: the prompt alone
 * @property {keyof typeof SCHEDULERS} scheduler
 *
 * @typedef {object} Step what a step has made
 * @property {number} index of the step, from 0
 * @property {number} steps
 * @property {Float32Array} before the latents that the step began with (12 x 16 x 16)
 * @property {Float32Array} latents those that it ended with; after the last step, the finished image
 * @property {Float32Array} original the predicted image, in latents
 * @property {number} timestep
 * @property {Float32Array} maps attention of each position to each token (77 x 16 x 16)
 * @property {Float32Array} conditional the noise predicted with the prompt, in latents
 * @property {Float32Array | null} unconditional the same without it; null without guidance
 */

export class Pipeline {
  /**
   * @param {object} ort the ONNX Runtime module
   * @param {{textEncoder: object, unet: object, decoder: object}} sessions
   * @param {import("./tokenizer.js").Tokenizer} tokenizer
   */
  constructor(ort, sessions, tokenizer) {
    Object.assign(this, { ort, sessions, tokenizer });
  }

  /** @param {Request} request @yields {Step} */
  async *generate(request) {
    const guided = request.guidanceScale > 1;
    const prompts = guided ? [request.negativePrompt, request.prompt] : [request.prompt];
    const states = await this.encode(prompts);
    const generator = new Generator(request.seed);
    let latents = randn(generator, CHANNELS * LATENT_SIZE ** 2);
    const scheduler = new SCHEDULERS[request.scheduler](request.steps, generator);
    for (const [index, timestep] of scheduler.timesteps.entries()) {
      const { noise, maps } = await this.predictNoise(latents, timestep, states, prompts.length);
      const conditional = noise.at(-1);
      const unconditional = guided ? noise[0] : null;
      const guess = guided
        ? conditional.map((c, i) => noise[0][i] + request.guidanceScale * (c - noise[0][i]))
        : conditional;
      const before = latents;
      const { latents: next, original } = scheduler.step(guess, index, latents);
      latents = next;
      const steps = scheduler.timesteps.length;
      yield { index, steps, timestep, before, latents, original, maps, conditional, unconditional };
    }
  }

  /** The hidden states of prompts, (prompts x 77 x 128). */
  async encode(prompts) {
    const ids = prompts.flatMap((prompt) => this.tokenizer.encode(prompt).ids);
    const input = new this.ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [prompts.length, TOKENS]);
    const { states } = await this.sessions.textEncoder.run({ ids: input });
    return states;
  }

  /** The noise in the latents, predicted for each prompt, and the attention maps of the last. */
  async predictNoise(latents, timestep, states, batch) {
    const sample = new Float32Array(batch * latents.length);
    for (let i = 0; i < batch; i++) sample.set(latents, i * latents.length);
    const { noise, maps } = await this.sessions.unet.run({
      sample: new this.ort.Tensor("float32", sample, [batch, CHANNELS, LATENT_SIZE, LATENT_SIZE]),
      timestep: new this.ort.Tensor("float32", [timestep], []),
      states,
    });
    const part = (data, i) => data.slice((i * data.length) / batch, ((i + 1) * data.length) / batch);
    const noises = Array.from({ length: batch }, (_, i) => part(noise.data, i));
    return { noise: noises, maps: part(maps.data, batch - 1) };
  }

  /** Latents (12 x 16 x 16) to the pixels of an image: 128 x 128, red, green, blue and opacity. */
  async decode(latents) {
    const shape = [1, CHANNELS, LATENT_SIZE, LATENT_SIZE];
    const { image } = await this.sessions.decoder.run({ latents: new this.ort.Tensor("float32", latents, shape) });
    const area = IMAGE_SIZE ** 2;
    const pixels = new Uint8ClampedArray(4 * area).fill(255);
    for (let i = 0; i < area; i++) {
      for (let c = 0; c < 3; c++) pixels[4 * i + c] = Math.round((image.data[c * area + i] / 2 + 0.5) * 255);
    }
    return pixels;
  }
}
