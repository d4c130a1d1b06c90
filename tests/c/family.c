/* The functions that ISO C and POSIX name: results, errors and errno, over every tier of sizes. */
#include "check.h"

typedef void (*sized_free)(void *, size_t);
typedef void (*aligned_sized_free)(void *, size_t, size_t);

static const size_t SIZES[] = {
    0,     1,     7,      8,      9,      15,      16,      17,      24,      63,      64,
    65,    127,   128,    129,    255,    256,     257,     511,     512,     513,     1000,
    1023,  1024,  1025,   2047,   2048,   4095,    4096,    4097,    8192,    8193,    16384,
    20000, 32768, 32769,  65536,  100000, 131072,  262143,  262144,  262145,  524288,  1000000,
    1 << 20, (1 << 20) + 1, 2 << 20, (2 << 20) + 1, 3000000, 4 << 20, (4 << 20) + 1, 10000000, 64 << 20,
};
#define COUNT (sizeof SIZES / sizeof *SIZES)

/* The largest alignment a block of this size must have, asked for or not. */
static size_t natural(size_t size) { return size >= 16 ? 16 : 8; }

static void test_malloc(void) {
    void *block[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        errno = 0;
        block[i] = malloc(SIZES[i]);
        REQUIRE(block[i] != NULL);
        CHECK(errno == 0);
        CHECK(aligned_to(block[i], natural(SIZES[i])));
        fill(block[i], SIZES[i], (unsigned)i);
    }
    for (size_t i = 0; i < COUNT; i++) {
        CHECK(filled(block[i], SIZES[i], (unsigned)i));
        free(block[i]);
    }
    void *one = malloc(0), *other = malloc(0);
    CHECK(one != NULL && other != NULL && one != other);
    free(one);
    free(other);
    const size_t too_big[] = {(size_t)PTRDIFF_MAX + 1, (size_t)PTRDIFF_MAX, SIZE_MAX,
                              SIZE_MAX - 4095,         SIZE_MAX / 2 + 64};
    for (size_t i = 0; i < sizeof too_big / sizeof *too_big; i++) {
        errno = 0;
        CHECK(malloc(too_big[i]) == NULL);
        CHECK(errno == ENOMEM);
    }
}

static void test_free(void) {
    for (size_t i = 0; i < COUNT; i++) {
        void *block = malloc(SIZES[i]);
        errno = 12345;
        free(block);
        CHECK(errno == 12345);
    }
    errno = 12345;
    free(NULL);
    CHECK(errno == 12345);
    /* Enough of them that slow paths run too. */
    enum { MANY = 20000 };
    static void *block[MANY];
    for (int i = 0; i < MANY; i++) block[i] = malloc((size_t)(i % 700) * 3);
    errno = 777;
    for (int i = 0; i < MANY; i++) free(block[i]);
    CHECK(errno == 777);
    enum { BIG = 64 };
    for (int i = 0; i < BIG; i++) REQUIRE((block[i] = malloc(1500000)) != NULL);
    errno = 778;
    for (int i = 0; i < BIG; i++) free(block[i]);
    CHECK(errno == 778);
}

static void test_calloc(void) {
    for (size_t i = 0; i < COUNT; i++) {
        /* A dirty block of that size lies ready to be handed out again. */
        void *dirty = malloc(SIZES[i]);
        memset(dirty, 0xA5, SIZES[i]);
        free(dirty);
        void *block = calloc(1, SIZES[i]);
        REQUIRE(block != NULL);
        CHECK(all_zero(block, SIZES[i]));
        CHECK(aligned_to(block, natural(SIZES[i])));
        memset(block, 0xA5, SIZES[i]);
        void *second = calloc(SIZES[i], 1);
        REQUIRE(second != NULL);
        CHECK(all_zero(second, SIZES[i]));
        free(block);
        free(second);
    }
    void *none = calloc(0, 16), *nothing = calloc(16, 0);
    CHECK(none != NULL && nothing != NULL);
    free(none);
    free(nothing);
    const size_t pairs[][2] = {{SIZE_MAX, 2},
                               {2, SIZE_MAX},
                               {SIZE_MAX / 2 + 1, 2},
                               {(size_t)1 << 32, (size_t)1 << 32},
                               {SIZE_MAX, SIZE_MAX},
                               {(size_t)1 << 62, 2},
                               {1, (size_t)PTRDIFF_MAX + 1}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        errno = 0;
        CHECK(calloc(pairs[i][0], pairs[i][1]) == NULL);
        CHECK(errno == ENOMEM);
    }
}

