/* Attacks on whatever heap is preloaded, one per run: `attacks CASE`; `attacks --list` names them.
 *
 * Says "done" once the attack is over, and "gained: ..." where the attacker got something by it.
 * Exit code 0 means that the program lived to its end. `cargo xtask attacks` makes a table of it. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What the compiler must not see through. */
static void *volatile hidden;
static void *hide(void *at) {
    hidden = at;
    return hidden;
}
#define KEPT 200

static void say(const char *text) {
    ssize_t wrote = write(1, text, strlen(text));
    (void)wrote;
}

static void *make(size_t size) {
    void *at = hide(malloc(size));
    if (!at) { say("out of memory\n"); _exit(99); }
    return at;
}

static void poke(void *at, int byte, size_t count) {
    volatile unsigned char *to = hide(at);
    for (size_t n = 0; n < count; n++) to[n] = (unsigned char)byte;
}

/* As a long-running program: later frees and allocations of the same size. */
static void go_on(size_t size) {
    void *kept[KEPT];
    for (int round = 0; round < 200; round++) {
        for (int n = 0; n < KEPT; n++) kept[n] = make(size);
        for (int n = 0; n < KEPT; n++) free(kept[n]);
    }
}

static void overflow_byte(void) {
    char *at = make(64), *after = make(64);
    poke(at + malloc_usable_size(at), 0x41, 1);
    free(at);
    say("done\n");
    free(after);
    go_on(64);
}

static void overflow_words(void) {
    char *at = make(64), *after = make(64);
    poke(at + malloc_usable_size(at), 0x41, 32);
    free(at);
    say("done\n");
    free(after);
    go_on(64);
}

static void overflow_large(void) {
    char *at = make(1 << 20);
    poke(at + malloc_usable_size(at), 0x41, 1);
    say("done\n");
    free(at);
}

static void read_after_free(void) {
    char *at = make(64);
    poke(at, 0x53, 64);
    free(at);
    if (((volatile char *)hide(at))[40] == 0x53) say("gained: reads what was freed\n");
    say("done\n");
}

static void write_after_free(void) {
    char *at = make(64);
    free(at);
    poke(at, 0x41, 32);
    say("done\n");
    go_on(64);
}

static void use_after_free_large(void) {
    char *at = make(1 << 20);
    poke(at, 0x53, 1 << 20);
    free(at);
    if (((volatile char *)hide(at))[4000] == 0x53) say("gained: reads what was freed\n");
    say("done\n");
}

static void double_free(void) {
    char *at = make(64);
    free(at);
    free(hide(at));
    say("done\n");
    void *kept[KEPT];
    for (int n = 0; n < KEPT; n++) kept[n] = make(64);
    for (int a = 0; a < KEPT; a++)
        for (int b = 0; b < a; b++)
            if (kept[a] == kept[b]) { say("gained: one block, two owners\n"); return; }
}

static void double_free_later(void) {
    void *kept[20];
    for (int n = 0; n < 20; n++) kept[n] = make(64);
    for (int n = 0; n < 20; n++) free(kept[n]);
    free(hide(kept[0]));
    say("done\n");
    void *more[KEPT];
    for (int n = 0; n < KEPT; n++) more[n] = make(64);
    for (int a = 0; a < KEPT; a++)
        for (int b = 0; b < a; b++)
            if (more[a] == more[b]) { say("gained: one block, two owners\n"); return; }
}

static void *free_it(void *at) { free(hide(at)); return NULL; }

static void double_free_thread(void) {
    char *keep = make(64), *at = make(64);
    free(at);
    pthread_t thread;
    pthread_create(&thread, NULL, free_it, at);
    pthread_join(thread, NULL);
    say("done\n");
    free(keep);
    go_on(64);
}

static void free_middle(void) {
    free(hide((char *)make(64) + 16));
    say("done\n");
    go_on(64);
}

static void free_stack(void) {
    char local[256];
    memset(local, 0, sizeof local);
    free(hide((char *)((uintptr_t)(local + 64) & ~(uintptr_t)15)));
    say("done\n");
    go_on(64);
}

static void free_foreign(void) {
    char *at = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free(hide(at + 4096));
    say("done\n");
    go_on(64);
}

static void free_released(void) {
    enum { MANY = 100000 };
    static void *kept[MANY];
    for (int n = 0; n < MANY; n++) kept[n] = make(64);
    void *middle = kept[MANY / 2];
    for (int n = 0; n < MANY; n++) free(kept[n]);
    malloc_trim(0);
    free(hide(middle));
    say("done\n");
    go_on(64);
}

static void free_list(void) {
    static uintptr_t target[64];
    void *kept[KEPT];
    for (int n = 0; n < KEPT; n++) kept[n] = make(64);
    for (int n = 0; n < KEPT; n++) {
        free(kept[n]);
        uintptr_t *volatile link = kept[n];
        link[0] = link[1] = (uintptr_t)target;
    }
    void *again[2 * KEPT];
    for (int n = 0; n < 2 * KEPT; n++) {
        again[n] = make(64);
        if (again[n] == (void *)target) { say("gained: the heap hands out any address\n"); _exit(0); }
    }
    say("done\n");
    go_on(64);
}

static void header(void) {
    void *kept[KEPT];
    for (int n = 0; n < KEPT; n++) kept[n] = make(64);
    for (int n = 1; n < KEPT; n++)
        if ((uintptr_t)kept[n] % 4096 >= 64) poke((char *)kept[n] - 8, 0x41, 8);
    for (int n = 0; n < KEPT; n++) free(kept[n]);
    say("done\n");
    go_on(64);
}

static const struct { const char *name, *about; void (*run)(void); } CASES[] = {
    {"overflow-byte", "one byte into the neighbour", overflow_byte},
    {"overflow-words", "32 bytes into the neighbour", overflow_words},
    {"overflow-large", "one byte behind a block of 1 MiB", overflow_large},
    {"read-after-free", "read of a freed block", read_after_free},
    {"write-after-free", "write to a freed block", write_after_free},
    {"use-after-free-large", "read of a freed block of 1 MiB", use_after_free_large},
    {"double-free", "free twice, at once", double_free},
    {"double-free-later", "free twice, others between", double_free_later},
    {"double-free-thread", "free twice, from another thread", double_free_thread},
    {"free-middle", "free of the middle of a block", free_middle},
    {"free-stack", "free of a stack address", free_stack},
    {"free-foreign", "free inside a mapping of the program's", free_foreign},
    {"free-released", "free in memory that was given back", free_released},
    {"free-list", "an address over the links of a freed block", free_list},
    {"header", "8 bytes before blocks overwritten", header},
};

int main(int count, char **words) {
    size_t cases = sizeof CASES / sizeof *CASES;
    for (size_t n = 0; count == 2 && n < cases; n++) {
        if (!strcmp(words[1], "--list")) printf("%s\t%s\n", CASES[n].name, CASES[n].about);
        if (!strcmp(words[1], CASES[n].name)) { CASES[n].run(); return 0; }
    }
    return count == 2 && !strcmp(words[1], "--list") ? 0 : 64;
}
