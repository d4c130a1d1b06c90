#!/usr/bin/env bash
# zstd round trips: one and two threads, fast and strong, long distance, a trained dictionary.
# needs: zstd=zstd
set -euo pipefail
data=$INPUT/data
round_trip() {
    local name=$1
    shift
    zstd -q "$@" "$data" -o "$OUT/$name.zst"
    zstd -q -d --long=27 -c "$OUT/$name.zst" | cmp - "$data" && echo "$name: round trip holds"
}
round_trip fast -1 -T1
round_trip threads -3 -T2
round_trip strong -12 -T2
round_trip long -5 --long=27 -T2
head -c 2000000 "$data" >piece
zstd -q --ultra -20 piece -o "$OUT/ultra.zst"
zstd -q -t "$OUT/ultra.zst" && echo "ultra: holds"
mkdir pieces
split -b 4000 -a 4 piece pieces/
zstd -q --train pieces/* -o "$OUT/dictionary" --maxdict=16384
zstd -q -D "$OUT/dictionary" -3 pieces/aaaa -o "$OUT/piece.zst"
zstd -q -d -D "$OUT/dictionary" -c "$OUT/piece.zst" | cmp - pieces/aaaa && echo "dictionary: round trip holds"
