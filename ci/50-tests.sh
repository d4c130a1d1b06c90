#!/usr/bin/env bash
# Every test: the workspace, optimised, each gate alone, all gates together, real programs.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask test
