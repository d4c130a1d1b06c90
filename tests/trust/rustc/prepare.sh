#!/usr/bin/env bash
# A copy of the sources: both builds are of the same ones, whatever is edited meanwhile.
set -euo pipefail
tar -C "$ROOT" --exclude=./target --exclude=./.git -c . | tar -C "$INPUT" -x
