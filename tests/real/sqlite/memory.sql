-- An in-memory database with large values that grow and shrink, and a sort that spills.
CREATE TABLE blob(id INTEGER PRIMARY KEY, body BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
INSERT INTO blob SELECT i, zeroblob(i * 211 % 90000) FROM n;
UPDATE blob SET body = zeroblob(length(body) * 2) WHERE id % 2;
UPDATE blob SET body = substr(body, 1, 100) WHERE id % 3 = 0;
SELECT count(*), sum(length(body)) FROM blob;
DELETE FROM blob WHERE id % 5 = 0;
SELECT count(*), sum(length(body)) FROM blob;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80000)
SELECT count(*), min(t), max(t) FROM (SELECT printf('%032d', i * 7919 % 100003) AS t FROM n ORDER BY t DESC);
