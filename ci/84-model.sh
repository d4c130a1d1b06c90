#!/usr/bin/env bash
# The concurrent parts of the heap under a model checker: every interleaving with up to 2 preemptions.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask model
