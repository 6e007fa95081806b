"""Engines as programs: how each is started, and what the machine did meanwhile.

Owns scenarios, command lines, and the reading of /proc. Knows nothing of rounds,
files of results, or ratios: those are `run.py`'s and `report.py`'s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

#: A process that takes longer is stuck: it is ended and recorded as failed.
TIMEOUT_S = 900


@dataclass(frozen=True)
class Scenario:
    """Some sequences at once, and which number of the result counts."""

    name: str
    pp: int
    tg: int
    pl: int
    shared: bool
    #: `speed_pp`, `speed_tg`, or `job`: generated tokens over the whole time.
    metric: str

    def value(self, row: dict) -> float:
        """Tokens a second."""
        if self.metric == "job":
            return row["pl"] * row["tg"] / row["t"]
        return row[self.metric]


def scenarios(generated: int, quick: bool) -> list[Scenario]:
    """What is measured for each model. Prompts are shared but for the first."""
    if quick:
        return [
            Scenario("prefill", 64, 1, 1, False, "speed_pp"),
            Scenario("decode-1", 16, 8, 1, True, "speed_tg"),
            Scenario("decode-8", 16, 8, 8, True, "speed_tg"),
            Scenario("job", 64, 8, 8, True, "job"),
        ]
    decode = [
        Scenario(f"decode-{pl}", 128, generated, pl, True, "speed_tg")
        for pl in (1, 8, 32, 64)
    ]
    return [
        Scenario("prefill", 512, 1, 1, False, "speed_pp"),
        *decode,
        Scenario("job", 512, generated, 64, True, "job"),
    ]


@dataclass(frozen=True)
class Engine:
    """One program to measure."""

    name: str
    #: The choral binary, or the Python of the peer's venv.
    program: Path
    #: Settings to choose the best of; one if there is nothing to choose.
    settings: tuple[str, ...] = ("default",)
    #: The peer's script; none for choral.
    script: str = ""
    #: Runs on random weights of the model's shape rather than on the file.
    by_shape: bool = False
    #: Scenarios that would take it too long.
    skips: frozenset[str] = frozenset()

    def commands(
        self, model: str, threads: int, setting: str, wanted: list[Scenario]
    ) -> list[tuple[list[str], list[Scenario]]]:
        """Command lines that together run `wanted`, each with what its lines are."""
        if self.script:
            runs = [[s.pp, s.tg, s.pl, s.shared] for s in wanted]
            command = [str(self.program), str(HERE / "peers" / self.script)]
            command += ["-m", model, "-t", str(threads), "--setting", setting]
            return [([*command, "--runs", json.dumps(runs)], wanted)]
        groups: dict[tuple, list[Scenario]] = {}
        for s in wanted:
            groups.setdefault((s.pp, s.tg, s.shared), []).append(s)
        return [
            (self._choral(model, threads, key, group), group)
            for key, group in groups.items()
        ]

    def _choral(self, model: str, threads: int, key: tuple, group: list) -> list[str]:
        pp, tg, shared = key
        command = [str(self.program), "bench", "-m", model, "-t", str(threads)]
        command += ["-npp", str(pp), "-ntg", str(tg)]
        command += ["-npl", ",".join(str(s.pl) for s in group)]
        return command + ["-pps"] * shared + ["--output-format", "jsonl"]

    def cold(self, model: str, threads: int) -> list[str] | None:
        """A process that loads, computes a short prompt and one token, and ends."""
        if not self.script:
            command = [str(self.program), "generate", "-m", model, "-t", str(threads)]
            return [*command, "-p", "a b c d", "-n", "1", "-np", "1", "--temp", "0"]
        if self.name != "llama":
            return None
        command = [str(self.program), str(HERE / "peers" / self.script), "-m", model]
        command += ["-t", str(threads), "--setting", "default", "--cold"]
        return [*command, "--runs", "[[8, 1, 1, false]]"]


#: Flash attention or not, a q8_0 cache, a cache of each sequence or one of all.
LLAMA = tuple(x + y for x in ("", "unified-") for y in ("default", "fa-q8_0", "no-fa"))

PEERS = {
    "llama": ("llama.py", LLAMA, False, frozenset()),
    "transformers": ("hf_transformers.py", ("bf16",), True, frozenset()),
    # It cannot share a prompt: 64 times 512 tokens say little about decoding.
    "openvino-genai": ("ov_genai.py", ("default",), False, frozenset({"job"})),
}


def peer(name: str, python: Path) -> Engine:
    script, settings, by_shape, skips = PEERS[name]
    return Engine(name, python, settings, script, by_shape, skips)


@dataclass(frozen=True)
class Outcome:
    """How a process ended, and what went on around it."""

    code: int
    stdout: str
    stderr: str
    wall_s: float
    #: Largest resident set, in bytes.
    rss: int
    #: Shares of the machine's processor time that others used, and that the host
    #: of a virtual machine took away.
    others: float
    steal: float

    def rows(self) -> list[dict]:
        """The JSON objects among the lines printed."""
        return [json.loads(x) for x in self.stdout.splitlines() if x.startswith("{")]


def _cpu_times() -> tuple[float, float, float]:
    """Seconds of all processors since the start: all, busy, stolen."""
    line = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, line)
    busy = user + nice + system + irq + softirq
    tick = os.sysconf("SC_CLK_TCK")
    return (busy + idle + iowait + steal) / tick, busy / tick, steal / tick


def spawn(command: list[str]) -> Outcome:
    """Runs a process to its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        before = _cpu_times()
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        timer = threading.Timer(TIMEOUT_S, process.kill)
        timer.start()
        # Not `wait`: it does not tell what the process used.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        after = _cpu_times()
        out.seek(0)
        err.seek(0)
        stdout, stderr = (f.read().decode(errors="replace") for f in (out, err))
    total, busy, stolen = (b - a for a, b in zip(before, after))
    total = max(total, 1e-9)
    own = usage.ru_utime + usage.ru_stime
    return Outcome(
        code=process.returncode,
        stdout=stdout,
        stderr=stderr[-2000:],
        wall_s=wall,
        rss=usage.ru_maxrss * 1024,
        others=max(0.0, busy - own) / total,
        steal=stolen / total,
    )


class Hog:
    """A process that keeps one processor busy while the `with` block runs."""

    def __enter__(self) -> Hog:
        cpu = min(os.sched_getaffinity(0))
        code = f"import os\nos.sched_setaffinity(0, [{cpu}])\nwhile True: pass"
        self.process = subprocess.Popen([sys.executable, "-c", code])
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def physical_cores() -> int:
    """Cores that this process may run on, hardware threads of a core counted once."""
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text() if siblings.exists() else str(cpu))
    return len(cores)


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"
