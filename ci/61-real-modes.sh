#!/usr/bin/env bash
# Some real programs in every mode, with the tiny tier lowered, and with each policy.
set -euo pipefail
cd "$(dirname "$0")/.."
passed=0 failed=0
for setting in HAKMEM_MODE={minimal,fast,learning,research} HAKMEM_TINY_MAX_CLASS=5 \
    HAKMEM_THP={off,on} HAKMEM_FREE_POLICY={keep,batch} HAKMEM_MEM_LIMIT=64m; do
    echo "== $setting"
    # The last line is the count: N passed, N failed.
    output=$(cargo xtask real --env "$setting" python redis sqlite rust) || true
    echo "$output"
    count=$(tail -n 1 <<<"$output")
    read -r p _ f _ <<<"$count"
    passed=$((passed + p)) failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
