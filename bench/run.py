"""Runs choral and its peers side by side, and writes what came out.

    run.py --models DIR [--only tinyllama-Q8_0,...] [--rounds 3] [--python llama=PATH]

For each model file, engines take turns (A B A B), round by round, with the same file,
threads and token counts. An engine with several settings first runs all of them, on the
first model of each shape; then each scenario is run in the setting that won it, and in
those that came close. Every run is a line of `runs.jsonl`; `report.md` holds medians and
ratios. See README.md.

Needs Python 3.11 and nothing else; peers live in venvs of their own (`peers/install.py`).
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from dataclasses import replace
from pathlib import Path

import report
from engines import (
    HERE,
    PEERS,
    Engine,
    Hog,
    Scenario,
    cpu_name,
    peer,
    physical_cores,
    scenarios,
    spawn,
)
from gguf_header import read_weights
from shapes import shape_of

#: A setting that reaches this share of the fastest in the first try may yet win.
CLOSE = 0.95


class Recorder:
    """Writes records, one JSON object a line, as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict] = []
        path.write_text("")

    def add(self, kind: str, **facts: object) -> dict:
        record = {"kind": kind, "at": _now()} | facts
        self.records.append(record)
        with self.path.open("a") as file:
            print(json.dumps(record), file=file)
        return record


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


class Campaign:
    """All measurements of one invocation."""

    def __init__(self, args: argparse.Namespace, recorder: Recorder) -> None:
        self.args = args
        self.recorder = recorder
        self.wanted = scenarios(args.generated, args.quick)
        #: What was chosen for an engine and a shape.
        self.chosen: dict[tuple[str, str], dict[str, list[Scenario]]] = {}
        if args.scenarios:
            self.wanted = [s for s in self.wanted if s.name in args.scenarios.split(",")]

    def runs(
        self, engine: Engine, model: Path, setting: str, wanted: list[Scenario], number: int
    ) -> list[dict]:
        """One engine's runs of `wanted`. Round 0 only chooses settings."""
        target = shape_of(model.name) if engine.by_shape else str(model)
        found = []
        for command, group in engine.commands(target, self.args.threads, setting, wanted):
            outcome = spawn(command)
            rows = outcome.rows()
            common = {
                "engine": engine.name,
                "setting": setting,
                "model": target if engine.by_shape else model.stem,
                "round": number,
                "others": outcome.others,
                "steal": outcome.steal,
                "rss": outcome.rss,
                "wall_s": outcome.wall_s,
            }
            for scenario, row in zip(group, rows):
                value = scenario.value(row)
                facts = common | {"scenario": scenario.name, "value": value, "row": row}
                found.append(self.recorder.add("run", **facts))
            if outcome.code != 0 or len(rows) != len(group):
                missing = ", ".join(s.name for s in group[len(rows) :])
                error = outcome.stderr.strip().splitlines()[-1:] or ["no message"]
                self.recorder.add(
                    "failure", **common, code=outcome.code, missing=missing, error=error[0]
                )
                self.say(f"    failed ({outcome.code}): {missing}: {error[0]}")
        said = ", ".join(f"{r['scenario']} {r['value']:.1f}" for r in found)
        self.say(f"  {number} {engine.name} {setting}: {said}")
        return found

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def choose(self, engine: Engine, model: Path) -> dict[str, list[Scenario]]:
        """The scenarios to run in each setting. Settings are about attention and its
        memory, which are the same for all files of a shape."""
        key = (engine.name, shape_of(model.name) or model.stem)
        if key not in self.chosen:
            self.chosen[key] = self.survey(engine, model)
        return self.chosen[key]

    def survey(self, engine: Engine, model: Path) -> dict[str, list[Scenario]]:
        wanted = [s for s in self.wanted if s.name not in engine.skips]
        if len(engine.settings) == 1:
            return {engine.settings[0]: wanted}
        if self.args.all_settings:
            return {setting: wanted for setting in engine.settings}
        # As long as the real ones: which setting is best depends on the length.
        tried = [r for x in engine.settings for r in self.runs(engine, model, x, wanted, 0)]
        chosen: dict[str, list[Scenario]] = {}
        for s in wanted:
            here = [r for r in tried if r["scenario"] == s.name]
            fastest = max((r["value"] for r in here), default=0.0)
            for r in here:
                if r["value"] >= CLOSE * fastest:
                    chosen.setdefault(r["setting"], []).append(s)
        return chosen

    def cold(self, engine: Engine, model: Path, number: int) -> None:
        command = engine.cold(str(model), self.args.threads)
        if command is None:
            return
        outcome = spawn(command)
        common = {"engine": engine.name, "model": model.stem, "round": number}
        if outcome.code != 0:
            error = outcome.stderr.strip().splitlines()[-1:] or ["no message"]
            self.recorder.add("failure", **common, missing="cold start", error=error[0])
            self.say(f"    failed ({outcome.code}): cold start: {error[0]}")
            return
        # A peer's own clock starts when Python has its packages.
        rows = outcome.rows() if engine.script else []
        seconds = rows[0]["cold_s"] if rows else outcome.wall_s
        self.recorder.add("cold", **common, seconds=seconds, rss=outcome.rss)

    def limits(self, choral: Engine, model: Path) -> None:
        command = [str(choral.program), "bench", "--limits", "-t", str(self.args.threads)]
        outcome = spawn([*command, "--output-format", "jsonl"])
        if rows := outcome.rows():
            disturbed = {"others": outcome.others, "steal": outcome.steal}
            self.recorder.add("limits", model=model.stem, **disturbed, **rows[0])
        else:
            self.recorder.add("failure", engine="choral", missing="limits", error=outcome.stderr)

    def model(self, model: Path, choral: Engine, peers: list[Engine]) -> None:
        self.say(f"{model.stem}")
        weights = read_weights(model)
        self.recorder.add(
            "model",
            model=model.stem,
            shape=shape_of(model.name),
            file_bytes=model.stat().st_size,
            layers=weights.layers,
            head=weights.head,
            weight_bytes=weights.bytes,
        )
        self.limits(choral, model)
        plans = [(engine, self.choose(engine, model)) for engine in [choral, *peers]]
        neighbour = next((s for s in self.wanted if s.name == "decode-8"), None)
        for number in range(1, self.args.rounds + 1):
            for engine, plan in plans:
                for setting, wanted in plan.items():
                    self.runs(engine, model, setting, wanted, number)
                if not engine.by_shape:
                    self.cold(engine, model, number)
            if neighbour:
                with Hog():
                    busy = replace(neighbour, name="decode-8, one core taken")
                    self.runs(choral, model, "default", [busy], number)


