#!/usr/bin/env bash
# A text of some 60,000 lines from a fixed linear congruential generator.
set -euo pipefail
awk 'BEGIN {
    state = 7
    for (line = 1; line <= 60000; line++) {
        state = (state * 69069 + 1) % 4294967296
        n = 3 + int(state / 65536) % 9
        for (k = 0; k < n; k++) {
            state = (state * 69069 + 1) % 4294967296
            w = int(state / 4096) % 9000
            printf "%sw%dx%d", k ? " " : "", w, w * w % 101
        }
        printf "\n"
    }
}' >"$INPUT/text.txt"
