#!/usr/bin/env bash
# The allocator's tests under AddressSanitizer (nightly).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo xtask sanitize address
