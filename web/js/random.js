// PyTorch's CPU generator, so that a seed means the same image here and in the notebooks.
//
// Source: pytorch, aten/src/ATen/core/MT19937RNGEngine.h and aten/src/ATen/native/cpu/DistributionTemplates.h
// (`normal_fill`): numbers from a 32-bit Mersenne Twister, made normal in blocks of 16 by Box and Muller.

const N = 624;
const M = 397;
const BLOCK = 16;

/** The Mersenne Twister MT19937 of `torch.Generator("cpu").manual_seed(seed)`. */
export class Generator {
  /** @param {number | bigint} seed a whole number from 0 to 2**64 - 1; PyTorch uses its lower 32 bits */
  constructor(seed) {
    this.state = new Uint32Array(N);
    this.state[0] = Number(BigInt.asUintN(32, BigInt(seed)));
    for (let i = 1; i < N; i++) {
      const previous = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, previous) + i;
    }
    this.position = N;
  }

  /** @returns {number} the next whole number from 0 to 2**32 - 1 */
  next() {
    if (this.position === N) this.#renew();
    let y = this.state[this.position++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #renew() {
    const state = this.state;
    for (let i = 0; i < N; i++) {
      const mixed = (state[i] & 0x80000000) | (state[(i + 1) % N] & 0x7fffffff);
      state[i] = state[(i + M) % N] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
    }
    this.position = 0;
  }
}

/**
 * Normally distributed numbers, as `torch.randn(size, generator=generator)` draws them.
 *
 * @param {Generator} generator
 * @param {number} size at least 16: PyTorch draws fewer numbers in another way
 * @returns {Float32Array}
 */
export function randn(generator, size) {
  if (size < BLOCK) throw new RangeError(`randn draws at least ${BLOCK} numbers, not ${size}`);
  const values = new Float32Array(size);
  const uniform = () => (generator.next() & 0xffffff) / 2 ** 24;
  for (let i = 0; i < size; i++) values[i] = uniform();
  for (let start = 0; start + BLOCK <= size; start += BLOCK) makeNormal(values, start);
  if (size % BLOCK) {
    // PyTorch fills up the last block with new numbers.
    for (let i = size - BLOCK; i < size; i++) values[i] = uniform();
    makeNormal(values, size - BLOCK);
  }
  return values;
}

// PyTorch computes in float32; rounding where it does keeps the numbers within 4e-7 of its own.
function makeNormal(values, start) {
  const round = Math.fround;
  const turn = round(2 * Math.PI);
  for (let i = start; i < start + BLOCK / 2; i++) {
    const radius = round(Math.sqrt(round(-2 * round(Math.log(round(1 - values[i]))))));
    const angle = round(turn * values[i + BLOCK / 2]);
    values[i] = radius * round(Math.cos(angle));
    values[i + BLOCK / 2] = radius * round(Math.sin(angle));
  }
}
