#!/usr/bin/env bash
# CPython with its own small-object allocator switched off, so that every object is a malloc.
# needs: python3=python3
set -euo pipefail
export PYTHONMALLOC=malloc PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
python3 "$REAL_DIR/work.py"
