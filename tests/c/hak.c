/* The C interface, include/hakmem.h. */
#include "check.h"

#include "hakmem.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

static int static_variable;
int main(void);

static struct hak_stats read_stats(void) {
    struct hak_stats stats;
    memset(&stats, 0xEE, sizeof stats);
    stats.size = sizeof stats;
    CHECK(hak_stats(&stats) == 0);
    CHECK(stats.size == sizeof stats);
    return stats;
}

static void test_version(void) {
    int major, minor, patch;
    CHECK(sscanf(hak_version(), "%d.%d.%d", &major, &minor, &patch) == 3);
}

/* With the caches empty, so that freed blocks do not count. */
static struct hak_stats settled_stats(void) {
    hak_collect();
    return read_stats();
}

static void test_stats(void) {
    enum { HELD = 24 << 20, PIECES = 24, SLACK = 1 << 20 };
    struct hak_stats before = settled_stats();
    void *block[PIECES];
    for (int i = 0; i < PIECES; i++) {
        REQUIRE((block[i] = malloc(HELD / PIECES)) != NULL);
        memset(block[i], 1, HELD / PIECES);
    }
    struct hak_stats during = read_stats();
    CHECK(during.in_use_bytes >= before.in_use_bytes + HELD);
    CHECK(during.in_use_bytes <= before.in_use_bytes + HELD + HELD / 4);
    CHECK(during.mapped_bytes >= during.in_use_bytes + during.metadata_bytes);
    CHECK(during.heaps >= 1 && during.parked_heaps < during.heaps);
    for (int i = 0; i < PIECES; i++) free(block[i]);
    struct hak_stats after = settled_stats();
    CHECK(after.in_use_bytes + HELD <= during.in_use_bytes + SLACK);

    void *huge = malloc(200 << 20);
    REQUIRE(huge != NULL);
    struct hak_stats with_huge = read_stats();
    CHECK(with_huge.huge_bytes >= after.huge_bytes + (200 << 20));
    CHECK(with_huge.huge_blocks == after.huge_blocks + 1);
    CHECK(with_huge.mapped_bytes >= after.mapped_bytes + (200 << 20));
    free(huge);
    CHECK(settled_stats().huge_bytes == after.huge_bytes);

    /* Small blocks count by slabs. */
    enum { SMALL = 40000, SMALL_BYTES = SMALL * 100 };
    static void *small[SMALL];
    struct hak_stats before_small = settled_stats();
    for (int i = 0; i < SMALL; i++) small[i] = malloc(100);
    struct hak_stats with_small = read_stats();
    CHECK(with_small.in_use_bytes + SLACK >= before_small.in_use_bytes + SMALL_BYTES);
    CHECK(with_small.in_use_bytes <= before_small.in_use_bytes + SMALL_BYTES + SMALL_BYTES / 2 + SLACK);
    for (int i = 0; i < SMALL; i++) free(small[i]);
    CHECK(settled_stats().in_use_bytes + SMALL_BYTES <= with_small.in_use_bytes + SLACK);

    /* Gates: all of one compiled in, or all of it saying that it is not. */
    int off = 0, on = 0;
    for (int group = 0; group < HAK_CLASS_GROUPS; group++)
        for (int counter = 0; counter < HAK_CLASS_COUNTERS; counter++)
            *(with_small.class_groups[group][counter] == HAK_NOT_COMPILED_IN ? &off : &on) += 1;
    CHECK(on == 0 || off == 0);
    if (on) {
        CHECK(with_small.class_groups[4][HAK_CLASS_HITS] + with_small.class_groups[4][HAK_CLASS_MISSES] >=
              before_small.class_groups[4][HAK_CLASS_HITS] + before_small.class_groups[4][HAK_CLASS_MISSES] + SMALL);
    }
    if (with_small.tiny_free_calls != HAK_NOT_COMPILED_IN)
        CHECK(read_stats().tiny_free_calls >= with_small.tiny_free_calls + SMALL);
}

