#!/usr/bin/env bash
# Lua: every object goes through one realloc-like function, and tables grow by doubling.
# needs: lua5.4|lua=lua5.4
set -euo pipefail
lua=$(command -v lua5.4 || command -v lua)
"$lua" "$REAL_DIR/work.lua"