static void test_realloc(void) {
    void *block = realloc(NULL, 100);
    REQUIRE(block != NULL);
    free(block);
    /* From every size to every size; the common part stays. */
    for (size_t from = 0; from < COUNT; from++) {
        for (size_t to = 1; to < COUNT; to++) {
            if (SIZES[from] > (4u << 20) && SIZES[to] > (4u << 20) && from != to) continue;
            size_t common = SIZES[from] < SIZES[to] ? SIZES[from] : SIZES[to];
            block = malloc(SIZES[from]);
            fill(block, SIZES[from] < 70000 ? SIZES[from] : 70000, 9);
            errno = 0;
            block = realloc(block, SIZES[to]);
            REQUIRE(block != NULL);
            CHECK(errno == 0);
            CHECK(filled(block, common < 70000 ? common : 70000, 9));
            CHECK(aligned_to(block, natural(SIZES[to])));
            memset(block, 1, SIZES[to] < 70000 ? SIZES[to] : 70000);
            ((char *)block)[SIZES[to] - 1] = 1;
            free(block);
        }
    }
    /* Growing step by step across all tiers, and back. */
    size_t size = 1;
    unsigned char *grown = malloc(1);
    REQUIRE(grown != NULL);
    grown[0] = 1;
    while (size < (48u << 20)) {
        size_t next = size + size / 2 + 1;
        grown = realloc(grown, next);
        REQUIRE(grown != NULL);
        CHECK(grown[0] == 1 && grown[size - 1] == 1);
        grown[next - 1] = 1;
        size = next;
    }
    while (size > 1) {
        size_t next = size - size / 3 - 1;
        if (next == 0) next = 1;
        grown = realloc(grown, next);
        REQUIRE(grown != NULL);
        CHECK(grown[0] == 1);
        size = next;
    }
    free(grown);
    /* Failure leaves the block alone. */
    for (size_t i = 0; i < COUNT; i++) {
        block = malloc(SIZES[i]);
        fill(block, SIZES[i], 3);
        errno = 0;
        CHECK(realloc(block, (size_t)PTRDIFF_MAX + 1) == NULL);
        CHECK(errno == ENOMEM);
        errno = 0;
        CHECK(realloc(block, SIZE_MAX) == NULL);
        CHECK(errno == ENOMEM);
        CHECK(filled(block, SIZES[i], 3));
        free(block);
    }
    /* To nothing: freed, null, errno as it was (glibc's way). */
    block = malloc(100);
    errno = 4321;
    CHECK(realloc(block, 0) == NULL);
    CHECK(errno == 4321);
    block = realloc(NULL, 0);
    CHECK(block != NULL);
    free(block);
}

static void test_reallocarray(void) {
    char *block = reallocarray(NULL, 10, 10);
    REQUIRE(block != NULL);
    fill(block, 100, 5);
    block = reallocarray(block, 100, 100);
    REQUIRE(block != NULL);
    CHECK(filled(block, 100, 5));
    errno = 0;
    CHECK(reallocarray(block, SIZE_MAX / 2 + 1, 2) == NULL);
    CHECK(errno == ENOMEM);
    errno = 0;
    CHECK(reallocarray(block, (size_t)1 << 32, (size_t)1 << 32) == NULL);
    CHECK(errno == ENOMEM);
    CHECK(filled(block, 100, 5));
    free(block);
    errno = 0;
    CHECK(reallocarray(NULL, SIZE_MAX, SIZE_MAX) == NULL);
    CHECK(errno == ENOMEM);
}

static void test_aligned_alloc(void) {
    for (size_t alignment = 1; alignment <= (64u << 20); alignment *= 2) {
        for (size_t i = 0; i < COUNT; i += (alignment > (1u << 20) ? 7 : 1)) {
            errno = 0;
            void *block = aligned_alloc(alignment, SIZES[i]);
            REQUIRE(block != NULL);
            CHECK(aligned_to(block, alignment));
            size_t touched = SIZES[i] < 9000 ? SIZES[i] : 9000;
            fill(block, touched, 2);
            if (SIZES[i]) ((char *)block)[SIZES[i] - 1] = 7;
            void *neighbour = aligned_alloc(alignment, SIZES[i]);
            REQUIRE(neighbour != NULL);
            CHECK(neighbour != block && aligned_to(neighbour, alignment));
            fill(neighbour, touched, 3);
            CHECK(filled(block, touched > 1 ? touched - 1 : 0, 2));
            free(neighbour);
            free(block);
        }
    }
    /* A realloc of an aligned block keeps its contents, and may lose the alignment. */
    char *block = aligned_alloc(4096, 10000);
    REQUIRE(block != NULL);
    fill(block, 10000, 8);
    block = realloc(block, 300000);
    REQUIRE(block != NULL);
    CHECK(filled(block, 10000, 8));
    free(block);
    if (on_hakmem()) { /* glibc 2.36 rounds such alignments up; from 2.38 on it refuses them */
        const size_t bad[] = {0, 3, 24, 100, SIZE_MAX, SIZE_MAX / 2};
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            errno = 0;
            CHECK(aligned_alloc(bad[i], 64) == NULL);
            CHECK(errno == EINVAL);
        }
    }
    errno = 0;
    CHECK(aligned_alloc(64, SIZE_MAX - 10) == NULL);
    CHECK(errno == ENOMEM);
    errno = 0;
    CHECK(aligned_alloc(SIZE_MAX / 2 + 1, 64) == NULL);
    CHECK(errno == ENOMEM || errno == EINVAL);
    errno = 0;
    CHECK(aligned_alloc((size_t)1 << 46, (size_t)1 << 46) == NULL);
    CHECK(errno == ENOMEM);
}

