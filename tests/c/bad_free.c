/* Hands a bad pointer to the heap, by the case named in the first argument. The address is
 * printed on standard output first; the process must not survive. Reaching the end is exit code
 * 3. HAKMEM_TEST_SYSTEM is of no use here. */
#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

static char in_static_storage[4096] __attribute__((aligned(64)));
static const char in_constants[64] __attribute__((aligned(64))) = "text";

static void announce(const void *pointer) {
    printf("0x%lx\n", (unsigned long)(uintptr_t)pointer);
    fflush(stdout);
}

/* Frees what has to leave the thread's cache for a second free of it to be noticed. */
static void flush_caches(size_t size) {
    enum { MANY = 60000 };
    static void *block[MANY];
    int many = size > 4096 ? (size > 300000 ? 200 : 4000) : MANY;
    for (int i = 0; i < many; i++) REQUIRE((block[i] = malloc(size)) != NULL);
    for (int i = 0; i < many; i++) free(block[i]);
    malloc_trim(0);
    malloc_trim(0); /* what the first brought home for other threads is looked at by the second */
}

static void *other_thread_frees(void *block) {
    free(block);
    return NULL;
}

static void double_free(size_t size) {
    enum { FEW = 8 };
    char *around[FEW];
    for (int i = 0; i < FEW; i++) around[i] = malloc(size);
    char *block = around[FEW / 2];
    announce(block);
    free(block);
    free(block);
    for (int i = 0; i < FEW; i++)
        if (i != FEW / 2) free(around[i]);
    flush_caches(size);
}

/* The second free comes from another thread, which then ends. */
static void double_free_by_two(size_t size) {
    pthread_t thread;
    char *block = malloc(size), *neighbour = malloc(size);
    announce(block);
    free(block);
    pthread_create(&thread, NULL, other_thread_frees, block);
    pthread_join(thread, NULL);
    free(neighbour);
    flush_caches(size);
}

static void interior(size_t size, size_t offset) {
    char *block = malloc(size), *neighbour = malloc(size);
    REQUIRE(block && neighbour);
    announce(block + offset);
    free(block + offset);
    free(neighbour);
    flush_caches(size);
}

int main(int count, char **arguments) {
    REQUIRE(count > 1);
    on_hakmem();
    void *warm[100]; /* the heap is in use, as in a real program */
    for (int i = 0; i < 100; i++) warm[i] = malloc((size_t)i * 100);
    for (int i = 0; i < 100; i += 2) free(warm[i]);

    const char *name = arguments[1];
    size_t size = count > 2 ? (size_t)atol(arguments[2]) : 64;
    size_t offset = count > 3 ? (size_t)atol(arguments[3]) : 16;
    char on_stack[256] __attribute__((aligned(64)));
    on_stack[0] = 1;
    void *bad = NULL;
    if (strcmp(name, "stack") == 0) {
        bad = on_stack + 64;
    } else if (strcmp(name, "static") == 0) {
        bad = in_static_storage + 128;
    } else if (strcmp(name, "constant") == 0) {
        bad = (void *)(uintptr_t)in_constants;
    } else if (strcmp(name, "code") == 0) {
        bad = (void *)(uintptr_t)&main;
    } else if (strcmp(name, "mapping") == 0) {
        bad = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    } else if (strcmp(name, "unreadable") == 0) {
        bad = mmap(NULL, 8 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    } else if (strcmp(name, "number") == 0) { /* any number at all */
        bad = (void *)(uintptr_t)strtoul(arguments[2], NULL, 0);
    } else if (strcmp(name, "double") == 0) {
        double_free(size);
        return 3;
    } else if (strcmp(name, "double-by-two") == 0) {
        double_free_by_two(size);
        return 3;
    } else if (strcmp(name, "interior") == 0) {
        interior(size, offset);
        return 3;
    } else if (strcmp(name, "realloc") == 0) {
        announce(on_stack + 64);
        void *moved = realloc(on_stack + 64, 1000);
        return moved ? 3 : 4;
    }
    REQUIRE(bad != NULL);
    announce(bad);
    free(bad);
    return 3;
}
