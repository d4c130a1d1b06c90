#!/usr/bin/env bash
# Clippy with warnings as errors: the workspace, the heap with each umbrella, with all gates.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy --workspace --all-targets -- -D warnings
# The tests refuse the compiler's own warnings with each gate alone.
for umbrella in layers telemetry research; do
    cargo clippy --package hakmem-alloc --lib --features "$umbrella" -- -D warnings
done
all=$(cargo xtask features --names --all)
cargo clippy --package hakmem-alloc --all-targets --features "$all" -- -D warnings