static void test_posix_memalign(void) {
    void *const untouched = (void *)0x1234;
    for (size_t alignment = sizeof(void *); alignment <= (4u << 20); alignment *= 2) {
        for (size_t i = 0; i < COUNT; i += 3) {
            void *block = untouched;
            errno = 99;
            CHECK(posix_memalign(&block, alignment, SIZES[i]) == 0);
            CHECK(errno == 99);
            REQUIRE(block != untouched && block != NULL);
            CHECK(aligned_to(block, alignment));
            fill(block, SIZES[i] < 5000 ? SIZES[i] : 5000, 1);
            free(block);
        }
    }
    const size_t bad[] = {0, 1, 2, 4, 3, 9, 12, 24, 100, SIZE_MAX, (size_t)1 << 63 | 8};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        void *block = untouched;
        errno = 99;
        CHECK(posix_memalign(&block, bad[i], 64) == EINVAL);
        CHECK(errno == 99 && block == untouched);
    }
    const size_t huge[] = {SIZE_MAX, SIZE_MAX - 64, (size_t)PTRDIFF_MAX + 1};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        void *block = untouched;
        errno = 99;
        CHECK(posix_memalign(&block, 64, huge[i]) == ENOMEM);
        CHECK(block == untouched);
        /* POSIX leaves errno open here and glibc sets it; here it is kept. */
        if (on_hakmem()) CHECK(errno == 99);
    }
}

static void test_sized_frees(void) {
    sized_free free_sized = (sized_free)dlsym(RTLD_DEFAULT, "free_sized");
    aligned_sized_free free_aligned_sized =
        (aligned_sized_free)dlsym(RTLD_DEFAULT, "free_aligned_sized");
    if (!on_hakmem() && !(free_sized && free_aligned_sized)) return; /* glibc before C23 */
    REQUIRE(free_sized != NULL && free_aligned_sized != NULL);
    errno = 55;
    free_sized(NULL, 100);
    free_aligned_sized(NULL, 64, 128);
    for (int round = 0; round < 300; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            if (SIZES[i] > 300000 && round > 3) continue;
            void *block = malloc(SIZES[i]);
            free_sized(block, SIZES[i]);
            block = calloc(1, SIZES[i]);
            CHECK(round % 16 || all_zero(block, SIZES[i]));
            free_sized(block, SIZES[i]);
            block = realloc(malloc(40), SIZES[i] ? SIZES[i] : 1);
            free_sized(block, SIZES[i] ? SIZES[i] : 1);
        }
    }
    for (size_t alignment = 1; alignment <= (8u << 20); alignment *= 2) {
        for (size_t i = 0; i < COUNT; i++) {
            void *first = aligned_alloc(alignment, SIZES[i]);
            void *second = aligned_alloc(alignment, SIZES[i]);
            REQUIRE(first && second && first != second);
            CHECK(aligned_to(first, alignment) && aligned_to(second, alignment));
            if (SIZES[i]) ((char *)first)[0] = ((char *)second)[SIZES[i] - 1] = 1;
            free_aligned_sized(first, alignment, SIZES[i]);
            free_aligned_sized(second, alignment, SIZES[i]);
            /* What a sized free took back must be a whole block of the class it is handed out
             * from next. */
            void *again = malloc(SIZES[i]);
            memset(again, 0x77, SIZES[i] < 300000 ? SIZES[i] : 300000);
            free(again);
        }
    }
    CHECK(errno == 55);
}

int main(void) {
    on_hakmem();
    test_malloc();
    test_free();
    test_calloc();
    test_realloc();
    test_reallocarray();
    test_aligned_alloc();
    test_posix_memalign();
    test_sized_frees();
    return finished();
}
