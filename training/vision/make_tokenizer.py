"""Trains the tokenizer on questions and answers: byte-level BPE with GLM-4's split.

    python make_tokenizer.py --out OUT

Writes OUT/tokenizer.json. The special tokens have GLM-4.1V's names and stand behind the
ordinary ones, as they do there.
"""

import argparse
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from questions import ONE, TWO, draw_from, sample_pair

ORDINARY = 640
SPECIAL = [
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "<|image|>",
    "<|video|>",
]
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def texts(rng, pairs):
    for _ in range(pairs):
        first, second = sample_pair(rng)
        yield from draw_from(rng, ONE)(rng, first)
        yield from draw_from(rng, TWO)(rng, first, second)
    # Words that people type and the questions lack become tokens of a few pieces.
    yield from 50 * ["Hello! Can you tell me what you think about these, and who you are?"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=ORDINARY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(np.random.default_rng(1), 20_000), trainer)
    size = tokenizer.get_vocab_size()
    if size != ORDINARY:
        raise SystemExit(f"the text gives {size} tokens, not {ORDINARY}")
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(args.out / "tokenizer.json"))
    for text in ("Which picture has more circles?", "First picture: 3 red circles on white."):
        print(tokenizer.encode(text).tokens)


if __name__ == "__main__":
    main()
