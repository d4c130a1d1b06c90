#!/usr/bin/env bash
# features.md is current; gates, umbrellas and the order of the folders hold.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask features --check