def engines(args: argparse.Namespace) -> tuple[Engine, list[Engine]]:
    """choral, and the peers that are asked for and there."""
    choral = Engine("choral", args.choral)
    if not args.choral.exists():
        raise SystemExit(f"no {args.choral}: cargo build --release, or --choral PATH")
    given = dict(word.split("=", 1) for word in args.python)
    if unknown := set(given) - set(PEERS):
        raise SystemExit(f"--python: no peer {unknown}, expected {list(PEERS)}")
    found = []
    for name in args.peers.split(",") if args.peers else []:
        if name not in PEERS:
            raise SystemExit(f"--peers: no peer {name}, expected {list(PEERS)}")
        python = Path(given.get(name, args.venvs / f".venv-{name}" / "bin" / "python"))
        if python.exists():
            engine = peer(name, python)
            if asked := [s for s in args.settings.split(",") if s in engine.settings]:
                engine = replace(engine, settings=tuple(asked))
            found.append(engine)
        else:
            print(f"left out: {name} ({python} is missing)", file=sys.stderr)
    return choral, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of GGUF files")
    parser.add_argument("--only", default="", help="names without .gguf, in this order")
    parser.add_argument("--peers", default="llama,transformers", help=",".join(PEERS))
    parser.add_argument("--scenarios", default="", help="names; all if empty")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--generated", type=int, default=64, help="new tokens a sequence")
    parser.add_argument("--threads", "-t", type=int, default=physical_cores())
    parser.add_argument("--choral", type=Path, default=HERE.parent / "target/release/choral")
    parser.add_argument("--venvs", type=Path, default=HERE, help="folder with .venv-NAME")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--settings", default="", help="of a peer with several; all if empty")
    parser.add_argument("--all-settings", action="store_true", help="in every round")
    parser.add_argument("--quick", action="store_true", help="a few tokens, to try it out")
    parser.add_argument("--out", type=Path, help="folder [default: results/DATE-TIME]")
    args = parser.parse_args()

    files = [args.models / f"{n}.gguf" for n in args.only.split(",") if n]
    files = files or sorted(args.models.glob("*.gguf"))
    if missing := [str(f) for f in files if not f.exists()] or ([] if files else [args.models]):
        raise SystemExit(f"no model: {missing}")
    choral, peers = engines(args)
    stamp = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
    out = args.out or HERE / "results" / stamp
    out.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(out / "runs.jsonl")
    settings = {k: str(v) for k, v in vars(args).items()}
    recorder.add("campaign", cpu=cpu_name(), **settings)

    campaign = Campaign(args, recorder)
    shapes_done = set()
    for file in files:
        shape = shape_of(file.name)
        # What runs on a shape runs once for all files of the shape.
        here = [p for p in peers if not p.by_shape or (shape and shape not in shapes_done)]
        shapes_done.add(shape)
        campaign.model(file, choral, here)
        (out / "report.md").write_text(report.render(recorder.records))
    print(out / "report.md")


if __name__ == "__main__":
    main()
