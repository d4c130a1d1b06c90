/* Threads: thousands in turn, blocks that outlive the thread that made them, thread-specific
 * destructors that allocate and free, threads still at work while the process exits. */
#include "check.h"

#include <malloc.h>
#include <pthread.h>

/* --- Thousands of threads in turn: each leaves blocks behind that later ones free. --- */

enum { TURNS = 3000, KEPT = 16, SLOTS = 64 };

struct keepsake {
    unsigned char *block;
    size_t size;
    unsigned seed;
};

static struct keepsake kept[SLOTS][KEPT];

static void *one_turn(void *argument) {
    unsigned turn = (unsigned)(uintptr_t)argument;
    uint64_t random = turn * 2654435761u + 1;
    struct keepsake *mine = kept[turn % SLOTS];
    for (int i = 0; i < KEPT; i++) {
        if (mine[i].block) { /* made by a thread that is long gone */
            CHECK(filled(mine[i].block, mine[i].size, mine[i].seed));
            if (next_random(&random) % 4 == 0) {
                mine[i].block = realloc(mine[i].block, mine[i].size + 40);
                REQUIRE(mine[i].block != NULL);
                CHECK(filled(mine[i].block, mine[i].size, mine[i].seed));
            }
            free(mine[i].block);
        }
        mine[i].size = next_random(&random) % (i == 0 ? 100000 : 2000);
        mine[i].seed = turn + (unsigned)i;
        mine[i].block = malloc(mine[i].size);
        REQUIRE(mine[i].block != NULL);
        fill(mine[i].block, mine[i].size, mine[i].seed);
    }
    return NULL;
}

static void test_turns(void) {
    size_t before = resident();
    for (unsigned turn = 0; turn < TURNS; turn += 4) {
        pthread_t thread[4];
        for (unsigned i = 0; i < 4; i++)
            REQUIRE(pthread_create(&thread[i], NULL, one_turn, (void *)(uintptr_t)(turn + i)) == 0);
        for (unsigned i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    }
    for (int slot = 0; slot < SLOTS; slot++)
        for (int i = 0; i < KEPT; i++) free(kept[slot][i].block);
    CHECK(resident() < before + (64 << 20)); /* about 4 MiB are alive at a time */
}

/* --- One makes, another frees, both at once, for every tier. --- */

enum { RING = 1024, PASSES = 200000 };
static _Atomic(void *) ring[RING];

static size_t size_of_pass(unsigned pass) {
    uint64_t state = pass + 1;
    uint64_t random = next_random(&state) ^ (next_random(&state) >> 20);
    switch (random % 64) {
    case 0: return 3000 + random % 60000;
    case 1: return pass % 512 ? 1500 : 400000 + random % 3000000;
    default: return 8 + random % 1000;
    }
}

static void *producer(void *unused) {
    (void)unused;
    for (unsigned pass = 0; pass < PASSES; pass++) {
        size_t size = size_of_pass(pass);
        unsigned char *block = malloc(size);
        REQUIRE(block != NULL);
        block[0] = (unsigned char)pass;
        block[size - 1] = (unsigned char)(pass >> 8);
        while (atomic_load_explicit(&ring[pass % RING], memory_order_acquire)) usleep(10);
        atomic_store_explicit(&ring[pass % RING], block, memory_order_release);
    }
    return NULL;
}

static void test_handing_over(void) {
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, producer, NULL) == 0);
    for (unsigned pass = 0; pass < PASSES; pass++) {
        unsigned char *block;
        while (!(block = atomic_load_explicit(&ring[pass % RING], memory_order_acquire))) usleep(10);
        size_t size = size_of_pass(pass);
        if (size > 1) {
            CHECK(block[0] == (unsigned char)pass && block[size - 1] == (unsigned char)(pass >> 8));
        }
        atomic_store_explicit(&ring[pass % RING], NULL, memory_order_release);
        free(block);
    }
    pthread_join(thread, NULL);
}

/* --- All of a dead thread's blocks, freed by the main thread. --- */

enum { LEGACY = 30000 };
static void *legacy[LEGACY];

static void *testator(void *unused) {
    (void)unused;
    for (int i = 0; i < LEGACY; i++) {
        size_t size = (size_t)(i * 37 % 1500) + (i % 300 == 0 ? 70000 : 1);
        legacy[i] = malloc(size);
        REQUIRE(legacy[i] != NULL);
        fill(legacy[i], size < 64 ? size : 64, (unsigned)i);
    }
    return NULL;
}

static void test_legacy(void) {
    for (int round = 0; round < 5; round++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, testator, NULL) == 0);
        pthread_join(thread, NULL);
        for (int i = 0; i < LEGACY; i++) {
            size_t size = (size_t)(i * 37 % 1500) + (i % 300 == 0 ? 70000 : 1);
            CHECK(filled(legacy[i], size < 64 ? size : 64, (unsigned)i));
            free(legacy[i]);
        }
    }
}

