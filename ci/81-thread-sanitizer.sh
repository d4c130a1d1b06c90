#!/usr/bin/env bash
# The allocator's tests under ThreadSanitizer (nightly).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask sanitize thread
