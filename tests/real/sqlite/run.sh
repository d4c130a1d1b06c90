#!/usr/bin/env bash
# sqlite3: a database built, indexed, queried, vacuumed and dumped; the file itself is compared.
# needs: sqlite3=sqlite3
set -euo pipefail
sqlite3 -batch -bail "$OUT/shop.db" <"$REAL_DIR/work.sql"
sqlite3 -batch "$OUT/shop.db" .dump | sha256sum
sqlite3 -batch :memory: <"$REAL_DIR/memory.sql"
