#!/usr/bin/env bash
# Two minutes of mixed threads, forks and content checks, in which memory stays flat.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask soak --seconds 120 --tolerance 25 --seed 1
