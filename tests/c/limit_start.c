/* A process whose address space is so small from the start that the heap cannot have the
 * reservations it would like (the runner sets RLIMIT_AS and runs this anew): it either gets
 * smaller ones and works, or refuses; it never crashes or hangs. Argument: the limit in MiB. */
#include "check.h"

#include <sys/resource.h>

int main(int count, char **arguments) {
    REQUIRE(count > 1);
    if (count == 2) {
        struct rlimit limit;
        limit.rlim_cur = limit.rlim_max = (rlim_t)atol(arguments[1]) << 20;
        REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
        char *again[] = {arguments[0], arguments[1], (char *)"limited", NULL};
        execv("/proc/self/exe", again);
        return 2;
    }
    on_hakmem();
    /* A tenth of what there is has to be had. */
    size_t wanted = (size_t)atol(arguments[1]) << 20, held = 0;
    void **chain = NULL;
    while (held < wanted / 10) {
        void **block = malloc(1000);
        REQUIRE(block != NULL);
        *block = chain;
        chain = block;
        held += 1000;
    }
    while (chain) {
        void **block = chain;
        chain = *block;
        free(block);
    }
    errno = 0;
    CHECK(malloc(wanted) == NULL && errno == ENOMEM);
    return finished();
}
