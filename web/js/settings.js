// The settings of an image: checked, written as the notebooks' `save_image` writes them, read from either.

const CHUNK = "effective-diffusion";
const SAMPLERS = { DPMSolverMultistepScheduler: "DPM++ 2M", DDIMScheduler: "DDIM", LCMScheduler: "LCM" };
export const MAX_SEED = 2n ** 64n - 1n;
const SIZE = 128;
const FEW_STEPS = "tiny-portraits-lcm"; // the LoRA weights that are merged into the U-Net for LCM

/**
 * @typedef {object} Settings
 * @property {string} prompt
 * @property {string} negativePrompt
 * @property {string} seed a whole number from 0 to 2**64 - 1, as text: JavaScript's numbers end at 2**53
 * @property {number} steps
 * @property {number} guidanceScale
 * @property {string} scheduler
 */

/** Return what is wrong with settings, in a sentence; "" if nothing is. @param {Settings} settings */
export function problemOf({ prompt, negativePrompt, seed, steps, guidanceScale, scheduler }) {
  if (Math.max(prompt.length, negativePrompt.length) > 10_000) return "The prompt is too long: use at most 10,000 characters.";
  if (!/^\d{1,20}$/.test(seed) || BigInt(seed) > MAX_SEED) return "The seed must be a whole number from 0 to 18446744073709551615.";
  if (!Number.isInteger(steps) || steps < 1 || steps > 100) return "The number of steps must be a whole number from 1 to 100.";
  if (!(guidanceScale >= 0 && guidanceScale <= 20)) return "The guidance scale must be a number from 0 to 20.";
  if (!(scheduler in SAMPLERS)) return `This page has no ${scheduler}: choose one of ${Object.keys(SAMPLERS).join(", ")}.`;
  return "";
}

const lorasOf = (scheduler) => (scheduler === "LCMScheduler" ? { [FEW_STEPS]: 1 } : {});

/** The text chunks of a PNG with these settings. @param {Settings} settings */
export function toTexts(settings) {
  const { prompt, negativePrompt, seed, steps, guidanceScale, scheduler } = settings;
  const json = {
    prompt, negative_prompt: negativePrompt, seed: 0, num_inference_steps: steps, guidance_scale: guidanceScale,
    scheduler, model: "tiny-portraits", dtype: "float32", height: SIZE, width: SIZE, loras: lorasOf(scheduler),
  };
  // A seed beyond 2**53 survives only as digits, not as a JavaScript number.
  const full = JSON.stringify(json).replace('"seed":0', `"seed":${BigInt(seed)}`);
  const values = `Steps: ${steps}, Sampler: ${SAMPLERS[scheduler]}, CFG scale: ${guidanceScale}, Seed: ${BigInt(seed)}, Size: ${SIZE}x${SIZE}, Model: tiny-portraits`;
  const negative = negativePrompt ? `Negative prompt: ${negativePrompt}\n` : "";
  const loras = Object.entries(json.loras).map(([name, strength]) => ` <lora:${name}:${strength}>`).join("");
  return { parameters: `${prompt}${loras}\n${negative}${values}`, [CHUNK]: full };
}

/**
 * Read settings from the text chunks of a PNG.
 *
 * @returns {Settings}
 * @throws {Error} there are none, or this page cannot use them
 */
export function fromTexts(texts) {
  if (!(CHUNK in texts)) throw new Error("This image holds no settings: only images saved here or in the notebooks do.");
  const seed = texts[CHUNK].match(/"seed":\s*(\d+)/)?.[1] ?? "";
  let data;
  try {
    data = JSON.parse(texts[CHUNK]);
  } catch {
    throw new Error("The settings in this image are damaged.");
  }
  if (data.model !== "tiny-portraits") throw new Error(`This image was made by another model (${data.model}).`);
  if ([data.height, data.width].some((side) => (side ?? SIZE) !== SIZE)) throw new Error(`This image has another size than the ${SIZE} x ${SIZE} pixels of this page.`);
  const settings = {
    prompt: String(data.prompt), negativePrompt: String(data.negative_prompt ?? ""), seed,
    steps: data.num_inference_steps, guidanceScale: data.guidance_scale, scheduler: data.scheduler,
  };
  const problem = problemOf(settings);
  if (problem) throw new Error(problem);
  const { [FEW_STEPS]: fewSteps = 0, ...others } = data.loras ?? {};
  const changes = [...Object.keys(others), data.unrecorded].filter(Boolean).join(", ");
  if (changes) throw new Error(`This image was made with ${changes}, which this page does not have.`);
  if (fewSteps !== (lorasOf(settings.scheduler)[FEW_STEPS] ?? 0)) throw new Error("This page uses the weights for few steps with LCM, and only with it; this image was made otherwise.");
  return settings;
}

/** The part of a link after "#" that holds prompt, seed and what else differs from the page's defaults. */
export function toLink(settings, defaults) {
  const changed = Object.entries(settings).filter(([name, value]) => name === "prompt" || name === "seed" || value !== defaults[name]);
  return new URLSearchParams(changed).toString();
}

/** The settings in a link; what it leaves out, or says wrongly, is the default's. */
export function fromLink(hash, defaults) {
  const found = new URLSearchParams(hash.replace(/^#/, ""));
  let settings = { ...defaults };
  for (const [name, value] of Object.entries(defaults)) {
    if (!found.has(name)) continue;
    const changed = { ...settings, [name]: typeof value === "number" ? Number(found.get(name)) : found.get(name) };
    if (!problemOf(changed)) settings = changed;
  }
  return settings;
}
