/* 10,000 threads in turn and 1,000 at once, each on the smallest stack that there is: the heap's
 * slow paths fit in it, and every block is whole whoever frees it. The arguments are both numbers. */
#include "check.h"

#include <limits.h>
#include <pthread.h>

enum { BLOCKS = 24, MOST = 4000 };

static unsigned char *left_behind[MOST][BLOCKS];
/* How many there are at once, 0 until all are; and how many of them are done. */
static atomic_uint there, done;

static size_t size_of(unsigned thread, unsigned i) {
    uint64_t state = thread * 1000003u + i + 1;
    uint64_t random = next_random(&state) >> 7;
    return random % 61 ? 1 + random % 2000 : 200000 + random % 3000000;
}

/* Of what is large only a part: a thousand threads at once are to fit in a small machine. */
static size_t touched(size_t size) { return size < 4096 ? size : 4096; }

/* Takes over what the thread before in the same place has left, and leaves as much. */
static void hand_over(unsigned thread) {
    unsigned char **mine = left_behind[thread % MOST];
    for (unsigned i = 0; i < BLOCKS; i++) {
        unsigned before = thread - MOST;
        if (mine[i]) CHECK(filled(mine[i], touched(size_of(before, i)), before + i));
        free(mine[i]);
        size_t size = size_of(thread, i);
        mine[i] = i % 3 ? malloc(size) : realloc(malloc(size / 2 + 1), size);
        REQUIRE(mine[i] != NULL);
        fill(mine[i], touched(size), thread + i);
    }
}

static void *in_turn(void *argument) {
    hand_over((unsigned)(uintptr_t)argument);
    return NULL;
}

static void *at_once(void *argument) {
    while (!atomic_load(&there)) usleep(10000); /* a thousand of these must not keep one busy */
    for (int round = 0; round < 3; round++) {
        void *block[BLOCKS];
        for (unsigned i = 0; i < BLOCKS; i++) REQUIRE((block[i] = malloc(size_of(i, i))) != NULL);
        for (unsigned i = 0; i < BLOCKS; i++) free(block[i]);
    }
    hand_over((unsigned)(uintptr_t)argument);
    atomic_fetch_add(&done, 1);
    while (atomic_load(&done) < atomic_load(&there)) usleep(10000); /* nobody ends before all are */
    return NULL;
}

static void free_all(unsigned first, unsigned count) {
    for (unsigned thread = first; thread < first + count; thread++)
        for (unsigned i = 0; i < BLOCKS; i++) {
            unsigned char **block = &left_behind[thread % MOST][i];
            if (*block) CHECK(filled(*block, touched(size_of(thread, i)), thread + i));
            free(*block);
            *block = NULL;
        }
}

int main(int count, char **arguments) {
    on_hakmem();
    REQUIRE(count == 3);
    unsigned turns = (unsigned)atoi(arguments[1]), crowd = (unsigned)atoi(arguments[2]);
    REQUIRE(crowd <= MOST);
    pthread_attr_t smallest;
    REQUIRE(pthread_attr_init(&smallest) == 0);
    REQUIRE(pthread_attr_setstacksize(&smallest, PTHREAD_STACK_MIN) == 0);

    pthread_t *thread = calloc(crowd, sizeof *thread);
    REQUIRE(thread != NULL);
    unsigned born = 0;
    while (born < crowd
           && pthread_create(&thread[born], &smallest, at_once, (void *)(uintptr_t)born) == 0)
        born++;
    REQUIRE(born > 0);
    if (born < crowd) printf("the system allows %u threads at once, not %u\n", born, crowd);
    crowd = born;
    atomic_store(&there, crowd);
    for (unsigned i = 0; i < crowd; i++) REQUIRE(pthread_join(thread[i], NULL) == 0);
    free_all(0, crowd);
    free(thread);

    for (uintptr_t i = 0; i < turns; i++) {
        pthread_t one;
        int error;
        /* Where the crowd was all that the system allows: who was joined may not be gone yet. */
        while ((error = pthread_create(&one, &smallest, in_turn, (void *)i)) == EAGAIN) usleep(1000);
        REQUIRE(error == 0);
        REQUIRE(pthread_join(one, NULL) == 0);
    }
    free_all(turns < MOST ? 0 : turns - MOST, turns < MOST ? turns : MOST);
    pthread_attr_destroy(&smallest);
    return finished();
}
