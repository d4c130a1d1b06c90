#!/usr/bin/env bash
# The real programs again, with every gate compiled in.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask real --features "$(cargo xtask features --names --all)"
