/* fork in a threaded program under load: the child has a heap that works, whatever the other
 * threads were doing, and may use threads and fork again itself. */
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>

enum { WORKERS = 4, FORKS = 100, HELD = 500 };

static atomic_int stop;
static _Atomic(void *) shared[256];

static void *worker(void *argument) {
    uint64_t random = (uintptr_t)argument * 7919 + 1;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t r = next_random(&random);
        size_t size = r % 64 == 0 ? r % 3000000 : r % 3000;
        unsigned char *block = malloc(size);
        if (!block) REQUIRE(!"memory"); /* uncounted: a shared count would slow the load down */
        if (size) block[0] = block[size - 1] = 1;
        /* Through a shared place, so that most frees are foreign ones. */
        free(atomic_exchange(&shared[r / 64 % 256], block));
    }
    return NULL;
}

static void *child_thread(void *argument) {
    uint64_t random = (uintptr_t)argument + 5;
    void *block[100] = {0};
    for (int i = 0; i < 3000; i++) {
        uint64_t r = next_random(&random);
        free(block[r % 100]);
        block[r % 100] = malloc(r / 100 % 5000);
        REQUIRE(block[r % 100] != NULL);
    }
    for (int i = 0; i < 100; i++) free(block[i]);
    return NULL;
}

static void in_the_child(unsigned char **held, int depth) {
    alarm(120); /* a deadlock in the child must not go unnoticed */
    for (int i = 0; i < HELD; i++) {
        CHECK(filled(held[i], (size_t)i * 9, (unsigned)i)); /* the parent's, copied */
        free(held[i]);
        held[i] = malloc((size_t)i * 9);
        REQUIRE(held[i] != NULL);
        fill(held[i], (size_t)i * 9, (unsigned)i);
    }
    for (int i = 0; i < 256; i++) free(atomic_exchange(&shared[i], NULL));
    char *large = malloc(5 << 20);
    REQUIRE(large != NULL);
    memset(large, 1, 5 << 20);
    free(large);
    pthread_t thread[2];
    for (uintptr_t i = 0; i < 2; i++)
        REQUIRE(pthread_create(&thread[i], NULL, child_thread, (void *)i) == 0);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    if (depth == 0) {
        pid_t grandchild = fork();
        REQUIRE(grandchild >= 0);
        if (grandchild == 0) in_the_child(held, 1);
        int status;
        REQUIRE(waitpid(grandchild, &status, 0) == grandchild);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    if (failures()) _exit(1);
    if (depth == 0) _exit(0);
    exit(0); /* with exit handlers, one time in two */
}

int main(void) {
    on_hakmem();
    unsigned char *held[HELD];
    for (int i = 0; i < HELD; i++) {
        held[i] = malloc((size_t)i * 9);
        REQUIRE(held[i] != NULL);
        fill(held[i], (size_t)i * 9, (unsigned)i);
    }
    pthread_t thread[WORKERS];
    for (uintptr_t i = 0; i < WORKERS; i++)
        REQUIRE(pthread_create(&thread[i], NULL, worker, (void *)i) == 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) in_the_child(held, 0);
        for (int j = 0; j < HELD; j++) { /* the parent's heap goes on meanwhile */
            CHECK(filled(held[j], (size_t)j * 9, (unsigned)j));
            free(held[j]);
            held[j] = malloc((size_t)j * 9);
            fill(held[j], (size_t)j * 9, (unsigned)j);
        }
        int status;
        REQUIRE(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < WORKERS; i++) pthread_join(thread[i], NULL);
    return finished();
}
