/* What a program weighs, by the case named in the argument; prints resident KiB on its last line.
 *   nothing   it allocates nothing
 *   locked    it locks its memory, present and future
 *   crowd     many threads are alive at once, each with a few blocks of its own */
#include "check.h"

#include <pthread.h>
#include <sys/mman.h>

enum { CROWD = 400, BLOCKS = 50 };
static pthread_barrier_t all_there;
static size_t most;

static void *one_of_many(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument;
    unsigned char *block[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = malloc(i * 20);
        if (!block[i]) REQUIRE(!"memory");
        fill(block[i], i * 20, seed + i);
    }
    if (pthread_barrier_wait(&all_there) == PTHREAD_BARRIER_SERIAL_THREAD) most = resident();
    for (unsigned i = 0; i < BLOCKS; i++) {
        CHECK(filled(block[i], i * 20, seed + i));
        free(block[i]);
    }
    pthread_barrier_wait(&all_there);
    return NULL;
}

static void crowd(void) {
    static pthread_t thread[CROWD];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    pthread_barrier_init(&all_there, NULL, CROWD);
    for (uintptr_t i = 0; i < CROWD; i++)
        REQUIRE(pthread_create(&thread[i], &attributes, one_of_many, (void *)i) == 0);
    for (int i = 0; i < CROWD; i++) pthread_join(thread[i], NULL);
    pthread_attr_destroy(&attributes);
}

static void locked(void) {
    free(malloc(100));
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        printf("may not lock memory\n");
        exit(0);
    }
    for (int i = 0; i < 1000; i++) free(malloc((size_t)i * 10));
    most = resident();
}

int main(int count, char **arguments) {
    const char *name = count > 1 ? arguments[1] : "nothing";
    on_hakmem();
    if (strcmp(name, "crowd") == 0) crowd();
    if (strcmp(name, "locked") == 0) locked();
    if (strcmp(name, "nothing") == 0) most = resident();
    if (failures()) return 1;
    printf("%zu\n", most / 1024);
    return 0;
}
