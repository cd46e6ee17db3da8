// The words that the model knows, as chips that put a phrase into the prompt or take it out.

const LABELS = { subject: "Who", age: "Age", style: "Style", make_up: "Make-up", figure: "Clothes", background: "Background", view: "View", gaze: "Gaze", mood: "Mood", lens: "Lens", light: "Light" };

const escape = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const find = (phrase) => new RegExp(`(?<![\\p{L}-])${escape(phrase).replaceAll(" ", "[ -]")}(?![\\p{L}-])`, "iu");

/** The longest phrase of an attribute that stands in the prompt; undefined if none does. */
function spoken(prompt, values) {
  const all = Object.entries(values).flatMap(([value, phrases]) => phrases.map((phrase, kind) => ({ value, phrase, kind })));
  return all.sort((a, b) => b.phrase.length - a.phrase.length).find(({ phrase }) => find(phrase).test(prompt));
}

/**
 * Put a phrase into a prompt where the model's captions have it, or take it out if it is there.
 *
 * @param {string} prompt
 * @param {string} attribute
 * @param {string} value of the attribute; its other values give way to it
 * @param {Record<string, {values: Record<string, string[]>}>} vocabulary
 */
export function togglePhrase(prompt, attribute, value, vocabulary) {
  const { values } = vocabulary[attribute];
  const old = spoken(prompt, values);
  const remove = old?.value === value;
  const phrase = values[value][old?.kind] ?? values[value][0];
  if (attribute === "subject") {
    if (remove) return prompt; // the model has learned no prompt without one
    return old ? prompt.replace(find(old.phrase), phrase) : tidy(`${phrase}, ${prompt}`);
  }
  if (attribute === "age") return setAge(prompt, old?.phrase, remove ? "" : values[value][0], vocabulary.subject.values);
  if (attribute === "style") return setStyle(prompt, old?.phrase, remove ? "portrait" : phrase);
  if (old && !remove) return prompt.replace(find(old.phrase), phrase);
  if (!remove) return tidy(`${prompt}, ${phrase}`);
  const apart = old.phrase.startsWith("on ") || old.phrase.endsWith(" on") // "red on blue" says two things
    ? prompt.replace(new RegExp(`(?<![\\p{L}-])(${Object.keys(values).join("|")}) on (\\p{L}+)`, "iu"), "dressed in $1, $2 background")
    : prompt;
  return tidy(apart.replace(find(spoken(apart, values).phrase), ""));
}

/** "portrait of a knight" and "old": "portrait of a old knight", as the captions have it. */
function setAge(prompt, old, age, subjects) {
  const without = old ? tidy(prompt.replace(find(old), "")) : prompt;
  const subject = spoken(without, subjects)?.phrase;
  if (!subject) return tidy(`${without}, ${age}`);
  const article = age === "oldest" ? "the" : "a";
  return without.replace(new RegExp(`(\\b(?:an?|the) )?${find(subject).source}`, "iu"), (found, before) => {
    const who = before ? found.slice(before.length) : found;
    return [before && article, age, who].filter(Boolean).join(" ");
  });
}

/** The style opens the prompt: "oil painting of a knight". */
function setStyle(prompt, old, style) {
  const before = old ? find(old) : /(?<![\p{L}-])portrait(?! photography)(?![\p{L}-])/iu; // not that of the lens
  if (before.test(prompt)) return tidy(prompt.replace(before, style));
  return prompt.trim() ? `${style} of ${prompt.trim()}` : style;
}

function tidy(prompt) {
  return prompt.replace(/\s*,(\s*,)+/g, ",").replace(/\s+/g, " ").replace(/^[\s,]+|[\s,]+$/g, "").replace(/\s+,/g, ",");
}

/**
 * Fill an element with chips, a group for each attribute.
 *
 * @param {HTMLElement} place
 * @param {Record<string, {values: Record<string, string[]>}>} vocabulary
 * @param {HTMLTextAreaElement} prompt
 * @returns {() => void} marks the chips whose phrase stands in the prompt
 */
export function makeChips(place, vocabulary, prompt) {
  const chips = [];
  for (const [attribute, label] of Object.entries(LABELS).filter(([name]) => name in vocabulary)) {
    const group = document.createElement("fieldset");
    group.append(Object.assign(document.createElement("legend"), { textContent: label }));
    for (const [value, phrases] of Object.entries(vocabulary[attribute].values)) {
      const chip = Object.assign(document.createElement("button"), { type: "button", textContent: phrases[0] });
      chip.addEventListener("click", () => {
        prompt.value = togglePhrase(prompt.value, attribute, value, vocabulary);
        prompt.dispatchEvent(new Event("input", { bubbles: true }));
      });
      chips.push({ chip, phrases });
      group.append(chip);
    }
    place.append(group);
  }
  const refresh = () => {
    for (const { chip, phrases } of chips) chip.setAttribute("aria-pressed", phrases.some((phrase) => find(phrase).test(prompt.value)));
  };
  refresh();
  return refresh;
}
