#!/usr/bin/env bash
# gcc compiles a C program of four files at several levels and a large generated one; the object
# files are compared, and the program runs on the heap too.
# needs: gcc=gcc as=binutils ld=binutils
# seen: cc1 calc
set -euo pipefail
cp "$REAL_DIR"/*.c "$REAL_DIR"/*.h .
for level in -O0 "-O2 -g" "-O3 -flto -ffat-lto-objects"; do
    folder=$OUT/${level//[^A-Za-z0-9]/}
    mkdir "$folder"
    for file in main parse eval table; do
        # shellcheck disable=SC2086 # the level is several words
        gcc $level -frandom-seed="$file" -Wall -Wextra -c "$file.c" -o "$folder/$file.o"
    done
done
gcc "$OUT/O2g"/*.o -lm -o calc
awk 'BEGIN {
    for (i = 0; i < 20000; i++) printf "v%d = (v%d + %d) * %d / (1 + v%d)\n", i % 997, i * 7 % 997, i, i % 13, i % 31
    print "sqrt(2) + sin(1) * -3"; print "2 +"; print "(1"; print "nothing(1)"
}' >program
./calc <program | sha256sum
./calc <program | tail -5

# 600 functions in one file: the compiler's own trees and passes, not ours.
awk 'BEGIN {
    print "#include <string.h>"
    for (i = 0; i < 600; i++) {
        printf "static int f%d(int a, const char *s) { int t[%d]; memset(t, a, sizeof t); ", i, 2 + i % 30
        printf "for (int k = 0; k < %d; k++) { if (s[k %% 7] == %d) a += t[k %% %d]; else a ^= k << %d; switch (a & 7) { ", 5 + i % 20, i % 128, 2 + i % 30, i % 5
        for (c = 0; c < 8; c++) printf "case %d: a += %d; break; ", c, i * c % 100
        printf "} } return %s; }\n", i ? sprintf("f%d(a, s) + a", i - 1) : "a"
    }
    print "int main(int argc, char **argv) { return f599(argc, argv[0]) == 42; }"
}' >large.c
gcc -O2 -g -c large.c -o "$OUT/large.o"
gcc -E -dM - </dev/null | sha256sum
if gcc -c -x c - -o /dev/null 2>errors <<<'int main(void) { retrun 0; undeclared(); }'; then echo "no error?"; fi
grep -c error: errors
