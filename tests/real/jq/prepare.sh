#!/usr/bin/env bash
# Some 30,000 records, one JSON object a line, from a fixed linear congruential generator.
set -euo pipefail
awk 'BEGIN {
    state = 1
    for (i = 1; i <= 30000; i++) {
        state = (state * 69069 + 1) % 4294967296
        r = int(state / 65536)
        printf "{\"id\":%d,\"team\":\"t%d\",\"score\":%.3f,\"tags\":[", i, r % 37, r / 97
        for (k = 0; k < r % 5; k++) printf "%s\"tag%d\"", k ? "," : "", (r + k) % 11
        printf "],\"text\":\"%s\",\"deep\":{\"a\":{\"b\":[%d,%d]}}}\n", substr("the quick brown fox jumps over the lazy dog", 1, r % 40), r % 7, r % 13
    }
}' >"$INPUT/records.json"
