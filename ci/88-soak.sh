#!/usr/bin/env bash
# A minute of mixed threads, forks and content checks, in which memory stays flat.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask soak --seconds 60 --tolerance 25 --seed 1
