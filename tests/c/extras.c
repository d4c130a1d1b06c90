/* What glibc adds to the family, and its ways of looking inside. */
#include "check.h"

#include <limits.h>
#include <malloc.h>

typedef void (*free_function)(void *);

static void test_aligned(void) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t size = 0; size < 3000000; size = size * 2 + 1) {
        char *block = memalign(256, size);
        REQUIRE(block != NULL && aligned_to(block, 256));
        fill(block, size, 1);
        free(block);
        /* Not powers of two: rounded up, as in glibc. */
        block = memalign(0, size);
        REQUIRE(block != NULL);
        free(block);
        block = memalign(3, size);
        REQUIRE(block != NULL);
        free(block);
        block = memalign(100, size);
        REQUIRE(block != NULL && aligned_to(block, 128));
        free(block);
        block = valloc(size);
        REQUIRE(block != NULL && aligned_to(block, page));
        fill(block, size, 1);
        free(block);
        block = pvalloc(size);
        REQUIRE(block != NULL && aligned_to(block, page));
        size_t whole = (size + page - 1) / page * page;
        CHECK(malloc_usable_size(block) >= whole);
        fill(block, whole, 1);
        free(block);
    }
    errno = 0;
    CHECK(memalign(SIZE_MAX, 1) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(memalign(64, SIZE_MAX - 100) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(valloc(SIZE_MAX) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(pvalloc(SIZE_MAX) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(pvalloc(SIZE_MAX - page + 2) == NULL && errno == ENOMEM);
}

static void test_usable_size(void) {
    CHECK(malloc_usable_size(NULL) == 0);
    for (size_t size = 0; size < 6000000; size += 1 + size / 5) {
        char *block = malloc(size), *after = malloc(size);
        size_t usable = malloc_usable_size(block);
        CHECK(usable >= size);
        /* All of it is the caller's: writing it harms no neighbour. */
        fill(after, size, 6);
        memset(block, 0x5A, usable);
        CHECK(filled(after, size, 6));
        CHECK(malloc_usable_size(block) == usable);
        free(block);
        free(after);
        block = aligned_alloc(1024, size);
        CHECK(malloc_usable_size(block) >= size);
        memset(block, 0x5A, malloc_usable_size(block));
        free(block);
    }
}

static void test_trim(void) {
    errno = 31;
    enum { BLOCKS = 4000 };
    static void *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = malloc(20000);
        memset(block[i], 1, 20000);
    }
    for (int i = 0; i < BLOCKS; i++) free(block[i]);
    int result = malloc_trim(0);
    CHECK(result == 0 || result == 1);
    for (int i = 0; i < 5; i++) result = malloc_trim(0);
    if (on_hakmem()) CHECK(result == 0); /* by now nothing is left to give back */
    CHECK(errno == 31);
    char *after = malloc(100);
    CHECK(after != NULL);
    free(after);
}

static void test_names(void) {
    /* Every second name hands out blocks that every name takes back. */
    free_function cfree = (free_function)dlsym(RTLD_DEFAULT, "cfree");
    free_function libc_free = (free_function)dlsym(RTLD_DEFAULT, "__libc_free");
    void *(*libc_malloc)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "__libc_malloc");
    void *(*libc_calloc)(size_t, size_t) =
        (void *(*)(size_t, size_t))dlsym(RTLD_DEFAULT, "__libc_calloc");
    void *(*libc_realloc)(void *, size_t) =
        (void *(*)(void *, size_t))dlsym(RTLD_DEFAULT, "__libc_realloc");
    void *(*libc_memalign)(size_t, size_t) =
        (void *(*)(size_t, size_t))dlsym(RTLD_DEFAULT, "__libc_memalign");
    REQUIRE(libc_free && libc_malloc && libc_calloc && libc_realloc && libc_memalign);
    free_function release[] = {free, cfree ? cfree : free, libc_free};
    for (int i = 0; i < 3; i++) {
        void *blocks[] = {libc_malloc(100), libc_calloc(10, 10), libc_realloc(malloc(8), 100),
                          libc_memalign(4096, 100), malloc(100)};
        for (unsigned j = 0; j < sizeof blocks / sizeof *blocks; j++) {
            REQUIRE(blocks[j] != NULL);
            CHECK(malloc_usable_size(blocks[j]) >= 100);
            release[i](blocks[j]);
        }
        release[i](NULL);
    }
    if (!on_hakmem()) return;
    const char *all[] = {"cfree",          "__libc_malloc",   "__libc_free",   "__libc_cfree",
                         "__libc_calloc",  "__libc_realloc",  "__libc_valloc", "__libc_pvalloc",
                         "__libc_memalign", "__libc_reallocarray", "__posix_memalign"};
    Dl_info ours, theirs;
    REQUIRE(dladdr(dlsym(RTLD_DEFAULT, "hak_version"), &ours));
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        void *address = dlsym(RTLD_DEFAULT, all[i]);
        REQUIRE(address != NULL);
        REQUIRE(dladdr(address, &theirs));
        CHECK(ours.dli_fbase == theirs.dli_fbase);
    }
}

