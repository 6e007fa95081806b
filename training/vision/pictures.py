"""Writes PNG files of scenes, and the folder of examples.

    python pictures.py --out ../../examples/pictures

The examples are named after what they show; `pairs.txt` has pairs of their numbers.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from questions import groups, sample_pair
from scenes import draw, pack

SIDE = 224


def render(scenes, rng, height=SIDE, width=SIDE):
    """Scenes as uint8 arrays [height, width, 3]; edges as sharp as a picture's are."""
    packed = pack(scenes, rng)
    packed["soft"][:] = 1.0
    return np.asarray(np.round(draw(packed, height, width))).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    scenes = [scene for _ in range(args.pairs) for scene in sample_pair(rng)]
    args.out.mkdir(parents=True, exist_ok=True)
    for i, (scene, pixels) in enumerate(zip(scenes, render(scenes, rng), strict=True)):
        name = "-".join(groups(scene)).replace(" ", "-")
        Image.fromarray(pixels).save(args.out / f"{i:02}-{name}.png", optimize=True)
    near = [(2 * i, 2 * i + 1) for i in range(args.pairs)]
    far = [(2 * i, (2 * i + 3) % (2 * args.pairs)) for i in range(args.pairs)]
    lines = "".join(f"{a},{b}\n" for a, b in near + far)
    (args.out / "pairs.txt").write_text(lines)


if __name__ == "__main__":
    main()
