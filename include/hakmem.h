/* The C interface of the hakmem heap: statistics, giving memory back, configuration.
 *
 * Allocation itself needs no header of ours: libhakmem_preload.so exports malloc, free and their
 * whole family, and every C++ operator new and delete. Either preload the library,
 *
 *     LD_PRELOAD=/path/to/libhakmem_preload.so program
 *
 * or link it (-lhakmem_preload). A program that only sometimes runs on hakmem can look the names
 * below up with dlsym(RTLD_DEFAULT, "hak_version").
 *
 * For all functions, unless they say otherwise:
 *   - sizes and counts are in bytes;
 *   - they may be called from any thread at any time, but not from a signal handler;
 *   - they do not allocate, and leave errno alone: errors are results, with values of <errno.h>;
 *   - what is handed in stays the caller's.
 */
#ifndef HAKMEM_H
#define HAKMEM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a counter reads when the library was built without it: never a silent zero. */
#define HAK_NOT_COMPILED_IN UINT64_MAX

/* What the system does not tell. */
#define HAK_UNKNOWN UINT64_MAX

/* The class groups of the tiny tier, C0..C7: requests up to 8, 16, 32, ..., 1024 bytes. */
#define HAK_CLASS_GROUPS 8

/* Columns of hak_stats.class_groups (gate tiny-class-stats). */
enum hak_class_counter {
    HAK_CLASS_HITS,      /* allocations that the thread's magazine served */
    HAK_CLASS_MISSES,    /* allocations that had to refill it */
    HAK_CLASS_FREES,     /* frees that it took */
    HAK_CLASS_OVERFLOWS, /* frees that had to flush it */
    HAK_CLASS_REFILLED,  /* blocks that refills brought */
    HAK_CLASS_COUNTERS
};

/* Columns of hak_stats.unified_cache (gate unified-cache-measure). */
enum hak_cache_counter {
    HAK_CACHE_HITS,          /* allocations served without a refill */
    HAK_CACHE_MISSES,        /* allocations that needed one */
    HAK_CACHE_REFILLS,       /* refills that brought at least one block */
    HAK_CACHE_REFILL_CYCLES, /* time-stamp cycles spent in refills */
    HAK_CACHE_COUNTERS
};

/* Columns of hak_stats.slab_frees (gate tiny-free-stats): tiny blocks that left a magazine. */
enum hak_slab_counter {
    HAK_SLAB_LOCAL,  /* for a slab of the heap that had them */
    HAK_SLAB_REMOTE, /* for a slab of another heap */
    HAK_SLAB_COUNTERS
};

/* Columns of hak_stats.bad_classes (gate metric-bad-class): size classes out of range. */
enum hak_bad_class {
    HAK_BAD_ALLOCATIONS, /* in allocations, which failed */
    HAK_BAD_FREES,       /* in frees, which went by the block's address */
    HAK_BAD_CLASSES
};

/* Rows of hak_stats.remote_queues (gate remote-target-stats): queues of slabs that other threads
 * have freed into, by the length at which their owner found them: 1, 2, 3 to 4, 5 to 8, ..., 33 to
 * 64, more. */
#define HAK_QUEUE_LENGTHS 8

/* Columns of hak_stats.remote_queues. */
enum hak_queue_counter {
    HAK_QUEUE_DRAINS, /* queues of this length */
    HAK_QUEUE_SLABS,  /* slabs in them */
    HAK_QUEUE_BLOCKS, /* blocks that came home with the slabs */
    HAK_QUEUE_COUNTERS
};

/* Rows of hak_stats.os_calls (gate superslab-os-stats). */
enum hak_os_call {
    HAK_OS_MAP,         /* mmap */
    HAK_OS_UNMAP,       /* munmap */
    HAK_OS_REMAP,       /* mremap; its bytes are those of the new size */
    HAK_OS_PROTECT,     /* mprotect */
    HAK_OS_DISCARD,     /* madvise: pages given back */
    HAK_OS_ADVISE_HUGE, /* madvise: for or against huge pages */
    HAK_OS_CALLS
};

/* Columns of hak_stats.os_calls. */
enum hak_os_counter {
    HAK_OS_DONE,    /* calls that did what they were asked for */
    HAK_OS_BYTES,   /* bytes in these */
    HAK_OS_REFUSED, /* calls that the system refused */
    HAK_OS_COUNTERS
};

