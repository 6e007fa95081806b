"""How many tokens a second `choral images pairs` writes at each batch size, and a peer.

    cargo build --release
    python3 bench/glm4v.py --like models/choral-demo-vision --layers 2 --blocks 2 MODEL
    python3 bench/pairs.py --model MODEL --pictures examples/pictures
    python3 bench/pairs.py --model MODEL --pictures examples/pictures --transformers PYTHON

Pictures are encoded first, and not counted. Pairs are drawn with one seed, and answers are
as long as `--tokens` says. One pair at a time answers four; a batch of N answers N. A
number is the median of the rounds, in which sizes and engines take turns. Loading is not
counted: the time is the job's own, as choral says it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHORAL = HERE.parent / "target/release/choral"
#: The end of a job: `64 rows in 24.3 s, ...; 23808 prompt and 3072 new tokens`.
DONE = re.compile(r"^(\d+) rows in ([\d.]+) s.*; (\d+) prompt and (\d+) new tokens", re.M)
LEAST = 4


def choral(args, store: Path, batch: int, cached: bool) -> float:
    """New tokens a second."""
    with tempfile.TemporaryDirectory() as folder:
        words = [str(args.choral), "images", "pairs", "--model", args.model]
        words += ["--embeds", str(store), "--random", str(max(batch, LEAST))]
        words += ["--batch-size", str(batch), "--max-tokens", str(args.tokens)]
        words += ["--ignore-eos", "--seed", "1", "--output", f"{folder}/answers.jsonl"]
        words += [] if cached else ["--no-prefix-cache"]
        words += ["--threads", str(args.threads)]
        run = subprocess.run(words, capture_output=True, text=True)
    done = DONE.search(run.stderr)
    if run.returncode or not done:
        sys.exit(f"{' '.join(words)}: rc {run.returncode}\n{run.stderr}")
    return int(done[4]) / float(done[2])


def transformers(args, tokens: int, batch: int) -> float:
    """New tokens a second of a static batch of as many prompts of `tokens`."""
    words = [args.transformers, str(HERE / "peers/hf_pairs.py"), "--model", args.model]
    words += ["--threads", str(args.threads), "--size", str(args.size)]
    words += ["--text", str(tokens), "--tokens", str(args.tokens), "--batch", str(batch)]
    run = subprocess.run(words, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{' '.join(words)}: rc {run.returncode}\n{run.stderr}")
    return json.loads(run.stdout)["tokens_per_s"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--choral", type=Path, default=CHORAL)
    parser.add_argument("--batches", default="1,4,8,32,64,128,192,256")
    parser.add_argument("--size", type=int, default=448, help="pixels along a side")
    parser.add_argument("--tokens", type=int, default=50, help="new tokens of an answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--transformers", help="a Python that has it")
    parser.add_argument("--transformers-batches", default="1,4,8,32")
    args = parser.parse_args()
    batches = [int(batch) for batch in args.batches.split(",")]
    theirs = [int(b) for b in args.transformers_batches.split(",") if args.transformers]
    speeds: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        words = [args.choral, "images", "precompute", args.pictures, "--output", store, "--quiet"]
        words += ["--model", args.model, "--image-size", str(args.size)]
        subprocess.run(words, check=True)
        for round_ in range(args.rounds):
            for batch in batches:
                for name, cached in (("cache", True), ("no cache", False)):
                    speeds.setdefault((name, batch), []).append(choral(args, store, batch, cached))
                if batch in theirs:
                    # What stands around the pictures of the built-in question.
                    speed = transformers(args, 60, batch)
                    speeds.setdefault(("transformers", batch), []).append(speed)
            print(f"round {round_ + 1} of {args.rounds}", file=sys.stderr)
    names = list(dict.fromkeys(name for name, _ in speeds))
    print("| batch | " + " | ".join(f"{name} | gain" for name in names) + " |")
    print("|---" * (1 + 2 * len(names)) + "|")
    for batch in batches:
        cells = []
        for name in names:
            runs = speeds.get((name, batch))
            one = speeds.get((name, batches[0]))
            speed = statistics.median(runs) if runs else None
            cells.append(f"{speed:.1f}" if speed else "")
            cells.append(f"{speed / statistics.median(one):.1f}" if speed and one else "")
        print(f"| {batch} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
