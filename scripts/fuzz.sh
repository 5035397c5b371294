#!/usr/bin/env bash
# Fuzzes every target in fuzz/ for the given seconds (default 60), as many at once as there are
# processors.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}

command -v cargo-fuzz >/dev/null || cargo install --quiet --locked --version 0.13.2 cargo-fuzz
# The sanitizer and coverage options are unstable ones; this lets a stable compiler take them.
export RUSTC_BOOTSTRAP=1
mapfile -t targets < <(cargo fuzz list)
[ ${#targets[@]} -gt 0 ]
cargo build --quiet --workspace --example layer_seeds
target/debug/examples/layer_seeds fuzz/corpus/layers
cargo fuzz build
printf '%s\n' "${targets[@]}" |
    xargs -P "$(nproc)" -I{} cargo fuzz run {} -- -max_total_time="$seconds" -verbosity=0
echo "fuzz: ${#targets[@]} targets, nothing found"
