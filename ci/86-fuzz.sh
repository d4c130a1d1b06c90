#!/usr/bin/env bash
# A short run of every fuzz target: 2000 inputs, or 10 seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask fuzz --time 10s --runs 2000 --seed 1
