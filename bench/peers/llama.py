"""llama.cpp through llama-cpp-python's low-level interface, as a program.

Measures what llama.cpp's own `llama-batched-bench` measures, with its keys, because
the PyPI package ships the library and not that tool: prefill of the prompts, then
decoding of all sequences in one batch a step; the first new token is the prompt's.
Tokens are drawn by argmax over the logits in place, which is cheaper than any sampler.
Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time

import llama_cpp as lc
import numpy as np

#: When Python had started: the peer is a library, and not what started it.
START = time.perf_counter()

#: Type of keys and values, whether attention is the fused one, and whether sequences
#: share one cache. Which is fastest depends on the machine and the batch: in a shared
#: cache a prompt is shared without a copy, but every sequence looks at the cells of
#: all. The harness tries all and keeps the best for each number.
SETTINGS = {
    "default": (lc.GGML_TYPE_F16, -1, False),
    "fa-q8_0": (lc.GGML_TYPE_Q8_0, 1, False),
    "no-fa": (lc.GGML_TYPE_F16, 0, False),
    "unified-default": (lc.GGML_TYPE_F16, -1, True),
    "unified-fa-q8_0": (lc.GGML_TYPE_Q8_0, 1, True),
    "unified-no-fa": (lc.GGML_TYPE_F16, 0, True),
}


@lc.llama_log_callback
def quiet(_level: int, _text: bytes, _user: ctypes.c_void_p) -> None:
    """Takes llama.cpp's messages."""


def fill(batch: lc.llama_batch, rows: list[tuple[int, int, int, bool]]) -> None:
    """Sets (token, position, sequence, wants logits) for each row."""
    batch.n_tokens = len(rows)
    for i, (token, position, sequence, logits) in enumerate(rows):
        batch.token[i] = token
        batch.pos[i] = position
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = sequence
        batch.logits[i] = logits


class Bench:
    """One model, loaded once, and a context for each measurement."""

    def __init__(self, path: str, threads: int) -> None:
        lc.llama_log_set(quiet, ctypes.c_void_p(0))
        lc.llama_backend_init()
        params = lc.llama_model_default_params()
        self.model = lc.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.threads = threads
        self.vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(self.model))

    def measure(
        self, setting: str, pp: int, tg: int, pl: int, shared: bool, cold: bool = False
    ) -> dict:
        """Runs `pl` sequences of `pp` prompt tokens and `tg` new ones."""
        kv_type, flash, unified = SETTINGS[setting]
        params = lc.llama_context_default_params()
        if unified:
            params.n_ctx = (pp if shared else pp * pl) + tg * pl + 256
        else:
            # Shared out evenly; each part is rounded up to whole cells of 256.
            params.n_ctx = pl * (-(-(pp + tg + 1) // 256) * 256)
        params.n_batch = params.n_ubatch = 512
        params.n_seq_max = pl
        params.kv_unified = unified
        params.n_threads = params.n_threads_batch = self.threads
        params.type_k = params.type_v = kv_type
        params.flash_attn_type = flash
        context = lc.llama_init_from_model(self.model, params)
        if not context:
            raise SystemExit(f"llama.cpp cannot make a context: {setting}")
        batch = lc.llama_batch_init(max(512, pl), 0, 1)
        try:
            if not cold:
                self._warm_up(context, batch)
            return self._run(context, batch, (pp, tg, pl), shared and (pl > 1), unified) | {"setting": setting}
        finally:
            lc.llama_batch_free(batch)
            lc.llama_free(context)

    def _decode(self, context, batch) -> None:
        if lc.llama_decode(context, batch) != 0:
            raise SystemExit("llama_decode failed")
        lc.llama_synchronize(context)

    def _warm_up(self, context, batch) -> None:
        """A first step touches memory for the first time: it is not counted."""
        fill(batch, [(1, 0, 0, True)])
        self._decode(context, batch)
        lc.llama_memory_clear(lc.llama_get_memory(context), True)

    def _run(self, context, batch, sizes, shared, unified) -> dict:
        pp, tg, pl = sizes
        memory = lc.llama_get_memory(context)
        start = time.perf_counter()
        rows = [
            (self._token(s, i), i, s, i == pp - 1)
            for s in range(1 if shared else pl)
            for i in range(pp)
        ]
        for at in range(0, len(rows), 512):
            fill(batch, rows[at : at + 512])
            self._decode(context, batch)
        if shared:
            for s in range(1, pl):
                lc.llama_memory_seq_cp(memory, 0, s, -1, -1)
            if not unified:
                # Copies between parts are made with the next step: one of no use.
                fill(batch, [(1, pp, 0, True)])
                self._decode(context, batch)
                lc.llama_memory_seq_rm(memory, 0, pp, -1)
        t_pp = time.perf_counter() - start

        tokens = [self._token(s, pp) for s in range(pl)]
        start = time.perf_counter()
        for step in range(tg - 1):
            fill(batch, [(tokens[s], pp + step, s, True) for s in range(pl)])
            self._decode(context, batch)
            tokens = [self._argmax(context, s) for s in range(pl)]
        t_tg = time.perf_counter() - start
        prompts = pp if shared else pp * pl
        return {
            "pp": pp,
            "tg": tg,
            "pl": pl,
            "n_kv": prompts + pl * tg,
            "t_pp": t_pp,
            "speed_pp": prompts / t_pp,
            "t_tg": t_tg,
            "speed_tg": pl * (tg - 1) / t_tg if tg > 1 else 0.0,
            "t": t_pp + t_tg,
            "speed": (prompts + pl * tg) / (t_pp + t_tg),
        }

    def _token(self, sequence: int, i: int) -> int:
        return (sequence * 7919 + i * 31 + 5) % self.vocab

    def _argmax(self, context, row: int) -> int:
        logits = lc.llama_get_logits_ith(context, row)
        return int(np.ctypeslib.as_array(logits, shape=(self.vocab,)).argmax())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-t", "--threads", type=int, required=True)
    parser.add_argument("--setting", choices=SETTINGS, required=True)
    parser.add_argument(
        "--runs", required=True, help="JSON list of [pp, tg, pl, shared]"
    )
    parser.add_argument(
        "--cold", action="store_true", help="no warm-up; say when the first run ended"
    )
    args = parser.parse_args()
    bench = Bench(args.model, args.threads)
    for pp, tg, pl, shared in json.loads(args.runs):
        row = bench.measure(args.setting, pp, tg, pl, shared, args.cold)
        if args.cold:
            row["cold_s"] = time.perf_counter() - START
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
