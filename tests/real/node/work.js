// Worker threads, buffers outside the JavaScript heap, zlib and crypto: deterministic output.
"use strict";
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const crypto = require("crypto");
const zlib = require("zlib");
const { execFileSync } = require("child_process");

const digest = (data) => crypto.createHash("sha256").update(data).digest("hex").slice(0, 16);

function* numbers(seed) {
  let state = seed >>> 0;
  for (;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state >>> 8;
  }
}

if (!isMainThread) {
  const source = numbers(workerData.seed);
  const chunks = [];
  for (let i = 0; i < 400; i++) {
    const chunk = Buffer.alloc(1 + (source.next().value % 20000), i & 255);
    chunks.push(chunk);
    if (i % 3 === 0) chunks.shift();
  }
  const packed = zlib.deflateSync(Buffer.concat(chunks));
  const moved = new Uint8Array(1 << 20).fill(workerData.seed);
  parentPort.postMessage({ seed: workerData.seed, size: packed.length, hash: digest(packed), moved: moved.buffer }, [
    moved.buffer,
  ]);
} else {
  main();
}

async function main() {
  const source = numbers(11);
  const records = Array.from({ length: 8000 }, (_, i) => ({
    i,
    name: "n".repeat(source.next().value % 50) + i,
    list: Array.from({ length: source.next().value % 10 }, () => source.next().value),
  }));
  const text = JSON.stringify(records);
  if (JSON.stringify(JSON.parse(text)) !== text) throw new Error("json round trip");
  console.log("json", text.length, digest(text));
  console.log("regex", digest(text.replace(/"name":"(n*)(\d+)"/g, (_, n, d) => `${d}:${n.length}`)));

  const workers = await Promise.all(
    Array.from({ length: 6 }, (_, k) => {
      const worker = new Worker(__filename, { workerData: { seed: k + 1 } });
      return new Promise((resolve, reject) => {
        let answer;
        worker.on("message", (m) => (answer = m));
        worker.on("error", reject);
        worker.on("exit", () => resolve(answer));
      });
    }),
  );
  for (const w of workers) console.log("worker", w.seed, w.size, w.hash, new Uint8Array(w.moved)[12345]);

  const packed = await Promise.all(
    Array.from({ length: 40 }, (_, k) => {
      const data = Buffer.from(text.slice(k * 1000, k * 1000 + 60000));
      return new Promise((resolve, reject) =>
        zlib.gzip(data, { level: 1 + (k % 9) }, (error, out) => (error ? reject(error) : resolve([data, out]))),
      );
    }),
  );
  for (const [data, out] of packed) if (!zlib.gunzipSync(out).equals(data)) throw new Error("gzip round trip");
  console.log("gzip", packed.map(([, out]) => out.length).join(","));

  const keys = await Promise.all(
    Array.from({ length: 12 }, (_, k) =>
      new Promise((resolve, reject) =>
        crypto.scrypt("secret" + k, "salt", 32, { N: 1024 }, (e, key) => (e ? reject(e) : resolve(key.toString("hex")))),
      ),
    ),
  );
  console.log("scrypt", digest(keys.join()));

  const map = new Map();
  for (let i = 0; i < 200000; i++) map.set("k" + (i % 30011), { i, s: String(i).padStart(i % 40) });
  let sum = 0;
  for (const [, v] of map) sum += v.i + v.s.length;
  console.log("map", map.size, sum);

  let buffers = [];
  for (let i = 0; i < 600; i++) {
    buffers.push(Buffer.allocUnsafe(1 + ((i * 7919) % 300000)).fill(i & 255));
    if (buffers.length > 40) buffers = buffers.slice(20);
  }
  console.log("buffers", digest(Buffer.concat(buffers)));
  console.log("child", execFileSync(process.execPath, ["-e", "console.log([1,2,3].map(x=>x*x).join())"]).toString().trim());
}
