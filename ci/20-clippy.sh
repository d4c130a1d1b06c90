#!/usr/bin/env bash
# Clippy with warnings as errors: the workspace, the heap with each gate alone, all layers, all gates.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy --workspace --all-targets -- -D warnings
for gate in layers $(cargo xtask features --names --no-layers); do
    cargo clippy --package hakmem-alloc --lib --features "$gate" -- -D warnings
done
all=$(cargo xtask features --names --all)
cargo clippy --package hakmem-alloc --all-targets --features "$all" -- -D warnings