static void test_sizes_of_the_struct(void) {
    CHECK(hak_stats(NULL) == EINVAL);
    struct hak_stats stats;
    stats.size = 0;
    CHECK(hak_stats(&stats) == EINVAL);
    stats.size = sizeof stats.size - 1;
    CHECK(hak_stats(&stats) == EINVAL);
    /* An older program: only what it knows of is written. */
    memset(&stats, 0xEE, sizeof stats);
    stats.size = offsetof(struct hak_stats, in_use_bytes);
    CHECK(hak_stats(&stats) == 0);
    CHECK(stats.mapped_bytes != 0xEEEEEEEEEEEEEEEE && stats.in_use_bytes == 0xEEEEEEEEEEEEEEEE);
    /* A newer program: what the library does not know of is left alone. */
    struct {
        struct hak_stats known;
        uint64_t unknown;
    } newer;
    memset(&newer, 0xEE, sizeof newer);
    newer.known.size = sizeof newer;
    CHECK(hak_stats(&newer.known) == 0);
    CHECK(newer.unknown == 0xEEEEEEEEEEEEEEEE);
    CHECK(newer.known.size == sizeof newer); /* as the caller set it */
}

static void test_text(void) {
    size_t length = hak_stats_json(NULL, 0);
    CHECK(length > 50);
    char *text = malloc(length + 200);
    REQUIRE(text != NULL);
    memset(text, 'z', length + 200);
    size_t again = hak_stats_json(text, length + 200);
    CHECK(again > 50 && again < length + 200);
    CHECK(strlen(text) == again);
    CHECK(text[0] == '{' && text[again - 1] == '}');
    CHECK(strstr(text, "\"mapped_bytes\":") != NULL && strstr(text, "\"in_use_bytes\":") != NULL);
    memset(text, 'z', length + 200);
    CHECK(hak_stats_json(text, 10) > 50);
    CHECK(strlen(text) == 9 && text[10] == 'z');
    CHECK(hak_stats_json(text, 1) > 50 && text[0] == 0);
    free(text);

    char name[] = "/tmp/hakmem-test-XXXXXX";
    int fd = mkstemp(name);
    REQUIRE(fd >= 0);
    unlink(name);
    CHECK(hak_stats_print(fd) == 0);
    off_t printed = lseek(fd, 0, SEEK_CUR);
    CHECK(printed > 50);
    CHECK(hak_print_config(fd) == 0);
    CHECK(lseek(fd, 0, SEEK_CUR) > printed + 50);
    char all[20000] = {0};
    CHECK(pread(fd, all, sizeof all - 1, 0) > 0);
    CHECK(strstr(all, "mapped") != NULL);
    CHECK(strstr(all, "not compiled in") != NULL || read_stats().tiny_free_calls != HAK_NOT_COMPILED_IN);
    CHECK(strstr(all + printed, "HAKMEM_MODE") != NULL || strstr(all + printed, "mode") != NULL);
    close(fd);
    errno = 5;
    CHECK(hak_stats_print(-1) == EBADF);
    CHECK(hak_print_config(-1) == EBADF);
    CHECK(errno == 5);
}

