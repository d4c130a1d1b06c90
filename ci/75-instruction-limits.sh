#!/usr/bin/env bash
# The fast paths stay below their limits on instructions, counted by valgrind.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v valgrind >/dev/null; then
    echo "SKIPPED: instructions are counted by valgrind, which is missing: \`apt-get install valgrind\`"
    exit 77
fi
cargo xtask bench --limits
