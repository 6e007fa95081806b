"""transformers in bf16 on the CPU: pairs of pictures in a static batch of equal lengths.

What the image encoder makes is drawn once and put in its place, as choral reads it from a
store. Everything else is `generate`, greedy. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from transformers import Glm4vForConditionalGeneration


def inputs(config, side: int, text: int, batch: int) -> dict:
    """Rows of two pictures of `side` by `side` tokens and `text` others."""
    vocab = min(600, config.text_config.vocab_size)
    words = lambda count, seed: [(seed * 7919 + i * 31 + 5) % vocab for i in range(count)]  # noqa: E731
    marks = config.image_start_token_id, config.image_end_token_id
    picture = [marks[0], *[config.image_token_id] * side * side, marks[1]]
    rows = [
        [*words(4, row), *picture, *picture, *words(text - 8, row + 1)] for row in range(batch)
    ]
    ids = torch.tensor(rows)
    merge = config.vision_config.spatial_merge_size
    grid = torch.tensor([[1, side * merge, side * merge]] * (2 * batch))
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == config.image_token_id).int(),
        "image_grid_thw": grid,
        # Not read: the encoder is replaced.
        "pixel_values": torch.empty(int(grid.prod(-1).sum()), 0),
    }


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-t", "--threads", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--text", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = Glm4vForConditionalGeneration.from_pretrained(args.model, dtype=torch.bfloat16).eval()
    config = model.config
    side = args.size // (config.vision_config.patch_size * config.vision_config.spatial_merge_size)
    width = config.text_config.hidden_size
    drawn = torch.randn(side * side, width, dtype=torch.bfloat16)

    def seen(pixel_values, image_grid_thw=None, **_):
        images = tuple(drawn for _ in image_grid_thw)
        return argparse.Namespace(pooler_output=images)

    model.model.get_image_features = seen

    def generate(batch: int, tokens: int) -> float:
        start = time.perf_counter()
        made = model.generate(
            **inputs(config, side, args.text, batch),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
        )
        seconds = time.perf_counter() - start
        assert made.shape == (batch, 2 * side * side + args.text + tokens), made.shape
        return seconds

    # The first steps choose kernels and touch memory: they are not counted.
    generate(1, 3)
    seconds = generate(args.batch, args.tokens)
    print(json.dumps({"tokens_per_s": args.batch * args.tokens / seconds, "seconds": seconds}))


if __name__ == "__main__":
    main()