/* Every figure by name says what the struct says, or that it is not compiled in. */
static void test_figures(void) {
    enum { FREED = 200 };
    for (int i = 0; i < FREED; i++) free(malloc(1000));
    struct hak_stats stats = read_stats();
    CHECK(stats.resident_bytes == HAK_UNKNOWN || stats.resident_bytes > 100000);
    CHECK(stats.counters_shared <= 1);
    const struct {
        const char *name;
        uint64_t field;
        int exact; /* nothing changes it meanwhile */
    } figures[] = {
        {"heaps", stats.heaps, 1},
        {"huge_blocks", stats.huge_blocks, 1},
        {"tiny_free_calls", stats.tiny_free_calls, 0},
        {"c7_frees", stats.c7_frees, 1},
        {"class_groups.C7.hits", stats.class_groups[7][HAK_CLASS_HITS], 1},
        {"class_groups.C7.refilled_blocks", stats.class_groups[7][HAK_CLASS_REFILLED], 1},
        {"unified_cache.mid.misses", stats.unified_cache[8][HAK_CACHE_MISSES], 1},
        {"slab_frees.C7.local", stats.slab_frees[7][HAK_SLAB_LOCAL], 1},
        {"slab_frees.C7.remote", stats.slab_frees[7][HAK_SLAB_REMOTE], 1},
        {"bad_classes.allocations", stats.bad_classes[HAK_BAD_ALLOCATIONS], 1},
        {"bad_classes.frees", stats.bad_classes[HAK_BAD_FREES], 1},
        {"remote_queues.1.drains", stats.remote_queues[0][HAK_QUEUE_DRAINS], 1},
        {"remote_queues.65+.blocks", stats.remote_queues[7][HAK_QUEUE_BLOCKS], 1},
        {"os_calls.map.calls", stats.os_calls[HAK_OS_MAP][HAK_OS_DONE], 1},
        {"os_calls.map.bytes", stats.os_calls[HAK_OS_MAP][HAK_OS_BYTES], 1},
        {"os_calls.unmap.bytes", stats.os_calls[HAK_OS_UNMAP][HAK_OS_BYTES], 1},
        {"os_calls.protect.calls", stats.os_calls[HAK_OS_PROTECT][HAK_OS_DONE], 1},
        {"os_calls.discard.bytes", stats.os_calls[HAK_OS_DISCARD][HAK_OS_BYTES], 1},
        {"os_calls.advise_huge.refused", stats.os_calls[HAK_OS_ADVISE_HUGE][HAK_OS_REFUSED], 1},
        {"served.unified_cache", stats.served[HAK_SERVED_UNIFIED_CACHE], 0},
        {"served.new_slab", stats.served[HAK_SERVED_NEW_SLAB], 1},
        {"served.mapping", stats.served[HAK_SERVED_MAPPING], 1},
        {"hdr_meta_mismatch", stats.hdr_meta_mismatch, 1},
        {"hdr_meta_fast", stats.hdr_meta_fast, 1},
        {"pool_hotbox.hits", stats.pool_hotbox[HAK_POOL_HITS], 1},
        {"pool_hotbox.refilled_blocks", stats.pool_hotbox[HAK_POOL_REFILLED_BLOCKS], 1},
        {"pool_hotbox.spilled_blocks", stats.pool_hotbox[HAK_POOL_SPILLED_BLOCKS], 1},
        {"pool_hotbox.closed", stats.pool_hotbox[HAK_POOL_CLOSED], 1},
        {"background_spill.refused", stats.background_spill[HAK_SPILL_REFUSED], 1},
        {"background_spill.waiting", stats.background_spill[HAK_SPILL_WAITING], 0},
        {"background_bin.returned", stats.background_bin[HAK_BIN_RETURNED], 0},
    };
    for (unsigned i = 0; i < sizeof figures / sizeof *figures; i++) {
        uint64_t value = 77;
        int result = hak_stats_get(figures[i].name, &value);
        if (figures[i].field == HAK_NOT_COMPILED_IN) {
            CHECK(result == ENOTSUP && value == 77);
        } else {
            CHECK(result == 0);
            CHECK(figures[i].exact ? value == figures[i].field : value >= figures[i].field);
        }
    }
    if (stats.c7_frees != HAK_NOT_COMPILED_IN) CHECK(stats.c7_frees >= FREED);
    if (stats.os_calls[HAK_OS_MAP][HAK_OS_DONE] != HAK_NOT_COMPILED_IN) {
        CHECK(stats.os_calls[HAK_OS_MAP][HAK_OS_DONE] > 0);
        CHECK(stats.os_calls[HAK_OS_MAP][HAK_OS_BYTES] >= stats.mapped_bytes);
    }
    if (stats.served[HAK_SERVED_UNIFIED_CACHE] != HAK_NOT_COMPILED_IN)
        CHECK(stats.served[HAK_SERVED_UNIFIED_CACHE] >= FREED - 1);
    uint64_t value;
    CHECK(hak_stats_get("no_such_figure", &value) == ENOENT);
    CHECK(hak_stats_get("served.arena.more", &value) == ENOENT);
    CHECK(hak_stats_get("", &value) == ENOENT);
    CHECK(hak_stats_get("\xff", &value) == ENOENT);
    CHECK(hak_stats_get(NULL, &value) == EINVAL);
    CHECK(hak_stats_get("heaps", NULL) == EINVAL);
}

