#!/usr/bin/env bash
# CPython's tests, stress-ng, redis, rustc and memcheck on the preload library.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo xtask trust
