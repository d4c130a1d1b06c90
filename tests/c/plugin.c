/* A library that the loading tests open many times over: thread-local data (initialised, zeroed,
 * and a good deal of it), a constructor and a destructor that use the heap. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static __thread int initialised = 42;
static __thread char zeroed[2000];
static __thread void *held;
static void *from_constructor;

__attribute__((constructor)) static void begin(void) {
    from_constructor = malloc(500);
    if (from_constructor) memset(from_constructor, 1, 500);
}

__attribute__((destructor)) static void end(void) { free(from_constructor); }

/* 0 if all is as it should be. */
int plugin_work(int round) {
    if (round == 0 && (initialised != 42 || zeroed[0] || zeroed[1999])) return 1;
    initialised++;
    zeroed[round % 2000] = 1;
    for (int i = 0; i < 50; i++) {
        void *block = malloc((size_t)(i * 40 + round));
        if (!block) return 2;
        memset(block, round, (size_t)(i * 40 + round));
        free(held);
        held = block;
    }
    return from_constructor ? 0 : 3;
}

void *plugin_take(void) {
    void *mine = held;
    held = NULL;
    return mine;
}
