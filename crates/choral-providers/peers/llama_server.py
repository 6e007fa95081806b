"""The OpenAI-compatible provider against a real server: llama-cpp-python's.

    python3 -m venv venv && venv/bin/pip install 'llama-cpp-python[server]'
    venv/bin/python crates/choral-providers/peers/llama_server.py

Serves a GGUF file (the model that ships with choral, unless another is named) with the
Python that runs this, waits until it answers, and runs the example `peer` against it:
chats, completions, streams, batches, log-probabilities, seeds and errors. Not part of
`cargo test`, for it needs a compiler and some minutes to install.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

KEY = "peer-key-0123456789"
ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default=ROOT / "models/choral-demo-q8_0.gguf")
    parser.add_argument("--context", type=int, default=512)
    arguments = parser.parse_args()

    port = free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(arguments.model)]
    command += ["--port", str(port), "--n_ctx", str(arguments.context), "--model_alias", "peer"]
    # `logits_all` is what log-probabilities of completions need.
    command += ["--logits_all", "true", "--verbose", "false", "--api_key", KEY]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/v1"
        deadline = time.monotonic() + 120
        while True:
            try:
                headers = {"Authorization": f"Bearer {KEY}"}
                request = urllib.request.Request(f"{url}/models", headers=headers)
                urllib.request.urlopen(request, timeout=2).read()
                break
            except OSError:
                if server.poll() is not None:
                    sys.exit(f"the server ended with {server.returncode}")
                if time.monotonic() > deadline:
                    sys.exit("the server does not answer")
                time.sleep(0.2)
        example = ["run", "--quiet", "-p", "choral-providers", "--example", "peer", "--", url, KEY]
        cargo = os.environ.get("CARGO", "cargo")
        sys.exit(subprocess.run([cargo, *example], cwd=ROOT).returncode)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
