#!/usr/bin/env bash
# gawk: associative arrays, regexes, string building, sorting by value, user functions.
# needs: gawk=gawk
set -euo pipefail
gawk -f "$REAL_DIR/work.awk" "$INPUT/text.txt"
