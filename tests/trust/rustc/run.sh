#!/usr/bin/env bash
# This project's allocator and its laboratory's statistics, built by cargo and rustc into an empty
# folder. rustc's own main program carries a heap that stands before any preload, so driver.c is its
# main function without it: the compiler and LLVM lie in a library, which then uses ours.
# needs: cargo=cargo cc=gcc
# seen: rustc
# limit: 3000
set -euo pipefail
# The toolchain that runs this, not what a version manager would choose here.
PATH=$(dirname "$CARGO"):$PATH
sysroot=$(env -u LD_PRELOAD rustc --print sysroot)
library=$(echo "$sysroot"/lib/librustc_driver-*.so)
entry=$(nm -D --defined-only "$library" | awk '/17rustc_driver_impl4main$/ { print $3 }')
cc -O1 -DENTRY="$entry" "$REAL_DIR/driver.c" -o "$PWD/rustc" "$library" "-Wl,-rpath,$sysroot/lib"
export RUSTC=$PWD/rustc CARGO_TARGET_DIR=$PWD/target CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never
cd "$INPUT"
build() { cargo build --quiet --locked "$@"; }
build --release --package hakmem-preload
build --package xtask-stats
# The compiler is deterministic: the same sources in the same folders give the same bytes.
find "$CARGO_TARGET_DIR" -name '*.rlib' -o -name '*.rmeta' -o -name '*.so' | LC_ALL=C sort |
    while read -r file; do
        echo "$(sha256sum <"$file" | cut -c 1-32) ${file#"$CARGO_TARGET_DIR"/}"
    done
