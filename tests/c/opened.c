/* Opens the library itself at run time (arguments: paths of two or more copies), not preloaded:
 * each copy is a heap of its own beside the system's. Threads that use it start before and after,
 * and one ends after `dlclose`. */
#include "check.h"

#include <malloc.h>
#include <pthread.h>

enum { MOST = 64, BLOCKS = 200 };

struct heap {
    void *handle;
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    size_t (*usable)(void *);
};

static struct heap heaps[MOST];
static int count_of_heaps;
static pthread_barrier_t barrier;

static void use(struct heap *heap, unsigned seed) {
    unsigned char *block[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++) {
        size_t size = i * i;
        block[i] = i % 3 ? heap->malloc(size) : heap->calloc(1, size);
        REQUIRE(block[i] != NULL && heap->usable(block[i]) >= size);
        fill(block[i], size, seed + i);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        CHECK(filled(block[i], i * i, seed + i));
        block[i] = heap->realloc(block[i], i * 300 + 1);
        REQUIRE(block[i] != NULL);
    }
    for (unsigned i = 0; i < BLOCKS; i++) heap->free(block[i]);
    free(malloc(100)); /* the system's own, in between */
}

static void *thread(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument;
    pthread_barrier_wait(&barrier); /* the copies are open */
    for (int i = 0; i < count_of_heaps; i++) use(&heaps[i], seed);
    pthread_barrier_wait(&barrier); /* used by all: the main thread closes them */
    pthread_barrier_wait(&barrier); /* closed; this thread's end still runs their destructors */
    return NULL;
}

int main(int count, char **arguments) {
    REQUIRE(count > 2 && count - 1 <= MOST);
    REQUIRE(dlsym(RTLD_DEFAULT, "hak_version") == NULL); /* not preloaded */
    pthread_barrier_init(&barrier, NULL, 4);
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        REQUIRE(pthread_create(&threads[i], NULL, thread, (void *)(i * 1000)) == 0);
    count_of_heaps = count - 1;
    for (int i = 0; i < count_of_heaps; i++) {
        struct heap *heap = &heaps[i];
        heap->handle = dlopen(arguments[i + 1], RTLD_NOW | RTLD_LOCAL);
        if (!heap->handle) fprintf(stderr, "%s\n", dlerror());
        REQUIRE(heap->handle != NULL);
        heap->malloc = (void *(*)(size_t))dlsym(heap->handle, "malloc");
        heap->calloc = (void *(*)(size_t, size_t))dlsym(heap->handle, "calloc");
        heap->realloc = (void *(*)(void *, size_t))dlsym(heap->handle, "realloc");
        heap->free = (void (*)(void *))dlsym(heap->handle, "free");
        heap->usable = (size_t(*)(void *))dlsym(heap->handle, "malloc_usable_size");
        REQUIRE(heap->malloc && heap->calloc && heap->realloc && heap->free && heap->usable);
        REQUIRE((void *)heap->malloc != (void *)&malloc);
        for (int j = 0; j < i; j++) REQUIRE(heap->malloc != heaps[j].malloc);
    }
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < count_of_heaps; i++) use(&heaps[i], 77);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < count_of_heaps; i++) CHECK(dlclose(heaps[i].handle) == 0);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    return finished();
}
