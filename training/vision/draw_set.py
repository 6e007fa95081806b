"""Draws fresh pictures with questions and right answers, for `evaluate.py`.

    python draw_set.py --out OUT/set --questions 50

Writes PNG files and questions.jsonl (kind, pictures, question, answer). The seed is not
one that training uses.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from pictures import render
from questions import ONE, TWO, sample_pair


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=50, help="of each kind")
    parser.add_argument("--seed", type=int, default=987)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "questions.jsonl", "w") as file:
        for number in range(args.questions):
            pair = sample_pair(rng)
            names = [f"{number:03}-{which}.png" for which in "ab"]
            for name, pixels in zip(names, render(pair, rng), strict=True):
                Image.fromarray(pixels).save(args.out / name)
            for kinds, shown in ((ONE, pair[:1]), (TWO, pair)):
                for kind in kinds:
                    question, answer = kind(rng, *shown)
                    row = {
                        "kind": kind.__name__,
                        "pictures": names[: len(shown)],
                        "question": question,
                        "answer": answer,
                    }
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
