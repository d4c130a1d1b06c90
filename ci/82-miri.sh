#!/usr/bin/env bash
# The allocator's unit tests in Miri, where it is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask sanitize miri
