#!/usr/bin/env bash
# Every atomic operation is placed: telemetry behind a gate, or correctness with its reason.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask audit
