/* What every test program here shares: checks that count, and proof that the program really runs
 * on hakmem. A program ends with `return finished();`, which prints "N checks passed" and gives 0,
 * or prints how many failed and gives 1.
 *
 * Run with HAKMEM_TEST_SYSTEM=1 a program accepts any allocator: what is asked of every one can
 * then be held against the system's, which shows that the test itself is right. */
#ifndef HAKMEM_TESTS_CHECK_H
#define HAKMEM_TESTS_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#ifndef __cplusplus
#include <stdatomic.h>
#endif
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Atomic through the builtins that C and C++ compilers share. */
static unsigned long checks_done, checks_failed;

/* Counts, complains if it must, and gives the condition back; the condition is evaluated once. */
static inline int check(int holds, const char *condition, const char *file, int line) {
    int check_errno = errno;
    __atomic_fetch_add(&checks_done, 1, __ATOMIC_RELAXED);
    if (!holds) {
        __atomic_fetch_add(&checks_failed, 1, __ATOMIC_RELAXED);
        fprintf(stderr, "%s:%d: not so: %s (errno is %d)\n", file, line, condition, check_errno);
    }
    errno = check_errno;
    return holds;
}

#define CHECK(condition) ((void)check((condition) ? 1 : 0, #condition, __FILE__, __LINE__))

/* For what the rest of the program cannot go on without. */
#define REQUIRE(condition)                                                                  \
    do {                                                                                    \
        if (!check((condition) ? 1 : 0, #condition, __FILE__, __LINE__)) exit(1);           \
    } while (0)

/* True if the allocator under test is hakmem; ends the program if it should be and is not. */
static inline int on_hakmem(void) {
    if (getenv("HAKMEM_TEST_SYSTEM")) return 0;
    REQUIRE(dlsym(RTLD_DEFAULT, "hak_version") != NULL);
    return 1;
}

static inline int aligned_to(const void *block, size_t alignment) {
    return ((uintptr_t)block & (alignment - 1)) == 0;
}

/* Fills with a pattern that depends on the seed, and checks it. */
static inline void fill(void *block, size_t size, unsigned seed) {
    unsigned char *byte = (unsigned char *)block;
    for (size_t i = 0; i < size; i++) byte[i] = (unsigned char)(seed * 31u + i * 7u + (i >> 8));
}

static inline int filled(const void *block, size_t size, unsigned seed) {
    const unsigned char *byte = (const unsigned char *)block;
    for (size_t i = 0; i < size; i++)
        if (byte[i] != (unsigned char)(seed * 31u + i * 7u + (i >> 8))) return 0;
    return 1;
}

static inline int all_zero(const void *block, size_t size) {
    const unsigned char *byte = (const unsigned char *)block;
    for (size_t i = 0; i < size; i++)
        if (byte[i]) return 0;
    return 1;
}

/* A small generator of its own for each thread: xorshift64. */
static inline uint64_t next_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* The size of this process's address space: what RLIMIT_AS limits. */
static inline size_t address_space(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;
    REQUIRE(file != NULL && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Its resident memory: the exact walk of the page tables. What statm says of it is summed from
 * counters of each processor or thread, and may be off by half a megabyte for each of them. */
static inline size_t resident(void) {
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    unsigned long kib = 0;
    int found = 0;
    REQUIRE(file != NULL);
    for (char line[256]; !found && fgets(line, sizeof line, file);)
        found = sscanf(line, "Rss: %lu kB", &kib) == 1;
    fclose(file);
    REQUIRE(found);
    return kib * 1024;
}

static inline unsigned long failures(void) {
    return __atomic_load_n(&checks_failed, __ATOMIC_SEQ_CST);
}

static inline int finished(void) {
    unsigned long failed = failures(), done = __atomic_load_n(&checks_done, __ATOMIC_SEQ_CST);
    if (failed) {
        fprintf(stderr, "%lu of %lu checks failed\n", failed, done);
        return 1;
    }
    printf("%lu checks passed\n", done);
    return 0;
}

#endif
