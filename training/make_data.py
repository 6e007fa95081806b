"""Writes the training text: one JSON document a line, the same for the same seed.

    python make_data.py --out OUT --documents 160000 --seed 1

Every sentence comes from the grammars in stories.py, prompts.py and chats.py;
nothing is read and nothing but the standard library is used. A line holds the
document's kind and its text with the control tokens written out.
"""

import argparse
import json
import random
from pathlib import Path

from chats import chat, plain_facts
from prompts import prompt_text
from stories import book, story

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
ROLES = {role: f"<|{role}|>" for role in ("system", "user", "assistant")}


def render(messages):
    """The chat template in Python; export_gguf.py holds the same one in Jinja."""
    return BEGIN + "".join(f"{ROLES[role]}{text}{END}" for role, text in messages)


def plain(text):
    return BEGIN + text + END


def document(rng):
    """(kind, text) of one document; `long` ones want a context of up to 2048 tokens."""
    roll = rng.random()
    if roll < 0.27:
        return "story", plain(story(rng))
    if roll < 0.43:
        return "prompt", plain(prompt_text(rng))
    if roll < 0.46:
        return "facts", plain(plain_facts(rng))
    if roll < 0.95:
        return "chat", render(chat(rng))
    if roll < 0.975:
        return "long", plain(book(rng, rng.randint(4, 10)))
    return "long", render(chat(rng, turns=rng.randint(8, 22)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for data.jsonl")
    parser.add_argument("--documents", type=int, default=160_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "data.jsonl", "w", encoding="utf-8") as file:
        for _ in range(args.documents):
            kind, text = document(rng)
            file.write(json.dumps({"kind": kind, "text": text}) + "\n")


if __name__ == "__main__":
    main()
