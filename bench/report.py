"""Turns records of runs into a report in markdown.

    report.py RESULTS/runs.jsonl > report.md

Owns medians, ratios, and what a number is a share of. Measures nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median

#: Above this share of processor time taken by others, a run is called disturbed.
DISTURBED = 0.03


class Results:
    """Records, by what they are about."""

    def __init__(self, records: list[dict]) -> None:
        self.records = records
        self.models = {r["model"]: r for r in self.of("model")}
        self.runs = [r for r in self.of("run") if r["round"] > 0]

    def of(self, kind: str) -> list[dict]:
        return [r for r in self.records if r["kind"] == kind]

    def scenarios(self, model: str) -> list[str]:
        return list(dict.fromkeys(r["scenario"] for r in self.runs if r["model"] == model))

    def peers(self) -> list[str]:
        return list(dict.fromkeys(r["engine"] for r in self.runs if r["engine"] != "choral"))

    def best(self, engine: str, model: str, scenario: str) -> tuple[float, str, list[float]] | None:
        """Median, setting and all values of the engine's best setting."""
        names = {model, self.models[model]["shape"]}
        by_setting: dict[str, list[float]] = {}
        for r in self.runs:
            if r["engine"] == engine and r["scenario"] == scenario and r["model"] in names:
                by_setting.setdefault(r["setting"], []).append(r["value"])
        found = [(median(v), setting, v) for setting, v in by_setting.items()]
        return max(found, default=None)

    def limits(self, model: str) -> tuple[float, float, str]:
        """GB/s read, and the peak in TOP/s of the instruction that products of the
        model's type use, with its name: as probed just before the model's runs, for
        what a shared machine gives changes."""
        probes = [r for r in self.of("limits") if r["model"] == model]
        is_float = model.lower().endswith(("bf16", "f16", "f32"))
        peaks = [
            (p["tera"], p["name"])
            for r in probes
            for p in r["peaks"]
            if not (is_float and "VPDPBUSD" in p["name"])
        ]
        tera, name = max(peaks, default=(0.0, "none"))
        return max((r["dram_read_gb_s"] for r in probes), default=0.0), tera, name


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def campaign(results: Results) -> str:
    facts = results.of("campaign")[0]
    limits = results.of("limits")
    bandwidth = max((r["dram_read_gb_s"] for r in limits), default=0.0)
    peaks: dict[str, float] = {}
    for r in limits:
        for p in r["peaks"]:
            peaks[p["name"]] = max(peaks.get(p["name"], 0.0), p["tera"])
    text = f"# choral and its peers, {facts['at'][:10]}\n\n"
    text += f"{facts['cpu']}, {facts['threads']} threads; {facts['rounds']} rounds, medians. "
    text += "Tokens a second; `job` counts generated tokens over the whole time.\n\n"
    text += "## Limits of the machine\n\n"
    rows = [["memory read", f"{bandwidth:.1f} GB/s"]]
    rows += [[name, f"{tera:.2f} TOP/s"] for name, tera in peaks.items()]
    return text + table(["limit", "best measured"], rows)


def summary(results: Results) -> str:
    """choral over each peer at its best, models across."""
    text = "\n## choral / peer at the peer's best setting\n"
    models = list(results.models)
    for name in results.peers():
        rows = []
        for scenario in dict.fromkeys(s for m in models for s in results.scenarios(m)):
            cells = []
            for model in models:
                ours = results.best("choral", model, scenario)
                theirs = results.best(name, model, scenario)
                known = ours and theirs and theirs[0] > 0
                cells.append(f"{ours[0] / theirs[0]:.2f}" if known else "-")
            if any(c != "-" for c in cells):
                rows.append([scenario, *cells])
        text += f"\n### {name}\n\n" + table(["", *models], rows)
    return text


def work(results: Results, model: str, scenario: str, speed: float) -> list[str]:
    """GB/s and TOP/s of choral in a scenario, each with its share of the limit."""
    facts = results.models[model]
    bandwidth, tera, _ = results.limits(model)
    weights = facts["layers"] + (0 if scenario == "prefill" else facts["head"])
    tops = 2 * weights * speed / 1e12
    gigabytes = facts["weight_bytes"] * speed / 1e9
    read = f"{gigabytes:.1f} ({share(gigabytes, bandwidth)})"
    return [
        read if scenario == "decode-1" else "",
        "" if scenario == "job" else f"{tops:.3f} ({share(tops, tera)})",
    ]


