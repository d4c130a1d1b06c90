#!/usr/bin/env bash
# A million lines of three fields from a fixed linear congruential generator, some 25 MB.
set -euo pipefail
awk 'BEGIN {
    state = 99
    for (i = 1; i <= 1000000; i++) {
        state = (state * 69069 + 1) % 4294967296
        printf "%d\tkey%05d\t%x\n", state, int(state / 7) % 50000, i * 2654435761 % 4294967296
    }
}' >"$INPUT/lines.txt"
