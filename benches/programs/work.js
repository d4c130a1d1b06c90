// A program that grows: records, JSON out and in, maps, typed arrays and buffers outside V8's heap.
'use strict';
let state = 1;
function random(n) {
  state = (Math.imul(state, 69069) + 1) >>> 0;
  return (state >>> 8) % n;
}

const records = [];
for (let k = 0; k < 80000; k++) {
  records.push({
    id: k,
    name: `name-${random(9973)}`,
    tags: Array.from({ length: random(5) }, () => `t${random(31)}`),
    text: 'x'.repeat(random(120)),
  });
}
const byName = new Map();
for (const record of records) {
  const group = byName.get(record.name) ?? [];
  group.push(record);
  byName.set(record.name, group);
}
const text = JSON.stringify(records);
const again = JSON.parse(text);
const buffers = [];
let bytes = 0;
for (let k = 0; k < 20000; k++) {
  const buffer = Buffer.from(text.slice(k, k + 64 + random(3000)));
  bytes += buffer.length;
  buffers.push(buffer);
  if (buffers.length > 4000) buffers.splice(0, 2000);
}
const joined = Buffer.concat(buffers);
const arrays = [];
for (let k = 0; k < 600; k++) arrays.push(new Float64Array(1000 + random(20000)).fill(k));
const sum = arrays.reduce((total, array) => total + array[array.length - 1], 0);
console.log(text.length, again.length, byName.size, bytes, joined.length, sum);
