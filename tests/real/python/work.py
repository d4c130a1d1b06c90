"""Threads, json, regex, zlib, bytearrays, subprocesses and a large dict: deterministic output."""

import bz2
import collections
import gc
import hashlib
import json
import os
import queue
import random
import re
import sqlite3
import subprocess
import sys
import threading
import zlib


def digest(data):
    if isinstance(data, str):
        data = data.encode()
    return hashlib.sha256(data).hexdigest()[:16]


def documents(seed, count):
    rng = random.Random(seed)
    for i in range(count):
        yield {
            "id": i,
            "name": "".join(rng.choice("abcdefghijklmnop") for _ in range(rng.randint(3, 60))),
            "tags": [rng.choice(["red", "green", "blue", "\u00e9t\u00e9"]) for _ in range(rng.randint(0, 9))],
            "nested": {"x": rng.random(), "y": [rng.randint(0, 10**12) for _ in range(rng.randint(0, 20))]},
            "none": None,
        }


def json_round_trips():
    texts = [json.dumps(d, sort_keys=True) for d in documents(1, 4000)]
    back = [json.loads(t) for t in texts]
    assert back == list(documents(1, 4000))
    whole = json.dumps(back, indent=1, ensure_ascii=False)
    assert json.loads(whole) == back
    print("json", len(whole), digest(whole))


def regex_scan():
    rng = random.Random(2)
    lines = [
        f"2024-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} host{rng.randint(0, 40)} "
        f"[{rng.choice(['info', 'warn', 'error'])}] took {rng.randint(1, 9999)}ms path=/a/{rng.randint(0, 99)}/b"
        for _ in range(20000)
    ]
    pattern = re.compile(
        r"(?P<date>\d{4}-\d\d-\d\d) (?P<host>\w+) \[(?P<level>\w+)\] took (?P<ms>\d+)ms path=(?P<path>\S+)"
    )
    per_host = collections.defaultdict(lambda: collections.Counter())
    for line in lines:
        m = pattern.fullmatch(line)
        per_host[m["host"]][m["level"]] += int(m["ms"])
    swapped = re.sub(r"(\d+)ms", lambda m: f"{int(m[1]) / 1000:.3f}s", "\n".join(lines))
    print("regex", digest(json.dumps(per_host, sort_keys=True)), digest(swapped))


def threads_pass_blocks():
    """Objects made in one thread die in another, and threads come and go."""
    work, done = queue.Queue(maxsize=64), queue.Queue()

    def worker():
        while True:
            item = work.get()
            if item is None:
                return
            index, chunk = item
            packed = zlib.compress(chunk, 6)
            assert zlib.decompress(packed) == chunk
            done.put((index, len(packed), digest(packed)))

    pool = [threading.Thread(target=worker) for _ in range(6)]
    for t in pool:
        t.start()
    rng = random.Random(3)
    for i in range(300):
        work.put((i, bytes(rng.randbytes(rng.randint(10, 3000))) * rng.randint(1, 20)))
    for _ in pool:
        work.put(None)
    for t in pool:
        t.join()
    results = sorted(done.get() for _ in range(300))
    print("threads", digest(repr(results)))

    finished = []
    for wave in range(60):
        wave_threads = [
            threading.Thread(target=lambda k=k: finished.append([str(k) * n for n in range(50)])) for k in range(8)
        ]
        for t in wave_threads:
            t.start()
        for t in wave_threads:
            t.join()
    print("thread waves", len(finished), sum(len(x) for f in finished for x in f))


def growing_things():
    buffer = bytearray()
    rng = random.Random(4)
    while len(buffer) < 24 << 20:
        buffer += rng.randbytes(rng.randint(1, 200000))
    print("bytearray", len(buffer) >= 24 << 20, digest(buffer[: 1 << 20]))
    del buffer[: 20 << 20]
    table = {f"key{i}": [i, str(i) * (i % 7)] for i in range(150000)}
    for i in range(0, 150000, 3):
        del table[f"key{i}"]
    print("dict", len(table), digest(repr(sorted(table.items())[:1000])))
    cycles = []
    for i in range(20000):
        node = {"i": i}
        node["self"] = node
        if i % 10 == 0:
            cycles.append(node)
    del node
    # How many of the cycles wait for this call depends on earlier collections, not on the heap.
    gc.collect()
    print("cycles", len(cycles))


def children():
    """Fork and exec from a threaded program."""
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            [bytes(n) for n in range(0, 4000, 7)]

    background = [threading.Thread(target=churn) for _ in range(2)]
    for t in background:
        t.start()
    outputs = [
        subprocess.run(
            [sys.executable, "-c", f"print(sum(len(str(i)) for i in range({n})))"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for n in (10, 1000, 20000)
    ]
    codes = []
    for n in range(12):
        pid = os.fork()
        if pid == 0:
            data = [bytearray(n * 1000 + k) for k in range(200)]
            os._exit(len(data) % 256 if all(len(d) == n * 1000 + k for k, d in enumerate(data)) else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    stop.set()
    for t in background:
        t.join()
    print("children", outputs, codes)


def compiled_modules():
    data = b"".join(b"%d squared is %d\n" % (i, i * i) for i in range(40000))
    packed = bz2.compress(data)
    assert bz2.decompress(packed) == data
    db = sqlite3.connect(":memory:")
    db.execute("create table t(a integer primary key, b text)")
    db.executemany("insert into t values(?, ?)", ((i, "v%d" % (i * 7919 % 10007)) for i in range(20000)))
    top = db.execute("select b, count(*), sum(a) from t group by b order by 3 desc, 1 limit 5").fetchall()
    print("modules", len(packed), digest(packed), top)


if __name__ == "__main__":
    json_round_trips()
    regex_scan()
    threads_pass_blocks()
    growing_things()
    children()
    compiled_modules()