/* --- Keys whose destructors allocate and free, in every round there is. --- */

static pthread_key_t keys[8];
static atomic_int destructor_runs;
static __thread int thread_local_rounds;

static void destructor(void *value) {
    atomic_fetch_add(&destructor_runs, 1);
    void *block[64];
    for (int i = 0; i < 64; i++) {
        block[i] = malloc((size_t)(1 + i * 50));
        REQUIRE(block[i] != NULL);
        memset(block[i], 0x33, (size_t)(1 + i * 50));
    }
    for (int i = 0; i < 64; i++) free(block[i]);
    free(value);
    /* A new value asks for another round; the system grants a few. */
    if (++thread_local_rounds < 3 * 8) {
        void *next = calloc(1, 200);
        REQUIRE(next != NULL && all_zero(next, 200));
        pthread_setspecific(keys[thread_local_rounds % 8], next);
    }
}

static void *with_keys(void *unused) {
    (void)unused;
    for (int i = 0; i < 8; i++) pthread_setspecific(keys[i], malloc(100));
    return malloc(50); /* freed by who joins */
}

static void *only_in_destructor(void *unused) {
    (void)unused; /* the thread's first allocation is made by its destructor */
    static char not_allocated;
    pthread_setspecific(keys[7], NULL);
    (void)not_allocated;
    return NULL;
}

static void test_keys(void) {
    for (int i = 0; i < 8; i++) REQUIRE(pthread_key_create(&keys[i], destructor) == 0);
    size_t before = resident();
    for (int i = 0; i < 200; i++) {
        pthread_t thread[2];
        void *result;
        REQUIRE(pthread_create(&thread[0], NULL, with_keys, NULL) == 0);
        REQUIRE(pthread_create(&thread[1], NULL, only_in_destructor, NULL) == 0);
        pthread_join(thread[0], &result);
        pthread_join(thread[1], NULL);
        free(result);
    }
    CHECK(atomic_load(&destructor_runs) >= 200 * 8);
    /* Values that the last round leaves behind add up to less than 2 MiB. What destructors
     * allocate and free, 600 MiB in all, must be used again. */
    CHECK(resident() < before + (32 << 20));
}

/* --- Every slow path on the smallest stack there is. --- */

static void *on_a_small_stack(void *unused) {
    (void)unused;
    static _Atomic(void *) exchanged[300];
    for (int i = 0; i < 300; i++) {
        size_t size = (size_t)(i * i * 40);
        char *block = i % 3 ? malloc(size) : calloc(1, size);
        if (!block) REQUIRE(!"memory");
        if (size) block[0] = block[size - 1] = 1;
        block = realloc(block, size * 2 + 1);
        if (!block) REQUIRE(!"memory");
        free(atomic_exchange(&exchanged[i], block));
    }
    free(aligned_alloc(1 << 21, 1 << 20));
    malloc_trim(0);
    CHECK(mallinfo2().uordblks > 0);
    FILE *nowhere = fopen("/dev/null", "w");
    REQUIRE(nowhere != NULL && malloc_info(0, nowhere) == 0);
    fclose(nowhere);
    return NULL;
}

static void test_small_stacks(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    REQUIRE(pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN)) == 0);
    for (int i = 0; i < 10; i++) {
        pthread_t thread[2];
        for (int j = 0; j < 2; j++)
            REQUIRE(pthread_create(&thread[j], &attributes, on_a_small_stack, NULL) == 0);
        for (int j = 0; j < 2; j++) pthread_join(thread[j], NULL);
    }
    pthread_attr_destroy(&attributes);
}

/* --- Detached threads, and threads that work on while the process exits. --- */

static atomic_int detached_done;

static void *detached(void *unused) {
    (void)unused;
    for (int i = 0; i < 100; i++) free(malloc((size_t)i * 10));
    atomic_fetch_add(&detached_done, 1);
    return NULL;
}

static void test_detached(void) {
    for (int i = 0; i < 500; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, detached, NULL) != 0) {
            usleep(1000);
            i--;
            continue;
        }
        pthread_detach(thread);
    }
    while (atomic_load(&detached_done) < 500) usleep(1000); /* the runner ends what hangs */
}

static void *never_ending(void *unused) {
    (void)unused;
    for (unsigned i = 0;; i++) {
        void *block = malloc(i % 5000);
        memset(block, 1, i % 5000);
        free(block);
    }
    return NULL;
}

int main(void) {
    on_hakmem();
    test_turns();
    test_handing_over();
    test_legacy();
    test_keys();
    test_small_stacks();
    test_detached();
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, never_ending, NULL) == 0);
    }
    usleep(20000);
    return finished();
}
