/* New programs while threads are in the middle of allocating: posix_spawn, vfork and exec, popen. A
 * child by vfork runs in this process's memory and on its heap, and may do nothing but exec: what is
 * looked at is that the heap is as it was. The argument is the number of rounds. */
#include "check.h"

#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>

enum { WORKERS = 3, HELD = 200 };

extern char **environ;
static atomic_int stop;

static void *worker(void *argument) {
    uint64_t random = (uintptr_t)argument * 7919 + 1;
    unsigned char *held[HELD] = {NULL};
    size_t size[HELD] = {0};
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t r = next_random(&random);
        unsigned i = (unsigned)(r % HELD);
        if (held[i]) CHECK(filled(held[i], size[i], i));
        free(held[i]);
        size[i] = r / HELD % (r % 100 ? 2000 : 400000);
        held[i] = malloc(size[i]);
        if (!held[i]) REQUIRE(!"memory");
        fill(held[i], size[i], i);
    }
    for (unsigned i = 0; i < HELD; i++) {
        if (held[i]) CHECK(filled(held[i], size[i], i));
        free(held[i]);
    }
    return NULL;
}

static int ended_well(pid_t child) {
    int status = -1;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int count, char **arguments) {
    on_hakmem();
    REQUIRE(count > 1);
    if (strcmp(arguments[1], "child") == 0) { /* the program that is spawned: on this heap, too */
        void *block = malloc(100000);
        free(block);
        return block ? 0 : 1;
    }
    int rounds = atoi(arguments[1]);
    char *again[] = {arguments[0], (char *)"child", NULL};
    pthread_t thread[WORKERS];
    for (uintptr_t i = 0; i < WORKERS; i++)
        REQUIRE(pthread_create(&thread[i], NULL, worker, (void *)i) == 0);
    for (int round = 0; round < rounds; round++) {
        pid_t child;
        REQUIRE(posix_spawn(&child, arguments[0], NULL, NULL, again, environ) == 0);
        CHECK(ended_well(child));

        unsigned char *mine = malloc(5000);
        REQUIRE(mine != NULL);
        fill(mine, 5000, (unsigned)round);
        child = vfork();
        REQUIRE(child >= 0);
        if (child == 0) {
            execve(arguments[0], again, environ);
            _exit(127);
        }
        CHECK(ended_well(child));
        CHECK(filled(mine, 5000, (unsigned)round));
        free(mine);

        if (round % 10 == 0) {
            FILE *shell = popen("echo spawned", "r");
            char line[32] = "";
            REQUIRE(shell != NULL);
            CHECK(fgets(line, sizeof line, shell) && strcmp(line, "spawned\n") == 0);
            CHECK(pclose(shell) == 0);
        }
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < WORKERS; i++) pthread_join(thread[i], NULL);
    return finished();
}
