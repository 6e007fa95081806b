"""Measures how often the shipped model's greedy answer is exactly right, by skill.

    python evaluate.py --model ../models/choral-demo-q8_0.gguf

The questions are drawn from the generators of the training text with a seed of
their own, so most wordings and many whole questions were seen in training.
An answer is right if every token is the most likely one given those before it,
which is the same as greedy generation giving exactly that answer.
"""

import argparse
import random
from pathlib import Path

import skills
from chats import named, system_chat
from reference import Model, rendered, tokenizer_of

SINGLE = [
    skills.count,
    skills.arithmetic,
    skills.colour,
    skills.opposite,
    skills.capital,
    skills.job,
    skills.tool,
    skills.animal_fact,
    skills.echo,
    skills.yes_no,
    skills.as_json,
]


def single(skill):
    """A maker of one-turn chats for one skill."""

    def make(rng):
        ask, answer, _ = skill(rng)
        return [("user", ask), ("assistant", answer)]

    return make


def with_system(rng):
    """A chat whose system prompt asks for a shape that leaves one right answer."""
    while True:
        chat = system_chat(rng)
        text = chat[0][1]
        if not text.startswith("You are"):
            return chat[:3]


def right(model, tokenizer, chat):
    prompt = tokenizer.encode(rendered(chat[:-1]), add_special_tokens=False).ids
    answer = tokenizer.encode(chat[-1][1] + "<|end|>", add_special_tokens=False).ids
    best = model.logits(prompt + answer[:-1])[len(prompt) - 1 :].argmax(-1)
    return best.tolist() == answer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=100, help="of each kind")
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    model = Model(args.model)
    tokenizer = tokenizer_of(model.meta)
    kinds = {s.__name__: single(s) for s in SINGLE}
    kinds |= {"name, turns later": named, "system prompt": with_system}
    for name, make in kinds.items():
        rng = random.Random(args.seed)
        count = sum(right(model, tokenizer, make(rng)) for _ in range(args.questions))
        print(f"{name}: {count} of {args.questions}", flush=True)


if __name__ == "__main__":
    main()
