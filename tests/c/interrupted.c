/* Signal handlers that interrupt the heap at any instruction. A handler that does what POSIX allows
 * in one (and so does not allocate) leaves everything as it was, whatever it has interrupted; errno
 * is its own business, as ever. The argument is the number of signals.
 *
 * A handler that allocates is not asked for: malloc is not async-signal-safe, here as in glibc. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

enum { WORKERS = 2, HELD = 300 };

static atomic_int stop, started;
static atomic_ulong handled[WORKERS];
static __thread int me;
static int null_device;

static void on_signal(int number) {
    (void)number;
    int before = errno;
    char text[600];
    memset(text, 0x5A, sizeof text); /* the interrupted frame's red zone is the kernel's to spare */
    if (write(null_device, text, sizeof text) != sizeof text) _exit(9);
    atomic_fetch_add(&handled[me], 1);
    errno = before;
}

static void *worker(void *argument) {
    me = (int)(uintptr_t)argument;
    atomic_fetch_add(&started, 1); /* no signal before this: its handler counts for `me` */
    uint64_t random = (uintptr_t)argument * 7919 + 1;
    static unsigned char *held[WORKERS][HELD];
    static size_t size[WORKERS][HELD];
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t r = next_random(&random);
        unsigned i = (unsigned)(r % HELD);
        unsigned char **block = &held[me][i];
        if (*block) CHECK(filled(*block, size[me][i], i));
        size[me][i] = 1 + r / HELD % (r % 200 ? 300 : 900000);
        *block = r & 1 << 20 ? realloc(*block, size[me][i]) : (free(*block), malloc(size[me][i]));
        if (!*block) REQUIRE(!"memory");
        fill(*block, size[me][i], i);
    }
    for (unsigned i = 0; i < HELD; i++) {
        if (held[me][i]) CHECK(filled(held[me][i], size[me][i], i));
        free(held[me][i]);
    }
    return NULL;
}

int main(int count, char **arguments) {
    on_hakmem();
    REQUIRE(count > 1);
    unsigned long signals = strtoul(arguments[1], NULL, 10);
    null_device = open("/dev/null", O_WRONLY);
    REQUIRE(null_device >= 0);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    REQUIRE(sigaction(SIGUSR2, &action, NULL) == 0);
    pthread_t thread[WORKERS];
    for (uintptr_t i = 0; i < WORKERS; i++)
        REQUIRE(pthread_create(&thread[i], NULL, worker, (void *)i) == 0);
    while (atomic_load(&started) < WORKERS) sched_yield();
    for (unsigned long sent = 0; sent < signals; sent++) {
        int to = (int)(sent % WORKERS);
        unsigned long before = atomic_load(&handled[to]);
        REQUIRE(pthread_kill(thread[to], SIGUSR2) == 0);
        while (atomic_load(&handled[to]) == before) sched_yield(); /* one at a time: none is merged */
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < WORKERS; i++) pthread_join(thread[i], NULL);
    unsigned long all = 0;
    for (int i = 0; i < WORKERS; i++) all += atomic_load(&handled[i]);
    CHECK(all == signals);
    return finished();
}
