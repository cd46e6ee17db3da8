"""What a prompt may say: the phrases for every attribute, captions made of them, the tokenizer.

Captions follow the grammar of the Diffusers page's prompt, "portrait photo of the oldest warrior
chief, tribal panther make up, blue on red, side profile, looking away, serious eyes 50mm portrait
photography, hard rim lighting photography", with clauses left out, reworded and reordered at
random. What a caption leaves out is either open or plain: no word for the age means an adult, none
for make-up a bare face, none for the style a photo.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from training.portraits import DIRECTIONS, VALUES, Spec

MERGES = 420
# The chance that a clause is kept, and how many captions get each: a fifth is as short as the
# prompts that people type.
KEEP, KEEP_SHARES = (0.1, 0.25, 0.7, 0.95), (0.22, 0.26, 0.26, 0.26)
START, END = "<|startoftext|>", "<|endoftext|>"

# attribute -> {"values": {value: [phrases]}, "default": value when no phrase is found}
VOCABULARY: dict[str, dict] = {
    "subject": {
        "values": {s: [s] for s in VALUES["subject"]}
        | {"ranger": ["ranger", "hooded ranger"], "pirate": ["pirate", "pirate captain"]}
    },
    "age": {
        "default": "adult",
        "values": {
            "young": ["young", "youthful"],
            "adult": ["middle-aged", "grown"],
            "old": ["old", "elderly"],
            "oldest": ["oldest", "ancient"],
        },
    },
    "make_up": {
        "default": "none",
        "values": {
            "none": ["no make up", "bare face"],
            "panther": ["tribal panther make up", "panther make up", "panther face paint"],
            "stripes": ["tribal stripe make up", "stripe make up", "striped face paint"],
            "star": ["star make up", "star face paint"],
        },
    },
    "figure": {"values": {c: [f"dressed in {c}", f"{c} on"] for c in VALUES["figure"]}},
    "background": {"values": {c: [f"{c} background", f"on {c}"] for c in VALUES["background"]}},
    "view": {
        "values": {
            "front": ["front view", "seen from the front"],
            "side": ["side profile", "seen from the side"],
        }
    },
    "gaze": {
        "values": {
            "camera": ["looking at the camera", "looking at us"],
            "away": ["looking away", "averted eyes"],
        }
    },
    "mood": {
        "values": {
            "serious": ["serious eyes", "serious", "stern"],
            "smiling": ["smiling", "happy smile"],
        }
    },
    "lens": {
        "values": {
            "50mm": ["50mm portrait photography", "50mm", "blurred background"],
            "wide": ["wide angle photography", "wide angle", "sharp landscape behind"],
        }
    },
    "light": {
        "values": {
            "soft": ["soft lighting photography", "soft lighting"],
            "rim": ["hard rim lighting photography", "hard rim lighting", "rim light"],
        }
    },
    "style": {
        "default": "photo",
        "values": {
            "photo": ["portrait photo", "photo"],
            "oil": ["oil painting", "oil portrait"],
            "sketch": ["pencil sketch", "pencil drawing"],
            "watercolour": ["watercolour", "watercolor"],
            "comic": ["comic book drawing", "comic"],
        },
    },
}
# What no caption says and a judge reads all the same, to tell whether a composition stays. Only a
# profile faces one way.
DIRECTION = {
    "direction": {
        "only": {"view": "side"},
        "values": {direction: [f"facing {direction}"] for direction in DIRECTIONS},
    }
}
# Words that prompts are full of and that no drawing shows: to be read past.
FILLER = ["highly detailed", "8k", "masterpiece", "sharp focus", "award winning", "intricate",
          "--beta", "--ar 2:3", "--upbeta", "trending"]  # fmt: skip


def phrases(attribute: str) -> list[str]:
    """The first phrase of every value, in the order of `VALUES`: what zero-shot reading compares.

    >>> phrases("view")
    ['front view', 'side profile']
    """
    return [words[0] for words in (VOCABULARY | DIRECTION)[attribute]["values"].values()]


def must_say(spec: Spec, attribute: str) -> bool:
    """Whether a caption has to name this attribute, because it is not the plain default.

    >>> must_say(Spec(make_up="star"), "make_up"), must_say(Spec(), "make_up")
    (True, False)
    """
    return attribute in ("make_up", "style") and (
        getattr(spec, attribute) != VOCABULARY[attribute]["default"]
    )


def caption(spec: Spec, rng: np.random.Generator, keep: float | None = None) -> str:
    """A caption of `spec`, each clause kept with the chance `keep`, itself random unless it
    is given; make-up and a style other than a photo are always named.

    >>> caption(Spec(age="oldest"), np.random.default_rng(0), keep=0.0)
    'portrait of the oldest warrior chief'
    """
    keep = rng.choice(KEEP, p=KEEP_SHARES) if keep is None else keep

    def say(attribute: str) -> str:
        words = VOCABULARY[attribute]["values"][getattr(spec, attribute)]
        return words[0] if rng.random() < 0.6 else str(rng.choice(words))

    age = {"adult": ["a"] * 4 + ["a middle-aged", "a grown"],
           "young": ["a young"] * 3 + ["a youthful"],
           "old": ["a old", "an old", "an elderly"],
           "oldest": ["the oldest"] * 3 + ["an ancient"]}[spec.age]  # fmt: skip
    named = rng.random() < max(keep, 0.5) and keep > 0
    style = say("style") if named or must_say(spec, "style") else "portrait"
    head = f"{style} of {age[rng.integers(len(age))] if keep > 0 else age[0]} {say('subject')}"
    clauses = [say("make_up")] if rng.random() < keep or must_say(spec, "make_up") else []
    if rng.random() < keep:
        both = f"{spec.figure} on {spec.background}"
        single = [f"dressed in {spec.figure}", f"{spec.background} background"]
        kind = rng.random()
        clauses += [both] if kind < 0.7 else single if kind < 0.8 else [single[int(kind < 0.9)]]
    for attribute in ("view", "gaze", "mood", "lens", "light"):
        if rng.random() < keep:
            clauses.append(say(attribute))
    if rng.random() < 0.4:
        rng.shuffle(clauses)
    if keep > 0 and rng.random() < 0.15:
        clauses += [str(word) for word in rng.choice(FILLER, rng.integers(1, 4))]
    text = head
    for clause in clauses:
        text += (" " if rng.random() < 0.12 else ", ") + clause
    return text


def full_caption(spec: Spec, rng: np.random.Generator, clauses: int) -> tuple[str, list[str]]:
    """A canonical prompt that names subject, age and `clauses` further attributes, and their names.

    Make-up and a style other than a photo come first, and are named even beyond `clauses`.

    >>> full_caption(Spec(), np.random.default_rng(1), 2)
    ('portrait photo of a warrior chief, serious eyes', ['subject', 'age', 'style', 'mood'])
    """
    groups = [["style"], ["make_up"], ["figure", "background"], ["view"], ["gaze"], ["mood"],
              ["lens"], ["light"]]  # fmt: skip
    shuffled = [groups[index] for index in rng.permutation(len(groups))]
    chosen: list[str] = []
    for group in sorted(shuffled, key=lambda group: not must_say(spec, group[0])):
        if must_say(spec, group[0]) or len(chosen) + len(group) <= clauses:
            chosen += group
    first = {a: VOCABULARY[a]["values"][getattr(spec, a)][0] for a in VOCABULARY}
    age = {"young": "a young", "adult": "a", "old": "a old", "oldest": "the oldest"}[spec.age]
    head = first["style"] if "style" in chosen else "portrait"
    parts = [f"{head} of {age} {first['subject']}"]
    for group in groups[1:]:
        if group[0] in chosen:
            both = len(group) == 2
            parts.append(f"{spec.figure} on {spec.background}" if both else first[group[0]])
    return ", ".join(parts), ["subject", "age", *(a for g in groups for a in g if a in chosen)]


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """Train CLIP's byte-pair encoding on captions and save it in `folder`.

    The alphabet holds every byte, inside and at the end of a word, so no text is unknown.
    """
    from training.dataset import spec_of

    captions = [caption(spec_of(i), np.random.default_rng(i)) for i in range(4000)]
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Lowercase()
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(True),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=MERGES + 200, end_of_word_suffix="</w>", min_frequency=8
    )
    trained.train_from_iterator(captions, trainer)
    merges = [" ".join(m) if isinstance(m, list) else m
              for m in json.loads(trained.to_str())["model"]["merges"]][:MERGES]  # fmt: skip
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = alphabet + [c + "</w>" for c in alphabet] + [m.replace(" ", "") for m in merges]
    vocabulary = {t: i for i, t in enumerate(dict.fromkeys([*tokens, START, END]))}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[tuple(m.split()) for m in merges],
                              bos_token=START, eos_token=END, unk_token=END, pad_token=END,
                              model_max_length=77)  # fmt: skip
    tokenizer.save_pretrained(folder)
    return tokenizer