/* Columns of hak_stats.served (gate front-metrics): allocations by the layer that had the block. */
enum hak_server {
    HAK_SERVED_UNIFIED_CACHE, /* the thread's magazine */
    HAK_SERVED_LOCAL_BITMAP,  /* a refill, from its slab's bitmap */
    HAK_SERVED_REMOTE_DRAIN,  /* a refill, from what other threads had given back */
    HAK_SERVED_BUMP,          /* a refill, carved from a slab that was there */
    HAK_SERVED_NEW_SLAB,      /* a refill, carved from a slab made for it */
    HAK_SERVED_LARGE_SLOTS,   /* the thread's slots for large blocks */
    HAK_SERVED_BIG_CACHE,     /* the part of the BigCache that threads share */
    HAK_SERVED_ARENA,         /* a fresh run of an arena */
    HAK_SERVED_MAPPING,       /* a fresh mapping of its own */
    HAK_SERVERS
};

/* Columns of hak_stats.pool_hotbox (gate pool-hotbox-v2-stats): the mid tier's own pool, for blocks of
 * 2 to 32 KiB. */
enum hak_pool_counter {
    HAK_POOL_HITS,            /* allocations that found a block in it */
    HAK_POOL_DRAWS,           /* allocations that found it empty and drew a batch from the magazine */
    HAK_POOL_DRAWN_BLOCKS,    /* blocks in these batches */
    HAK_POOL_REFILLS,         /* allocations that found both empty: a batch came from the slabs */
    HAK_POOL_REFILLED_BLOCKS, /* blocks in these batches */
    HAK_POOL_REFILL_FAILURES, /* the same, but there was no memory */
    HAK_POOL_FREES,           /* frees that it took */
    HAK_POOL_SPILLS,          /* of these, those that handed its older half over to the magazine */
    HAK_POOL_SPILLED_BLOCKS,  /* blocks that went there */
    HAK_POOL_OVERFLOWS,       /* frees that found the pool and the magazine full */
    HAK_POOL_IDLE,            /* decay periods in which the blocks of a class had not moved */
    HAK_POOL_CLOSED,          /* refills and overflows that found it closed by a setting */
    HAK_POOL_COUNTERS
};

/* Columns of hak_stats.background_spill (gate background-spill): blocks that left a full magazine for
 * the background worker. */
enum hak_spill_counter {
    HAK_SPILL_SPILLED,      /* blocks that the queue took */
    HAK_SPILL_BROUGHT_HOME, /* of these, those that somebody has taken out since */
    HAK_SPILL_REFUSED,      /* blocks that found it full, and went home the ordinary way */
    HAK_SPILL_WAITING,      /* batches that wait in it */
    HAK_SPILL_COUNTERS
};

/* Columns of hak_stats.background_bin (gate background-bin): blocks that the background worker has had
 * ready. */
enum hak_bin_counter {
    HAK_BIN_STOCKED,  /* blocks that it has put into bins */
    HAK_BIN_TAKEN,    /* of these, those that refills have taken */
    HAK_BIN_RETURNED, /* of these, those that nobody asked for, and that went home again */
    HAK_BIN_COUNTERS
};

/* A reading of the whole process. Fields are only ever added, at the end. */
struct hak_stats {
    size_t size; /* set by the caller: sizeof(struct hak_stats) */

    uint64_t mapped_bytes;   /* address space taken from the system, resident or not */
    uint64_t in_use_bytes;   /* slabs and large blocks that the program or a thread's cache holds */
    uint64_t cached_bytes;   /* free memory kept for later, perhaps still resident */
    uint64_t huge_bytes;     /* of in_use_bytes: blocks that are mappings of their own, */
    uint64_t huge_blocks;    /* ... and how many these are */
    uint64_t metadata_bytes; /* of mapped_bytes: what the heap keeps about blocks */
    uint64_t heaps;          /* thread heaps, */
    uint64_t parked_heaps;   /* ... of which wait for a thread */

    /* Counters of gates: HAK_NOT_COMPILED_IN in a build without theirs. */
    uint64_t tiny_free_calls; /* frees of tiny blocks */
    uint64_t class_groups[HAK_CLASS_GROUPS][HAK_CLASS_COUNTERS];
    uint64_t unified_cache[HAK_CLASS_GROUPS + 1][HAK_CACHE_COUNTERS]; /* the last row: mid tier */

    uint64_t resident_bytes;  /* of the whole process; HAK_UNKNOWN if the system does not tell */
    uint64_t counters_shared; /* 1: all threads share one set of counters (gate telemetry-shared) */

