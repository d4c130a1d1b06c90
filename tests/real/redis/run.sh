#!/usr/bin/env bash
# redis-server under redis-benchmark and a scripted session: replies, DBSIZE and the digest of
# the whole data set. It listens on a socket file only; nothing touches the network.
# needs: redis-server=redis-server redis-cli=redis-tools redis-benchmark=redis-tools
set -euo pipefail
socket=$PWD/redis.sock
pid=
start() {
    redis-server --port 0 --unixsocket "$socket" --dir "$PWD" --save "" --appendonly no \
        --enable-debug-command yes --activerehashing yes --io-threads 2 --daemonize no >>"$PWD/server.log" 2>&1 &
    pid=$!
    for _ in $(seq 2000); do
        if redis-cli -s "$socket" ping >/dev/null 2>&1; then return; fi
        if ! kill -0 "$pid" 2>/dev/null; then break; fi
        sleep 0.05
    done
    echo "redis-server did not answer:" >&2
    cat "$PWD/server.log" >&2
    exit 1
}
stop() {
    redis-cli -s "$socket" shutdown nosave >/dev/null 2>&1 || true
    wait "$pid" && echo "server exit 0" || echo "server exit $?"
    pid=
}
trap 'if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; fi' EXIT

ask() { redis-cli -s "$socket" "$@"; }

start
ask <"$REAL_DIR/session.txt"
echo "digest $(ask debug digest) size $(ask dbsize)"

# The figures are timings; what is compared is the data that the load leaves behind.
redis-benchmark -s "$socket" -q -c 20 -n 10000 -P 4 -d 100 \
    -t set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset >bench.txt
grep -c 'requests per second' bench.txt
redis-benchmark -s "$socket" -q -c 10 -n 300 -d 300000 -t set,get >bench-large.txt
grep -c 'requests per second' bench-large.txt
ask del myset >/dev/null # SPOP removes members at random
echo "digest $(ask debug digest) size $(ask dbsize)"

# Many keys in one script, then half of them gone, then a dump by a forked child.
ask eval "for i = 1, 60000 do redis.call('set', 'many:' .. i, string.rep('v', i % 300)) end return redis.call('dbsize')" 0
ask eval "for i = 1, 60000, 2 do redis.call('del', 'many:' .. i) end return redis.call('dbsize')" 0
ask bgsave >/dev/null
for _ in $(seq 2000); do
    if [ "$(ask info persistence | tr -d '\r' | sed -n 's/^rdb_bgsave_in_progress://p')" = 0 ]; then break; fi
    sleep 0.05
done
ask info persistence | tr -d '\r' | grep '^rdb_last_bgsave_status'
before=$(ask debug digest)
ask memory purge
stop

# A second server reads what the child wrote.
start
after=$(ask debug digest)
[ "$before" = "$after" ] && echo "digest kept over the restart" || echo "DIGEST LOST: $before, then $after"
echo "size $(ask dbsize)"
ask flushall async
ask dbsize
stop
