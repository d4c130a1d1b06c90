# A program that grows: records in lists and dictionaries, JSON out and in, a graph, large strings.
import json


def numbers(seed):
    state = seed
    while True:
        state = (state * 69069 + 1) % 4294967296
        yield state >> 8


random = numbers(1)
records = []
for k in range(30_000):
    r = next(random)
    records.append({
        "id": k,
        "name": "name-%d" % (r % 9973),
        "tags": ["t%d" % (next(random) % 31) for _ in range(r % 5)],
        "score": r / 97.0,
        "text": "x" * (r % 120),
    })

by_name = {}
for record in records:
    by_name.setdefault(record["name"], []).append(record)
text = json.dumps(records)
again = json.loads(text)
graph = {k: [] for k in range(20_000)}
for k in range(60_000):
    graph[next(random) % 20_000].append(next(random) % 20_000)
seen, stack = set(), [0]
while stack:
    node = stack.pop()
    if node not in seen:
        seen.add(node)
        stack.extend(graph[node])
lines = []
for name in sorted(by_name):
    lines.append(name + ":" + ",".join(str(record["id"]) for record in by_name[name]))
page = "\n".join(lines)
while len(page) < 16_000_000:
    page += page[: len(page) // 2]
print(len(text), again == records, len(seen), len(page), sum(len(r["tags"]) for r in again))