static void test_events(void) {
    for (int i = 0; i < 200; i++) free(malloc(100));
    char name[] = "/tmp/hakmem-test-XXXXXX";
    int fd = mkstemp(name);
    REQUIRE(fd >= 0);
    unlink(name);
    for (int which = HAK_FREE_TRACE; which <= HAK_HDR_MISMATCH_LOG; which++) {
        static char text[1 << 20];
        REQUIRE(ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0);
        int result = hak_events_print(which, fd);
        memset(text, 0, sizeof text);
        CHECK(pread(fd, text, sizeof text - 1, 0) > 10);
        int lines = 0;
        for (char *at = text; *at != 0; at++) lines += *at == '\n';
        CHECK(result == 0 || result == ENOTSUP);
        CHECK((strstr(text, "not compiled in") != NULL) == (result == ENOTSUP));
        /* A heading, and an event per line. */
        if (which == HAK_FREE_TRACE) CHECK(lines == (result == 0 ? 129 : 1));
        if (which == HAK_DEBUG_RING) CHECK(result == 0 ? lines >= 257 : lines == 1);
        if (which >= HAK_CLASS_OOB_LOG) CHECK(lines == 1);
        size_t length = hak_events_json(which, text, sizeof text);
        CHECK(length < sizeof text && strlen(text) == length);
        if (result == ENOTSUP) CHECK(strcmp(text, "null") == 0);
        else CHECK(text[0] == '[' && text[length - 1] == ']');
        CHECK(hak_events_json(which, NULL, 0) >= 2);
    }
    close(fd);
    CHECK(hak_events_print(-1, 2) == EINVAL);
    CHECK(hak_events_print(4, 2) == EINVAL);
    CHECK(hak_events_json(4, NULL, 0) == 0);
    errno = 5;
    CHECK(hak_events_print(HAK_FREE_TRACE, -1) == EBADF);
    CHECK(errno == 5);
}

static void test_owns(void) {
    int on_stack = 0;
    void *mapping = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const void *foreign[] = {NULL, &on_stack, &static_variable, mapping, (void *)8, (void *)&main,
                             (void *)(uintptr_t)0xdeadbeefdeadbeef, (void *)(intptr_t)-1,
                             (void *)(uintptr_t)0x7fffffffffff, (void *)(uintptr_t)0x800000000000};
    for (unsigned i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        CHECK(hak_owns(foreign[i]) == 0);
        CHECK(hak_usable_size(foreign[i]) == 0);
    }
    for (size_t size = 1; size < (100u << 20); size = size * 3 + 1) {
        char *block = malloc(size);
        REQUIRE(block != NULL);
        CHECK(hak_owns(block) == 1);
        CHECK(hak_usable_size(block) >= size);
        free(block);
    }
    munmap(mapping, 1 << 20);
}

static void *collecting(void *unused) {
    (void)unused;
    for (int i = 0; i < 20; i++) {
        for (int j = 0; j < 500; j++) free(malloc((size_t)j * 17));
        hak_collect();
        hak_trim(0);
        read_stats();
    }
    return NULL;
}

static void test_giving_back(void) {
    enum { BLOCKS = 3000 };
    static char *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = malloc(30000);
        REQUIRE(block[i] != NULL);
        memset(block[i], 1, 30000);
    }
    for (int i = 0; i < BLOCKS; i++) free(block[i]);
    errno = 9;
    hak_collect();
    hak_trim(0);
    CHECK(errno == 9);
    CHECK(hak_trim(0) == 0); /* nothing is left */
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) REQUIRE(pthread_create(&thread[i], NULL, collecting, NULL) == 0);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
}

static void test_configuration(void) {
    CHECK(hak_config_set("THP", "off") == 0);
    CHECK(hak_config_set("HAKMEM_THP", "auto") == 0);
    CHECK(hak_config_set("THP", "sideways") == EINVAL);
    CHECK(hak_config_set("HAKMEM_NO_SUCH_SETTING", "1") == ENOENT);
    CHECK(hak_config_set("", "1") == ENOENT);
    CHECK(hak_config_set(NULL, "1") == EINVAL);
    CHECK(hak_config_set("THP", NULL) == EINVAL);
    CHECK(hak_config_set("THP", "\xff\xfe") == EINVAL);
}

int main(void) {
    on_hakmem();
    test_version();
    test_stats();
    test_sizes_of_the_struct();
    test_text();
    test_figures();
    test_events();
    test_owns();
    test_giving_back();
    test_configuration();
    return finished();
}
