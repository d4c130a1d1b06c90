/* Random work against a model: several threads, every function of the family, contents checked
 * whenever a block is touched, blocks handed from thread to thread. The argument is the seed. */
#include "check.h"

#include <malloc.h>
#include <pthread.h>

enum { THREADS = 4, SLOTS = 400, SHARED = 64, STEPS = 60000 };

struct slot {
    unsigned char *block;
    size_t size;
    unsigned seed;
};

static struct slot shared[SHARED];
static pthread_mutex_t shared_lock[SHARED];
static uint64_t seed_of_run;

static size_t random_size(uint64_t *random) {
    uint64_t r = next_random(random);
    switch (r % 100) {
    case 0: return (r >> 8) % (6u << 20);
    case 1: case 2: case 3: return (r >> 8) % 300000;
    case 4: case 5: case 6: case 7: case 8: case 9: return (r >> 8) % 40000;
    case 10: return 0;
    default: return (r >> 8) % 1200;
    }
}

/* Large blocks: only the ends and the page starts are written, or the test would be one memset. */
static void mark(struct slot *slot) {
    if (slot->size <= 8192) {
        fill(slot->block, slot->size, slot->seed);
        return;
    }
    for (size_t i = 0; i < slot->size; i += 4096) slot->block[i] = (unsigned char)(slot->seed + (i >> 12));
    slot->block[slot->size - 1] = (unsigned char)slot->seed;
}

static int marked(const struct slot *slot, size_t size) {
    if (slot->size <= 8192) return filled(slot->block, size < slot->size ? size : slot->size, slot->seed);
    for (size_t i = 0; i < slot->size - 1 && i < size; i += 4096)
        if (slot->block[i] != (unsigned char)(slot->seed + (i >> 12))) return 0;
    return size < slot->size || slot->block[slot->size - 1] == (unsigned char)slot->seed;
}

static void allocate(struct slot *slot, uint64_t *random) {
    slot->size = random_size(random);
    slot->seed = (unsigned)next_random(random);
    uint64_t r = next_random(random);
    size_t alignment = (size_t)16 << (r >> 8) % 12;
    void *block = NULL;
    switch (r % 8) {
    case 0:
        block = calloc(1, slot->size);
        CHECK(block && all_zero(block, slot->size < 8192 ? slot->size : 8192));
        break;
    case 1:
        block = aligned_alloc(alignment, slot->size);
        CHECK(aligned_to(block, alignment));
        break;
    case 2:
        CHECK(posix_memalign(&block, alignment, slot->size) == 0);
        CHECK(aligned_to(block, alignment));
        break;
    default: block = malloc(slot->size);
    }
    REQUIRE(block != NULL);
    CHECK(aligned_to(block, slot->size >= 16 ? 16 : 8));
    CHECK(malloc_usable_size(block) >= slot->size);
    slot->block = block;
    mark(slot);
}

static void drop(struct slot *slot) {
    CHECK(marked(slot, slot->size));
    free(slot->block);
    slot->block = NULL;
}

static void *worker(void *argument) {
    uint64_t random = seed_of_run * 1000003 + (uintptr_t)argument + 1;
    struct slot mine[SLOTS] = {{0}};
    for (int step = 0; step < STEPS; step++) {
        uint64_t r = next_random(&random);
        struct slot *slot = &mine[r % SLOTS];
        if (!slot->block) {
            allocate(slot, &random);
        } else if (r >> 20 & 3) {
            drop(slot);
        } else if (r >> 22 & 1) { /* realloc */
            size_t before = slot->size, size = random_size(&random) + 1;
            CHECK(marked(slot, before));
            unsigned char *block = realloc(slot->block, size);
            REQUIRE(block != NULL);
            slot->block = block;
            size_t common = before < size ? before : size;
            CHECK(marked(slot, common < before ? (common ? common - 1 : 0) : common));
            slot->size = size;
            mark(slot);
        } else { /* swapped with a place all threads share */
            unsigned place = (unsigned)(r >> 30) % SHARED;
            pthread_mutex_lock(&shared_lock[place]);
            struct slot other = shared[place];
            shared[place] = *slot;
            *slot = other;
            pthread_mutex_unlock(&shared_lock[place]);
        }
        if (r % 8192 == 0) malloc_trim(0);
    }
    for (int i = 0; i < SLOTS; i++)
        if (mine[i].block) drop(&mine[i]);
    return NULL;
}

int main(int count, char **arguments) {
    on_hakmem();
    seed_of_run = count > 1 ? strtoul(arguments[1], NULL, 0) : 1;
    for (int i = 0; i < SHARED; i++) pthread_mutex_init(&shared_lock[i], NULL);
    for (int generation = 0; generation < 3; generation++) {
        pthread_t thread[THREADS];
        for (uintptr_t i = 0; i < THREADS; i++)
            REQUIRE(pthread_create(&thread[i], NULL, worker, (void *)(i + (uintptr_t)generation * 10)) == 0);
        for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    }
    for (int i = 0; i < SHARED; i++)
        if (shared[i].block) drop(&shared[i]);
    return finished();
}