def one_model(results: Results, model: str) -> str:
    facts = results.models[model]
    peers = results.peers()
    head = ["", "choral", "min - max", "GB/s (of limit)", "TOP/s (of peak)"]
    head += [word for p in peers for word in (p, "ratio")]
    rows = []
    for scenario in results.scenarios(model):
        ours = results.best("choral", model, scenario)
        if not ours:
            continue
        speed, _, values = ours
        row = [scenario, f"{speed:.1f}", f"{min(values):.1f} - {max(values):.1f}"]
        row += work(results, model, scenario, speed)
        for name in peers:
            theirs = results.best(name, model, scenario)
            if theirs and theirs[0] > 0:
                low, high = min(theirs[2]), max(theirs[2])
                row += [f"{theirs[0]:.1f} ({low:.1f} - {high:.1f}) {theirs[1]}"]
                row += [f"**{speed / theirs[0]:.2f}**"]
            else:
                row += ["-", "-"]
        rows.append(row)
    text = f"\n## {model}\n\n{facts['file_bytes'] / 1e6:.0f} MB, of which a step reads "
    text += f"{facts['weight_bytes'] / 1e6:.0f} MB.\n\n" + table(head, rows)
    speeds = {s: results.best("choral", model, s) for s in results.scenarios(model)}
    for many, few, what in (
        ("decode-64", "decode-1", "64 sequences over one"),
        ("decode-8, one core taken", "decode-8", "With one core taken, of undisturbed"),
    ):
        a, b = speeds.get(many), speeds.get(few)
        if a and b and b[0] > 0:
            text += f"\n{what}: {a[0] / b[0]:.2f}.\n"
    return text


def cold(results: Results) -> str:
    """Start to first token, and memory."""
    rows = []
    for model, facts in results.models.items():
        for engine in ["choral", *results.peers()]:
            starts = [
                r for r in results.of("cold") if r["model"] == model and r["engine"] == engine
            ]
            if starts:
                seconds = median(r["seconds"] for r in starts)
                rss = max(r["rss"] for r in starts)
                size = f"{rss / 1e6:.0f} MB ({rss / facts['file_bytes']:.2f} x file)"
                rows.append([model, engine, f"{seconds:.2f} s", size])
    if not rows:
        return ""
    text = "\n## Cold start: process start to first token, and peak resident memory\n\n"
    text += "The file is in the page cache after the first run; a mapped file counts as resident. "
    text += "A peer's time starts when Python has its packages, choral's with its process.\n\n"
    return text + table(["model", "engine", "first token", "peak RSS"], rows)


def disturbance(results: Results) -> str:
    """How quiet the machine was."""
    text = "\n## Disturbance\n\nShare of processor time that went to other processes or was "
    text += f"stolen by the host, over a run's process; above {DISTURBED:.0%} it is disturbed.\n\n"
    rows = []
    for engine in ["choral", *results.peers()]:
        quiet = [r for r in results.runs if r["engine"] == engine and "taken" not in r["scenario"]]
        shares = [r["others"] + r["steal"] for r in quiet]
        if shares:
            bad = sum(s > DISTURBED for s in shares)
            middle, worst = f"{median(shares):.1%}", f"{max(shares):.1%}"
            rows.append([engine, middle, worst, f"{bad} of {len(shares)}"])
    text += table(["engine", "median", "worst", "disturbed runs"], rows)
    failures = results.of("failure")
    if failures:
        text += "\n## Failures\n\n"
        rows = [[r["engine"], r.get("model", ""), r["missing"], r["error"]] for r in failures]
        text += table(["engine", "model", "missing", "error"], rows)
    return text


def render(records: list[dict]) -> str:
    """The whole report. Records are those of `run.py`, in any number of models."""
    results = Results(records)
    models = "".join(one_model(results, m) for m in results.models)
    return (
        campaign(results) + summary(results) + models + cold(results) + disturbance(results)
    )


def main() -> None:
    lines = Path(sys.argv[1]).read_text().splitlines()
    print(render([json.loads(line) for line in lines]), end="")


if __name__ == "__main__":
    main()
