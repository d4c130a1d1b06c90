#!/usr/bin/env bash
# redis-server under load while its memory is limited: by maxmemory with and without eviction, and by
# an address-space limit below which nothing else would fit. What is compared is that every bound
# holds, that what was refused works again, and that the server ends well.
# needs: redis-server=redis-server redis-cli=redis-tools redis-benchmark=redis-tools
# limit: 1200
set -euo pipefail
socket=$PWD/redis.sock
pid=
trap 'if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; fi' EXIT

ask() { redis-cli -s "$socket" "$@"; }
info() { ask info "$1" | tr -d '\r' | sed -n "s/^$2://p"; }
start() {
    # Holds the program, its threads' stacks and some times maxmemory: a heap that lost what is freed
    # would run into it, and so would one that needs its first reservation whole.
    (
        ulimit -v $((512 << 10))
        exec redis-server --port 0 --unixsocket "$socket" --dir "$PWD" --save "" --appendonly no \
            --daemonize no "$@" >>"$PWD/server.log" 2>&1
    ) &
    pid=$!
    until ask ping >/dev/null 2>&1; do
        if ! kill -0 "$pid" 2>/dev/null; then
            cat "$PWD/server.log" >&2
            exit 1
        fi
        sleep 0.05
    done
}
stop() {
    ask shutdown nosave >/dev/null 2>&1 || true
    wait "$pid" && echo "server exit 0" || echo "server exit $?"
    pid=
}
load() { redis-benchmark -s "$socket" -q -c 10 -P 8 -r 100000000 "$@" >>bench.txt; }

echo "== eviction"
start --maxmemory 48mb --maxmemory-policy allkeys-lru --lazyfree-lazy-eviction yes
for size in 40 500 3000 20000 200000 50; do
    # Large values only under many keys: one list of them would stand above the bound, and a single
    # key cannot be evicted in part.
    kinds="set"
    if [ $size -lt 10000 ]; then kinds="set,zadd"; fi
    ask flushall async >/dev/null
    load -n $((120000000 / (size + 400))) -d $size -t $kinds
    # The last command may stand above the bound until the next one evicts.
    [ "$(info memory used_memory)" -lt $((56 << 20)) ] && echo "size $size: bound held"
done
[ "$(info stats evicted_keys)" -gt 0 ] && echo "keys were evicted"
ask set after yes
ask get after
stop

echo "== refusal"
start --maxmemory 48mb --maxmemory-policy noeviction
# Fails with an error once the bound is reached, which ends the benchmark.
load -n 40000 -d 5000 -t set || true
# The buffers of its connections counted too; now what is kept alone stands above the bound.
ask config set maxmemory 40mb
ask set refused value | cut -c 1-12
ask config set maxmemory 48mb
for round in 1 2 3; do
    ask flushall sync
    ask set again "$round"
    load -n 2000 -d 5000 -t set
    [ "$(ask dbsize)" -gt 1000 ] && echo "round $round: room again"
done
stop
