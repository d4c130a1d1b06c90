/* The end of a process: handlers, destructors and the last threads allocate and free to the end.
 * Prints one line per stage, so that the runner sees each was reached. With the argument
 * "pthread_exit" the main thread ends before the others do. */
#include "check.h"

#include <pthread.h>

static void *from_constructor;
static void *from_main[200];
static void *worker_blocks[200];

static void churn(const char *stage) {
    void *block[300];
    for (int i = 0; i < 300; i++) {
        block[i] = malloc((size_t)(i * i % 9000));
        REQUIRE(block[i] != NULL);
        memset(block[i], 0x11, (size_t)(i * i % 9000));
    }
    for (int i = 0; i < 300; i++) free(block[i]);
    char *large = malloc(3 << 20);
    REQUIRE(large != NULL);
    large[0] = large[(3 << 20) - 1] = 1;
    large = realloc(large, 9 << 20);
    REQUIRE(large != NULL && large[0] == 1);
    free(large);
    printf("%s\n", stage);
    fflush(stdout);
}

__attribute__((constructor)) static void constructor(void) {
    from_constructor = malloc(1000);
    memset(from_constructor, 1, 1000);
    churn("constructor");
}

/* Without a priority: runs after the atexit handlers; the runner wants it to be the last line. */
__attribute__((destructor)) static void last_destructor(void) {
    free(from_constructor);
    for (int i = 0; i < 200; i++) free(from_main[i]);
    churn("destructor");
    if (failures()) _exit(1);
}

static void handler_two(void) { churn("handler two"); }

static void handler_one(void) {
    for (int i = 0; i < 200; i++) free(worker_blocks[i]);
    churn("handler one");
    REQUIRE(atexit(handler_two) == 0); /* registered while exiting: runs next; may allocate */
}

static void *worker(void *unused) {
    (void)unused;
    for (int i = 0; i < 200; i++) worker_blocks[i] = malloc((size_t)i * 30);
    return NULL;
}

static pthread_t main_thread;

static void *outlives_main(void *unused) {
    (void)unused;
    pthread_join(main_thread, NULL);
    for (int i = 0; i < 200; i++) {
        free(from_main[i]); /* blocks of a main thread that is no more */
        from_main[i] = malloc(64);
    }
    churn("after main");
    exit(0);
}

int main(int count, char **arguments) {
    on_hakmem();
    REQUIRE(atexit(handler_one) == 0);
    for (int i = 0; i < 200; i++) from_main[i] = malloc((size_t)i * 20);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, worker, NULL) == 0);
    pthread_join(thread, NULL);
    churn("main");
    if (count > 1 && strcmp(arguments[1], "pthread_exit") == 0) {
        main_thread = pthread_self();
        REQUIRE(pthread_create(&thread, NULL, outlives_main, NULL) == 0);
        pthread_exit(NULL);
    }
    return 0;
}
