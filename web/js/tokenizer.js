// CLIP's tokenizer: a prompt in small letters, cut into words, each merged from bytes by byte-pair encoding.
//
// Source: transformers, `CLIPTokenizer`; it reads the same tokenizer.json.

const MAX_LENGTH = 77;
const START = "<|startoftext|>";
const END = "<|endoftext|>";
const PATTERN = /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+/gu;

/** GPT-2's alphabet: a printable character for each byte. */
function byteAlphabet() {
  const printable = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  let extra = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : extra++));
}

export class Tokenizer {
  /** @param {object} file the parsed tokenizer.json */
  constructor(file) {
    this.vocabulary = new Map(Object.entries(file.model.vocab));
    for (const { content, id } of file.added_tokens) this.vocabulary.set(content, id);
    this.ranks = new Map(file.model.merges.map((pair, rank) => [pair.join(" "), rank]));
    this.alphabet = byteAlphabet();
    this.cache = new Map();
  }

  /**
   * @param {string} prompt
   * @returns {{ids: number[], words: {text: string, first: number, last: number}[], cut: string}} 77 token ids; the
   *   words of the prompt with the positions of their tokens; the end of the prompt that was cut off, "" if none was
   */
  encode(prompt) {
    const ids = [this.vocabulary.get(START)];
    const words = [];
    let cut = "";
    const text = prompt.normalize("NFC").replace(/\s+/gu, " ").toLowerCase();
    for (const { 0: word, index } of text.matchAll(PATTERN)) {
      const tokens = this.#encodeWord(word);
      const room = MAX_LENGTH - 1 - ids.length;
      if (tokens.length > room && !cut) cut = text.slice(index);
      if (room > 0) {
        const taken = tokens.slice(0, room);
        words.push({ text: word, first: ids.length, last: ids.length + taken.length - 1 });
        ids.push(...taken);
      } else break;
    }
    const end = this.vocabulary.get(END);
    while (ids.length < MAX_LENGTH) ids.push(end);
    return { ids, words, cut };
  }

  /** Whether a word is one token: a model that learned its tokens from its captions has seen it. */
  knows(word) {
    return this.#encodeWord(word.toLowerCase()).length === 1;
  }

  #encodeWord(word) {
    if (this.vocabulary.has(word) && (word === START || word === END)) return [this.vocabulary.get(word)];
    if (this.cache.has(word)) return this.cache.get(word);
    const bytes = [...new TextEncoder().encode(word)].map((b) => this.alphabet[b]);
    bytes[bytes.length - 1] += "</w>";
    const pieces = this.#merge(bytes);
    const unknown = this.vocabulary.get(END);
    const ids = pieces.map((piece) => this.vocabulary.get(piece) ?? unknown);
    if (this.cache.size < 10_000) this.cache.set(word, ids);
    return ids;
  }

  #merge(pieces) {
    for (;;) {
      let best = Infinity;
      for (let i = 0; i + 1 < pieces.length; i++) {
        best = Math.min(best, this.ranks.get(`${pieces[i]} ${pieces[i + 1]}`) ?? Infinity);
      }
      if (best === Infinity) return pieces;
      const merged = [];
      for (let i = 0; i < pieces.length; i++) {
        const pair = i + 1 < pieces.length && this.ranks.get(`${pieces[i]} ${pieces[i + 1]}`) === best;
        merged.push(pair ? pieces[i] + pieces[i + 1] : pieces[i]);
        if (pair) i++;
      }
      pieces = merged;
    }
  }
}
