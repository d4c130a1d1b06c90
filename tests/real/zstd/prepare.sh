#!/usr/bin/env bash
# 24 MB with repetitions near and far, and a piece that does not compress.
set -euo pipefail
awk 'BEGIN {
    state = 3
    for (i = 1; i <= 500000; i++) {
        state = (state * 69069 + 1) % 4294967296
        printf "%d:%s-%x ", i % 1000, substr("compressible material with some repetition", 1, int(state / 65536) % 40), state
    }
}' >"$INPUT/data"
gzip -9 -n -c "$INPUT/data" >"$INPUT/noise"
head -c 4194304 "$INPUT/noise" >>"$INPUT/data"
rm "$INPUT/noise"
