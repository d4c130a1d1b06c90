#!/usr/bin/env bash
# Every test: the workspace, optimised, each gate alone, all layers, all other gates, real programs.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask test --deny-warnings