    /* Counters of gates, as above. */
    uint64_t c7_frees; /* frees in class group C7 (gate c7-free-count) */
    uint64_t slab_frees[HAK_CLASS_GROUPS][HAK_SLAB_COUNTERS];
    uint64_t bad_classes[HAK_BAD_CLASSES];
    uint64_t remote_queues[HAK_QUEUE_LENGTHS][HAK_QUEUE_COUNTERS];
    uint64_t os_calls[HAK_OS_CALLS][HAK_OS_COUNTERS];
    uint64_t served[HAK_SERVERS];
    uint64_t hdr_meta_mismatch; /* blocks that came home as a class that only their header byte named */
    uint64_t hdr_meta_fast;     /* frees of blocks whose header byte named another class than their slab */
    uint64_t pool_hotbox[HAK_POOL_COUNTERS];
    uint64_t background_spill[HAK_SPILL_COUNTERS];
    uint64_t background_bin[HAK_BIN_COUNTERS];
};

/* The library's version, as "major.minor.patch". Static text. */
const char *hak_version(void);

/* Reads the statistics. Set out->size first; as much as fits into it is written, so that programs
 * and libraries of different ages understand each other. The figures are read one after another
 * while other threads go on: each is right, their sums may be off by what happened meanwhile.
 * Blocks are not counted one by one: in_use_bytes counts the slabs that hold small ones.
 * 0, or EINVAL: out is null or out->size smaller than the size field itself. */
int hak_stats(struct hak_stats *out);

/* Reads one figure by its name in the text or the JSON: "heaps", "served.arena",
 * "class_groups.C5.hits". 0, or ENOENT: no such figure, or the system does not tell; ENOTSUP: its
 * counter is not compiled in; EINVAL: a null pointer. On an error *value is as it was. */
int hak_stats_get(const char *name, uint64_t *value);

/* Writes the statistics to a file descriptor, as text for people. 0, or the errno of write(2). */
int hak_stats_print(int fd);

/* Writes the statistics as one JSON object into a buffer of `size` bytes, as snprintf does: cut
 * to fit and ended with a zero byte (if size > 0). Returns the length of the whole text without
 * the zero byte: if that is >= size, it was cut. A null buffer is allowed if size is 0. */
size_t hak_stats_json(char *buffer, size_t size);

/* What is recorded event by event. */
enum hak_events {
    HAK_FREE_TRACE,   /* the first 128 frees of tiny blocks (gate tiny-free-trace) */
    HAK_DEBUG_RING,   /* the last 256 events of every heap (gate tiny-debug-ring) */
    HAK_CLASS_OOB_LOG, /* refills of a class out of bounds (gate p0-class-oob-log) */
    HAK_HDR_MISMATCH_LOG /* frees without a header before the block (gate hdr-mismatch-log) */
};

/* Writes what is recorded to a file descriptor, an event per line. 0, or EINVAL: no such record;
 * ENOTSUP: not compiled in, which the text says, too; or the errno of write(2). */
int hak_events_print(int which, int fd);

/* Writes what is recorded as a JSON array into a buffer, as hak_stats_json does; null in JSON if
 * it is not compiled in. Events may come in between two calls: a buffer that was large enough may
 * be so no longer. 0: no such record. */
size_t hak_events_json(int which, char *buffer, size_t size);

/* Gives unused memory back to the system now. `keep`, the bytes that malloc_trim keeps at the top
 * of its heap, is ignored: there is no top. 1 if anything was given back, else 0. */
int hak_trim(size_t keep);

/* Empties the caches of the calling thread and of finished threads, and gives every free page back
 * to the system. For a program or thread that goes idle. Returns the bytes given back. */
size_t hak_collect(void);

/* Writes the configuration to a file descriptor: each setting, its value, where that came from
 * and whether it is compiled in. 0, or the errno of write(2). */
int hak_print_config(int fd);

/* Changes a setting while the program runs. `name` is that of the environment variable, with or
 * without its prefix ("HAKMEM_THP" or "THP"), `value` what the variable would hold.
 * 0, or ENOENT: no such setting; EINVAL: a null pointer, or no such value for it; ENOTSUP: the
 * value asks for what is not compiled in. On an error nothing has changed. */
int hak_config_set(const char *name, const char *value);

/* 1 if `pointer` lies in memory that this heap has handed out or may hand out, else 0. For any
 * value at all; the memory is not touched. */
int hak_owns(const void *pointer);

/* How many bytes a block really has, all of which may be used; 0 for null and for pointers that
 * this heap does not own. A pointer into the heap must be that of a live block. */
size_t hak_usable_size(const void *block);

#ifdef __cplusplus
}
#endif

#endif
