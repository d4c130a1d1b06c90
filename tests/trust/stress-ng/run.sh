#!/usr/bin/env bash
# The heap users among stress-ng's stressors, each with a fixed number of operations, checking what
# they read back; and the sum of what failed.
# needs: stress-ng=stress-ng
# seen: stress-ng
# limit: 1800
set -euo pipefail
run() {
    local name=$1
    shift
    # Its report has times in it; what is compared is the verdict.
    if stress-ng --temp-path "$PWD" --verify --metrics-brief --oomable --no-rand-seed "$@" >log 2>&1; then
        local code=0
    else
        local code=$?
    fi
    echo "$name: exit $code, $(grep -c -E 'stress-ng: (fail|error)' log || true) faults"
    grep -E 'stress-ng: (fail|error)' log >&2 || true
}
# At most some hundred megabytes each: as many blocks as there are slots, of half these bytes.
run malloc --malloc 2 --malloc-ops 100000 --malloc-max 400 --malloc-bytes 1m
run malloc-touch --malloc 2 --malloc-ops 50000 --malloc-max 400 --malloc-bytes 256k --malloc-touch
run malloc-threads --malloc 2 --malloc-ops 100000 --malloc-max 400 --malloc-bytes 256k --malloc-pthreads 4
run malloc-small --malloc 2 --malloc-ops 1000000 --malloc-max 20000 --malloc-bytes 2048
run malloc-threshold --malloc 2 --malloc-ops 50000 --malloc-max 400 --malloc-bytes 256k --malloc-thresh 64k
run bigheap --bigheap 1 --bigheap-ops 500 --bigheap-growth 64k
run searches --bsearch 1 --bsearch-ops 10 --hsearch 1 --hsearch-ops 10 --lsearch 1 --lsearch-ops 2 \
    --tsearch 1 --tsearch-ops 4
run sorts --qsort 1 --qsort-ops 2 --mergesort 1 --mergesort-ops 2 --heapsort 1 --heapsort-ops 2 \
    --radixsort 1 --radixsort-ops 2
run trees --tree 1 --tree-ops 2 --skiplist 1 --skiplist-ops 2 --list 1 --list-ops 10
run zlib --zlib 1 --zlib-ops 20
run processes --fork 2 --fork-ops 500 --vfork 1 --vfork-ops 300 --pthread 1 --pthread-ops 500
