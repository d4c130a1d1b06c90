#!/usr/bin/env bash
# Every file is formatted, and Cargo.lock is current.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo metadata --locked --format-version 1 >/dev/null
echo "1 passed, 0 failed"
