#!/usr/bin/env bash
# Every atomic operation is placed: telemetry behind a gate, or correctness with its reason. Every
# unsafe place has its argument, and docs/unsafe.md lists them all.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask audit
cargo xtask unsafe --check
