"""Trains the tokenizer on the training text and encodes the text with it.

    python make_tokens.py --out OUT

Reads OUT/data.jsonl; writes OUT/tokenizer.json (byte-level BPE, split by the
`qwen2` expression, which GGUF files name in `tokenizer.ggml.pre`) and
OUT/tokens.npz, where the last documents are held out.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from make_data import BEGIN, END, PAD, ROLES

CONTROL = [PAD, BEGIN, END, *ROLES.values()]
VOCAB = 4096
HELD_OUT = 2000
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def new_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def strip_control(text):
    for token in CONTROL:
        text = text.replace(token, "\n")
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with data.jsonl")
    args = parser.parse_args()
    with open(args.out / "data.jsonl", encoding="utf-8") as file:
        documents = [json.loads(line) for line in file]

    tokenizer = new_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=CONTROL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((strip_control(d["text"]) for d in documents[:40_000]), trainer)
    tokenizer.save(str(args.out / "tokenizer.json"))

    streams = {"short": [], "long": [], "held_out": []}
    for start in range(0, len(documents), 2000):
        group = documents[start : start + 2000]
        encoded = tokenizer.encode_batch([d["text"] for d in group], add_special_tokens=False)
        for index, (doc, enc) in enumerate(zip(group, encoded, strict=True), start):
            ids = np.array(enc.ids, np.uint16)
            if index >= len(documents) - HELD_OUT:
                name = "held_out"
            else:
                # A quarter of the stories keeps the long stream company.
                to_long = doc["kind"] == "long" or (doc["kind"] == "story" and index % 4 == 0)
                name = "long" if to_long else "short"
            streams[name].append(ids)
    arrays = {name: np.concatenate(parts) for name, parts in streams.items()}
    begin = tokenizer.token_to_id(BEGIN)
    np.savez(args.out / "tokens.npz", begin=begin, vocab=tokenizer.get_vocab_size(), **arrays)
    sizes = {name: len(a) for name, a in arrays.items()}
    longest = max(len(ids) for parts in streams.values() for ids in parts)
    print(f"vocabulary {tokenizer.get_vocab_size()}, tokens {sizes}, longest document {longest}")


if __name__ == "__main__":
    main()
