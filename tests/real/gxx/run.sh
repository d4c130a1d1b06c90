#!/usr/bin/env bash
# g++ compiles C++ of several files with templates and exceptions; the object files are compared,
# and the program (operator new and delete, threads, containers) runs on the heap too.
# needs: g++=g++
# seen: cc1plus library
set -euo pipefail
cp "$REAL_DIR"/*.cpp "$REAL_DIR"/*.hpp .
for level in -O0 "-O2 -g"; do
    folder=$OUT/${level//[^A-Za-z0-9]/}
    mkdir "$folder"
    for file in main shapes graph; do
        # shellcheck disable=SC2086 # the level is several words
        g++ -std=c++17 $level -frandom-seed="$file" -Wall -Wextra -c "$file.cpp" -o "$folder/$file.o"
    done
    g++ "$folder"/*.o -pthread -o library
    ./library
done
