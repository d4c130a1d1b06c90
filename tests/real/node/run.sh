#!/usr/bin/env bash
# Node: worker threads, buffers outside the JavaScript heap, zlib and crypto on the thread pool.
# needs: node=nodejs
set -euo pipefail
node "$REAL_DIR/work.js"
