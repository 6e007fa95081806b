# Commands for working on choral; `just` alone lists them.

default:
    @just --list

# All that CI checks.
check:
    .ci/run

# Tests alone.
test:
    cargo test --workspace

# Tests with the whole golden set.
test-golden dir:
    CHORAL_GOLDEN={{dir}} cargo test --workspace

# Formats, and applies what clippy is sure of.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# Tokens a second at batch sizes 1 to 64, on the model that ships or another.
bench *args:
    cargo run --release -- bench {{args}}

# choral beside other engines: installs them, makes models, measures, and reports.
bench-peers *args:
    cargo build --release
    python3 bench/peers/install.py llama transformers
    bench/.venv-llama/bin/python bench/models.py bench/results/models
    python3 bench/run.py --models bench/results/models {{args}}
