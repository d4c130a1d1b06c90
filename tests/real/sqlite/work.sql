-- A shop: tables by recursive queries, indexes, triggers, windows, JSON, transactions.
PRAGMA journal_mode = WAL;
PRAGMA cache_size = 500;
CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, notes TEXT);
CREATE TABLE purchase(id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customer(id), day INTEGER, cents INTEGER);
CREATE TABLE audit(purchase INTEGER, what TEXT);
CREATE TRIGGER purchase_audit AFTER UPDATE ON purchase
  WHEN new.cents <> old.cents
BEGIN
  INSERT INTO audit VALUES (new.id, old.cents || '->' || new.cents);
END;

BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)
INSERT INTO customer
SELECT i, printf('customer %05d', i * 7919 % 8009), 'city' || (i % 97), substr(hex(zeroblob(300)), 1, i % 500) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO purchase SELECT i, 1 + i * 31 % 8000, i % 365, i * 7919 % 100003 FROM n;
COMMIT;

CREATE INDEX purchase_customer ON purchase(customer, day);
CREATE INDEX customer_city ON customer(city, name);
ANALYZE;

SELECT city, count(*), sum(cents), round(avg(cents), 3)
FROM purchase JOIN customer ON customer.id = purchase.customer
GROUP BY city ORDER BY 3 DESC, 1 LIMIT 12;

SELECT * FROM (
  SELECT customer, day, cents,
         row_number() OVER (PARTITION BY customer ORDER BY cents DESC, id) AS place,
         sum(cents) OVER (PARTITION BY customer ORDER BY day, id ROWS 3 PRECEDING) AS recent
  FROM purchase)
WHERE place = 1 AND customer % 400 = 0 ORDER BY customer;

UPDATE purchase SET cents = cents + 1 WHERE id % 10 = 3;
SELECT count(*), min(what), max(what) FROM audit;

BEGIN;
DELETE FROM purchase WHERE day < 100;
SELECT count(*) FROM purchase;
ROLLBACK;
SELECT count(*) FROM purchase;

SELECT json_group_array(json_object('id', id, 'name', name)) FROM customer WHERE id <= 40;
SELECT sum(length(json_extract(j, '$.deep.list[3]')))
FROM (SELECT json_object('deep', json_object('list', json_array(1, 2, 3, name || notes))) AS j FROM customer);

SELECT substr(group_concat(name, ';'), 1, 200), length(group_concat(notes, '')) FROM customer;
DELETE FROM customer WHERE id % 3 = 0 AND id NOT IN (SELECT customer FROM purchase WHERE day = 7);
PRAGMA integrity_check;
PRAGMA journal_mode = DELETE;
VACUUM;
PRAGMA integrity_check;
