/* Threads that are cancelled in the middle of their work: their cleanup handlers and the destructors
 * of their thread-specific data free what they held, and other threads free the rest.
 *
 * Cancellation is deferred, as POSIX asks of a thread that calls malloc: it is acted on in a
 * cancellation point only. The heap itself has none that a program could notice. */
#include "check.h"

#include <pthread.h>

enum { THREADS = 300, AT_ONCE = 10, HELD = 40 };

static pthread_key_t key;
static atomic_int ready, cleaned, destroyed;

struct held {
    unsigned char *block[HELD];
    size_t size[HELD];
    uint64_t random;
};

static void clean(void *argument) {
    struct held *held = argument;
    for (unsigned i = 0; i < HELD; i++) {
        if (held->block[i]) CHECK(filled(held->block[i], held->size[i], i));
        free(held->block[i]);
    }
    void *last = malloc(500); /* a handler may allocate */
    REQUIRE(last != NULL);
    free(last);
    atomic_fetch_add(&cleaned, 1);
}

static void destroy(void *argument) {
    CHECK(filled(argument, 3000, 7));
    free(argument);
    free(calloc(1, 300000));
    atomic_fetch_add(&destroyed, 1);
}

static void *work(void *argument) {
    struct held held = {{NULL}, {0}, (uintptr_t)argument * 7919 + 1};
    unsigned char *specific = malloc(3000);
    REQUIRE(specific != NULL);
    fill(specific, 3000, 7);
    REQUIRE(pthread_setspecific(key, specific) == 0);
    pthread_cleanup_push(clean, &held);
    atomic_fetch_add(&ready, 1);
    for (;;) {
        uint64_t r = next_random(&held.random);
        unsigned i = (unsigned)(r % HELD);
        size_t size = 1 + r / HELD % (r % 50 ? 3000 : 600000);
        unsigned char *block = i % 2 ? malloc(size) : realloc(held.block[i], size);
        REQUIRE(block != NULL);
        if (i % 2) free(held.block[i]);
        held.block[i] = block;
        held.size[i] = size;
        fill(block, size, i);
        pthread_testcancel();
    }
    pthread_cleanup_pop(1);
    return NULL;
}

int main(void) {
    on_hakmem();
    REQUIRE(pthread_key_create(&key, destroy) == 0);
    for (unsigned turn = 0; turn < THREADS; turn += AT_ONCE) {
        pthread_t thread[AT_ONCE];
        atomic_store(&ready, 0);
        for (unsigned i = 0; i < AT_ONCE; i++)
            REQUIRE(pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)(turn + i)) == 0);
        while (atomic_load(&ready) < AT_ONCE) sched_yield();
        for (unsigned i = 0; i < AT_ONCE; i++) REQUIRE(pthread_cancel(thread[i]) == 0);
        for (unsigned i = 0; i < AT_ONCE; i++) {
            void *result = NULL;
            REQUIRE(pthread_join(thread[i], &result) == 0);
            CHECK(result == PTHREAD_CANCELED);
        }
    }
    CHECK(atomic_load(&cleaned) == THREADS && atomic_load(&destroyed) == THREADS);
    return finished();
}
