#!/usr/bin/env bash
# Ruby: threads, fibers, JSON, Marshal, big integers, and many collections.
# needs: ruby=ruby
set -euo pipefail
ruby "$REAL_DIR/work.rb"
