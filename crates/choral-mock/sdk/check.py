"""Runs the vendors' own SDKs against the mock server, to show that it speaks their APIs.

    python check.py PATH_TO_CHORAL_MOCK [NAME...]

Names choose checks, as they are printed. Needs the packages of `requirements.txt`.
"""

import os
import sys
import time
import traceback

import check_anthropic
import check_local
import check_openai
from mock import Mock

# (module, flags of its server, checks)
RUNS = [
    (check_openai, [], check_openai.CHECKS),
    (check_openai, ["--max-requests", "2", "--window-seconds", "0.5"], [check_openai.limits]),
    (
        check_openai,
        ["--fault-rate", "0.2", "--fault", "429;retry-after-ms=20", "--fault", "500;retry-after-ms=20",
         "--fault", "reset", "--seed", "5"],
        [check_openai.concurrently],
    ),
    (check_anthropic, [], check_anthropic.CHECKS),
    (check_local, [], check_local.CHECKS),
    (check_local, ["--without-keys"], [check_local.compatible]),
]


def main():
    binary, *wanted = sys.argv[1:]
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OLLAMA_HOST", "ANTHROPIC_AUTH_TOKEN"):
        os.environ.pop(name, None)
    done = failed = 0
    began = time.monotonic()
    for module, flags, checks in RUNS:
        names = [f"{module.__name__.removeprefix('check_')}.{check.__name__}" for check in checks]
        if wanted and not set(names) & set(wanted):
            continue
        with Mock(binary, *flags) as mock:
            for name, check in zip(names, checks, strict=True):
                if wanted and name not in wanted:
                    continue
                begun = time.monotonic()
                try:
                    check(mock)
                    print(f"ok   {name} ({time.monotonic() - begun:.1f} s)")
                    done += 1
                except Exception:  # noqa: BLE001
                    print(f"FAIL {name}")
                    traceback.print_exc()
                    failed += 1
    print(f"{done} passed, {failed} failed, {time.monotonic() - began:.1f} s")
    if failed or not done:
        sys.exit(1)


main()
