#!/usr/bin/env bash
# The fast paths hold their golden instruction counts, and a gate that is off leaves nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask asm --check
