/* The system refuses memory (RLIMIT_AS): null and ENOMEM, nothing lost, and the heap goes on as
 * soon as there is room again. */
#include "check.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* Blocks until the heap says no; chained through their first word. Returns how many. */
static unsigned long exhaust(size_t size, void **chain) {
    unsigned long count = 0;
    errno = 0;
    for (;;) {
        void **block = malloc(size);
        if (!block) break;
        memset(block, 0x42, size);
        *block = *chain;
        *chain = block;
        count++;
    }
    CHECK(errno == ENOMEM);
    return count;
}

static void release(void **chain, size_t size) {
    while (*chain) {
        void **block = *chain;
        *chain = *block;
        CHECK(((unsigned char *)block)[size - 1] == 0x42);
        free(block);
    }
}

static void *thread_under_limit(void *unused) {
    (void)unused;
    void *chain = NULL;
    exhaust(3000, &chain);
    release(&chain, 3000);
    void *block = malloc(100);
    CHECK(block != NULL);
    free(block);
    return NULL;
}

int main(int count_of_arguments, char **arguments) {
    on_hakmem();
    /* From the start, so that the heap's first reservation is made under the limit, too. */
    struct rlimit limit;
    REQUIRE(getrlimit(RLIMIT_AS, &limit) == 0);
    if (count_of_arguments == 1) {
        limit.rlim_cur = 192 << 20;
        REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
        char *again[] = {arguments[0], (char *)"limited", NULL};
        execv("/proc/self/exe", again);
        return 2;
    }
    /* A block of every kind that has to survive all of it. */
    char *small = malloc(100), *medium = malloc(30000), *large = malloc(3 << 20);
    REQUIRE(small && medium && large);
    fill(small, 100, 1);
    fill(medium, 30000, 2);
    fill(large, 3 << 20, 3);

    const size_t sizes[] = {16, 64, 1000, 5000, 60000, 250000, 1 << 20, 5 << 20};
    unsigned long first[8];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 8; i++) {
            if (sizes[i] < 1000 && round) continue; /* many blocks: once is enough */
            void *chain = NULL;
            unsigned long count = exhaust(sizes[i], &chain);
            if (round == 0) first[i] = count;
            CHECK(count > 0);
            if (getenv("VERBOSE")) fprintf(stderr, "%zu bytes: %lu\n", sizes[i], count);
            /* Room that was freed by blocks of one size serves the others, and this one again:
             * not a quarter of it may be lost from round to round. */
            CHECK(count * 4 >= first[i] * 3);
            /* While nothing is left: every function refuses alike, and changes nothing. */
            errno = 0;
            CHECK(realloc(large, (size_t)1 << 40) == NULL && errno == ENOMEM);
            errno = 0;
            CHECK(calloc(1 << 20, 1 << 10) == NULL && errno == ENOMEM);
            errno = 0;
            CHECK(aligned_alloc(1 << 21, 1 << 30) == NULL && errno == ENOMEM);
            void *untouched = small;
            CHECK(posix_memalign(&untouched, 4096, 1 << 30) == ENOMEM && untouched == small);
            CHECK(filled(small, 100, 1) && filled(medium, 30000, 2) && filled(large, 3 << 20, 3));
            release(&chain, sizes[i]);
            void *again = malloc(sizes[i]);
            CHECK(again != NULL);
            free(again);
        }
    }
    /* A thread that starts under the limit. Its stack has to fit. */
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, thread_under_limit, NULL) == 0)
            pthread_join(thread, NULL);
    }
    /* The limit is gone: so is the shortage. */
    limit.rlim_cur = limit.rlim_max;
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    void *huge = malloc(256 << 20);
    CHECK(huge != NULL);
    free(huge);
    large = realloc(large, 100 << 20);
    REQUIRE(large != NULL && filled(large, 3 << 20, 3));
    free(large);
    CHECK(filled(small, 100, 1) && filled(medium, 30000, 2));
    free(small);
    free(medium);
    return finished();
}