static void test_mallinfo(void) {
    enum { HELD = 32 << 20 };
    struct mallinfo2 before = mallinfo2();
    char *block[32];
    for (int i = 0; i < 32; i++) {
        REQUIRE((block[i] = malloc(HELD / 32)) != NULL);
        memset(block[i], 1, HELD / 32);
    }
    struct mallinfo2 during = mallinfo2();
    struct mallinfo old = mallinfo();
    size_t used_before = before.uordblks + before.hblkhd;
    size_t used_during = during.uordblks + during.hblkhd;
    CHECK(used_during >= used_before + HELD);
    CHECK(used_during < used_before + HELD + HELD / 4);
    CHECK(during.arena + during.hblkhd >= HELD);
    CHECK((size_t)old.uordblks + (size_t)old.hblkhd >= HELD);
    for (int i = 0; i < 32; i++) free(block[i]);
    malloc_trim(0); /* what hakmem's caches hold counts as used */
    struct mallinfo2 after = mallinfo2();
    CHECK(after.uordblks + after.hblkhd + HELD / 2 <= used_during);
}

static void test_mallopt(void) {
    CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    CHECK(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
    CHECK(mallopt(M_ARENA_MAX, 2) == 1);
    if (!on_hakmem()) return;
    CHECK(mallopt(M_PERTURB, 1) == 0); /* cannot be honoured, so it is not claimed */
    CHECK(mallopt(12345, 1) == 0);
}

static void test_reports(void) {
    /* malloc_info writes XML to a stream. */
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    REQUIRE(stream != NULL);
    CHECK(malloc_info(0, stream) == 0);
    fclose(stream);
    REQUIRE(text != NULL);
    CHECK(strncmp(text, "<malloc version=\"", 17) == 0);
    CHECK(strstr(text, "</malloc>") != NULL);
    CHECK(strstr(text, "<system type=\"current\" size=\"") != NULL);
    free(text);
    errno = 0;
    CHECK(malloc_info(1, stderr) != 0); /* -1 and EINVAL by the manual, EINVAL in glibc's code */
    if (on_hakmem()) CHECK(errno == EINVAL && malloc_info(7, stderr) == -1);

    /* malloc_stats writes to standard error. */
    int pipe_ends[2];
    REQUIRE(pipe(pipe_ends) == 0);
    int saved = dup(2);
    dup2(pipe_ends[1], 2);
    malloc_stats();
    dup2(saved, 2);
    close(pipe_ends[1]);
    char report[20000];
    ssize_t total = 0, got;
    while ((got = read(pipe_ends[0], report + total, sizeof report - 1 - (size_t)total)) > 0)
        total += got;
    report[total] = 0;
    close(pipe_ends[0]);
    close(saved);
    CHECK(total > 40);
    CHECK(report[total - 1] == '\n');
    if (on_hakmem()) CHECK(strstr(report, "mapped") != NULL);
}

int main(void) {
    on_hakmem();
    test_aligned();
    test_usable_size();
    test_trim();
    test_names();
    test_mallinfo();
    test_mallopt();
    test_reports();
    return finished();
}
