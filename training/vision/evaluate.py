"""How often the shipped vision model is right on fresh pictures, by kind of question.

    python evaluate.py --model ../../models/choral-demo-vision --set OUT/set

Runs in an environment of its own (requirements-check.txt): pictures are written as PNG
files, read by Hugging Face's processor, and answered greedily by its implementation of
the model in f32, which shares no code with the training. Pictures are seen in their own
size, and scaled to a square of 448 and of 336 pixels. Chance is how often the commonest
conclusion among the asked questions is right. The draws come from `draw_set.py`.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, Glm4vForConditionalGeneration


def conclusion(text):
    """What counts: the end of an answer about two pictures, or the whole of another."""
    return text.rsplit(":", 1)[-1].strip() if " in the second: " in text else text.strip()


def load(path):
    """The tokenizer, the image processor (the one that needs no torchvision) and the model."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    images = AutoImageProcessor.from_pretrained(path, backend="pil")
    model = Glm4vForConditionalGeneration.from_pretrained(path, dtype=torch.float32)
    return tokenizer, images, model.eval()


def prepare(tokenizer, images, asked):
    """The model's inputs for a batch of (pictures, question), padded on the left.

    There is one image token for every 28x28 pixels, as Glm4vProcessor has it.
    """
    texts, seen = [], None
    every = [picture for pictures, _ in asked for picture in pictures]
    if every:
        seen = images(images=every, return_tensors="pt")
        grids = iter(seen["image_grid_thw"])
    for pictures, question in asked:
        content = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        first, *rest = text.split("<|image|>")
        for part in rest:
            first += "<|image|>" * (int(next(grids).prod()) // images.merge_size**2) + part
        texts.append(first)
    inputs = tokenizer(
        texts, return_tensors="pt", add_special_tokens=False, padding=True, padding_side="left"
    )
    types = (inputs["input_ids"] == tokenizer.convert_tokens_to_ids("<|image|>")).int()
    return {**inputs, **(seen or {}), "mm_token_type_ids": types}


@torch.no_grad()
def answer(tokenizer, images, model, asked, limit=80):
    inputs = prepare(tokenizer, images, asked)
    ids = model.generate(**inputs, max_new_tokens=limit, do_sample=False)
    said = ids[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(said, skip_special_tokens=True)]


def opened(folder, names, size):
    pictures = [Image.open(folder / name).convert("RGB") for name in names]
    if size != "native":
        side = (int(size), int(size))
        pictures = [p.resize(side, Image.Resampling.BICUBIC) for p in pictures]
    return pictures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--set", type=Path, required=True, help="folder of draw_set.py")
    parser.add_argument("--sizes", default="native,448,336")
    parser.add_argument("--limit", type=int, default=10**9, help="questions of each kind")
    parser.add_argument("--show", type=int, default=2, help="wrong answers to print, a kind")
    args = parser.parse_args()
    loaded = load(args.model)
    rows = [json.loads(line) for line in (args.set / "questions.jsonl").open()]
    kinds = sorted({row["kind"] for row in rows})
    for size in args.sizes.split(","):
        tally = {}
        for kind in kinds:
            entry = tally[kind] = {"asked": 0, "right": 0, "exact": 0, "ends": Counter()}
            chosen = [row for row in rows if row["kind"] == kind][: args.limit]
            asked = [(opened(args.set, row["pictures"], size), row["question"]) for row in chosen]
            said = answer(*loaded, asked)
            shown = 0
            for row, text in zip(chosen, said, strict=True):
                right = conclusion(text) == conclusion(row["answer"])
                entry["asked"] += 1
                entry["exact"] += text == row["answer"]
                entry["right"] += right
                entry["ends"][conclusion(row["answer"])] += 1
                if not right and shown < args.show:
                    shown += 1
                    print(
                        f"  {kind}: {row['question']!r}\n    said {text!r}\n    not  {row['answer']!r}"
                    )
        print(f"size {size}\n| kind | asked | conclusion right | whole answer right | chance |")
        for kind, e in sorted(tally.items()):
            chance = e["ends"].most_common(1)[0][1] / e["asked"]
            cells = [f"{100 * v / e['asked']:.0f} %" for v in (e["right"], e["exact"])]
            print(
                f"| {kind} | {e['asked']} | {' | '.join(cells)} | {100 * chance:.0f} % |",
                flush=True,
            )
        total = sum(e["asked"] for e in tally.values())
        good = sum(e["right"] for e in tally.values())
        print(f"all: {good} of {total}", flush=True)


if __name__ == "__main__":
    main()
