#!/usr/bin/env bash
# The documentation builds without a warning, with no gate and with all of them.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTDOCFLAGS="-D warnings"
cargo doc --workspace --no-deps
all=$(cargo xtask features --names --all)
cargo doc --package hakmem-alloc --no-deps --document-private-items --features "$all"
