"""Writes test vectors of the shipped vision model, computed by Hugging Face transformers.

    python golden.py --model ../../models/choral-demo-vision --pictures ../../examples/pictures \
        --out ../../models/demo_vision_golden.json

In f32, from the weights in the file, in the environment of requirements-check.txt. For
each prompt: the token ids with every image token, positions, the ten highest logits of
the first answer token, and the greedy answer. For each picture and size: the encoder's
output as norms of its rows and the first row's head.
"""

import argparse
import json
from pathlib import Path

import torch
from PIL import Image

from evaluate import load, prepare

PROMPTS = (
    ("describe", (0,), None, "Describe the picture."),
    ("count", (3,), None, "How many shapes are there?"),
    ("text_only", (), None, "Hello, who are you?"),
    ("pair", (14, 15), None, "Which picture has more circles?"),
    ("colours", (4, 5), None, "Do the two pictures show the same colours?"),
    ("compare", (4, 7), None, "Compare the two pictures."),
    ("compare_448", (12, 13), 448, "Compare the two pictures."),
    ("describe_336", (6,), 336, "Describe the picture."),
    ("typed", (8, 9), 448, "which image has more red things"),
)


def rounded(values, digits=6):
    return [float(f"{v:.{digits}g}") for v in values]


@torch.no_grad()
def vectors(tokenizer, images, model, names, size, question, folder):
    pictures = [Image.open(folder / name).convert("RGB") for name in names]
    if size:
        pictures = [p.resize((size, size), Image.Resampling.BICUBIC) for p in pictures]
    out = {"pictures": list(names), "square": size, "question": question}
    inputs = prepare(tokenizer, images, [(pictures, question)])
    if pictures:
        grid = inputs["image_grid_thw"]
        seen = model.model.get_image_features(inputs["pixel_values"], grid).pooler_output
        out["grid_thw"] = grid.tolist()
        out["image_embeds"] = [
            {"rows_l2": rounded(s.norm(dim=-1)), "row0_first16": rounded(s[0, :16])} for s in seen
        ]
        types = inputs["mm_token_type_ids"]
        positions, delta = model.model.get_rope_index(
            inputs["input_ids"], image_grid_thw=grid, mm_token_type_ids=types
        )
        out["positions_thw"] = positions[:, 0].tolist()
        out["rope_delta"] = int(delta)
    else:
        inputs.pop("mm_token_type_ids")
    ids = inputs["input_ids"]
    made = model.generate(
        **inputs,
        max_new_tokens=80,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    logits = torch.stack(made.logits)[:, 0]
    best = logits.topk(2).values
    top = logits[0].topk(10)
    greedy = made.sequences[0, ids.shape[1] :]
    return out | {
        "ids": ids[0].tolist(),
        "top_ids": top.indices.tolist(),
        "top_logits": rounded(top.values),
        "greedy_ids": greedy.tolist(),
        "greedy_margins": rounded(best[:, 0] - best[:, 1]),
        "greedy_text": tokenizer.decode(greedy, skip_special_tokens=True),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    loaded = load(args.model)
    files = sorted(p.name for p in args.pictures.glob("*.png"))
    prompts = [
        {"name": name} | vectors(*loaded, [files[i] for i in chosen], size, question, args.pictures)
        for name, chosen, size, question in PROMPTS
    ]
    args.out.write_text(json.dumps({"prompts": prompts}, separators=(",", ":")) + "\n")
    for p in prompts:
        print(p["name"], repr(p["greedy_text"]), f"least margin {min(p['greedy_margins']):.3f}")


if __name__ == "__main__":
    main()
