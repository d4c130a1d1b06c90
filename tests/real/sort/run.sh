#!/usr/bin/env bash
# sort with several threads, in memory and with temporary files to merge.
# needs: sort=coreutils
set -euo pipefail
data=$INPUT/lines.txt
sort --parallel=4 -S 512M "$data" >"$OUT/whole"
sort --parallel=4 -S 512M -n -r "$data" | sha256sum
sort --parallel=2 -S 4M -T "$PWD" -t $'\t' -k2,2 -k1,1n "$data" | sha256sum
sort --parallel=2 -S 16M -T "$PWD" -u -t $'\t' -k2,2 "$data" | sha256sum
head -n 100000 "$data" | sort -S 8M -T "$PWD" -V | sha256sum
sort --check "$OUT/whole" && echo "in order"
