#!/usr/bin/env bash
# The allocator's unit tests over the system layer that Miri interprets, compiled.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask sanitize portable
