/* Opens the plugins named in the arguments (copies of one file), uses them from several threads
 * that were there before and after, closes them, and does it again: dynamic thread-local storage,
 * which the loader allocates, on this heap. */
#include "check.h"

#include <pthread.h>

enum { MOST = 200, THREADS = 4, ROUNDS = 5 };

typedef int (*work_function)(int);
typedef void *(*take_function)(void);
static work_function work[MOST];
static take_function take[MOST];
static int plugins;
static pthread_barrier_t opened, used;

static void use_all(int round) {
    for (int i = 0; i < plugins; i++) CHECK(work[i](round) == 0);
    for (int i = 0; i < plugins; i++) free(take[i]());
}

static void *early(void *unused) { /* started before the plugins are opened */
    (void)unused;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&opened);
        use_all(0);
        use_all(1);
        pthread_barrier_wait(&used);
    }
    return NULL;
}

static void *late(void *unused) {
    (void)unused;
    use_all(0);
    return NULL;
}

int main(int count, char **arguments) {
    on_hakmem();
    plugins = count - 1;
    REQUIRE(plugins > 0 && plugins <= MOST);
    pthread_barrier_init(&opened, NULL, THREADS + 1);
    pthread_barrier_init(&used, NULL, THREADS + 1);
    pthread_t before[THREADS], after[THREADS];
    for (int i = 0; i < THREADS; i++) REQUIRE(pthread_create(&before[i], NULL, early, NULL) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        static void *handle[MOST];
        for (int i = 0; i < plugins; i++) {
            handle[i] = dlopen(arguments[i + 1], i % 2 ? RTLD_NOW | RTLD_LOCAL : RTLD_LAZY | RTLD_LOCAL);
            if (!handle[i]) fprintf(stderr, "%s\n", dlerror());
            REQUIRE(handle[i] != NULL);
            work[i] = (work_function)dlsym(handle[i], "plugin_work");
            take[i] = (take_function)dlsym(handle[i], "plugin_take");
            REQUIRE(work[i] && take[i]);
        }
        pthread_barrier_wait(&opened);
        for (int i = 0; i < THREADS; i++) REQUIRE(pthread_create(&after[i], NULL, late, NULL) == 0);
        use_all(0);
        for (int i = 0; i < THREADS; i++) pthread_join(after[i], NULL);
        pthread_barrier_wait(&used);
        for (int i = 0; i < plugins; i++) CHECK(dlclose(handle[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(before[i], NULL);
    CHECK(dlopen("/nonexistent/library.so", RTLD_NOW) == NULL && dlerror() != NULL);
    return finished();
}
