// Every C++ operator new and delete: alignment, contents, pairing, sizes of zero, null; what
// stands behind them is the library (each symbol is looked up), also for containers and threads.
#include "check.h"

#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

static const std::size_t SIZES[] = {0,    1,    8,     16,    24,     100,    256,     1000,
                                    1024, 1025, 5000,  32768, 100000, 262144, 1000000, 5000000};

struct alignas(64) Line { char bytes[64]; };
struct alignas(4096) Page { char bytes[4096]; };
struct Counted {
    static int live;
    long value;
    Counted() : value(7) { live++; }
    ~Counted() { live--; }
};
int Counted::live = 0;

static void every_operator() {
    using std::align_val_t;
    using std::nothrow;
    for (std::size_t size : SIZES) {
        for (int variant = 0; variant < 3; variant++) {
            void *one = ::operator new(size), *many = ::operator new[](size);
            void *quiet = ::operator new(size, nothrow), *quiet_many = ::operator new[](size, nothrow);
            REQUIRE(one && many && quiet && quiet_many);
            CHECK(one != many && quiet != quiet_many);
            void *blocks[] = {one, many, quiet, quiet_many};
            for (void *block : blocks) {
                CHECK(aligned_to(block, size >= 16 ? 16 : 8));
                fill(block, size, 4);
            }
            for (void *block : blocks) CHECK(filled(block, size, 4));
            switch (variant) {
            case 0: ::operator delete(one); ::operator delete[](many);
                    ::operator delete(quiet); ::operator delete[](quiet_many); break;
            case 1: ::operator delete(one, size); ::operator delete[](many, size);
                    ::operator delete(quiet, size); ::operator delete[](quiet_many, size); break;
            default: ::operator delete(one, nothrow); ::operator delete[](many, nothrow);
                     ::operator delete(quiet, nothrow); ::operator delete[](quiet_many, nothrow);
            }
            for (std::size_t align = 1; align <= 65536; align *= 4) {
                align_val_t to = align_val_t(align);
                one = ::operator new(size, to), many = ::operator new[](size, to);
                quiet = ::operator new(size, to, nothrow), quiet_many = ::operator new[](size, to, nothrow);
                REQUIRE(one && many && quiet && quiet_many);
                void *aligned[] = {one, many, quiet, quiet_many};
                for (void *block : aligned) {
                    CHECK(aligned_to(block, align));
                    fill(block, size < 6000 ? size : 6000, 5);
                }
                for (void *block : aligned) CHECK(filled(block, size < 6000 ? size : 6000, 5));
                switch (variant) {
                case 0: ::operator delete(one, to); ::operator delete[](many, to);
                        ::operator delete(quiet, to); ::operator delete[](quiet_many, to); break;
                case 1: ::operator delete(one, size, to); ::operator delete[](many, size, to);
                        ::operator delete(quiet, size, to); ::operator delete[](quiet_many, size, to); break;
                default: ::operator delete(one, to, nothrow); ::operator delete[](many, to, nothrow);
                         ::operator delete(quiet, to, nothrow); ::operator delete[](quiet_many, to, nothrow);
                }
            }
        }
    }
    void *none = nullptr;
    ::operator delete(none);
    ::operator delete[](none);
    ::operator delete(none, std::size_t(8));
    ::operator delete[](none, std::size_t(8));
    ::operator delete(none, nothrow);
    ::operator delete[](none, nothrow);
    ::operator delete(none, align_val_t(64));
    ::operator delete[](none, align_val_t(64));
    ::operator delete(none, std::size_t(8), align_val_t(64));
    ::operator delete[](none, std::size_t(8), align_val_t(64));
    ::operator delete(none, align_val_t(64), nothrow);
    ::operator delete[](none, align_val_t(64), nothrow);
    void *after_nulls = ::operator new(8); // a null must not have become a block
    CHECK(after_nulls != nullptr);
    ::operator delete(after_nulls, std::size_t(8));
}

static void expressions() {
    for (int i = 1; i < 200; i++) {
        std::unique_ptr<Line> line(new Line);
        std::unique_ptr<Page> page(new Page);
        std::unique_ptr<Line[]> lines(new Line[static_cast<std::size_t>(i)]);
        std::unique_ptr<Counted[]> counted(new Counted[static_cast<std::size_t>(i)]);
        CHECK(aligned_to(line.get(), 64) && aligned_to(page.get(), 4096) && aligned_to(lines.get(), 64));
        CHECK(Counted::live == i && counted[0].value == 7);
    }
    CHECK(Counted::live == 0);
    // malloc and operator new share one heap here.
    void *block = std::malloc(100);
    ::operator delete(block);
    block = ::operator new(100);
    std::free(block);
}

static void containers(unsigned seed) {
    std::map<std::string, std::vector<int>> tree;
    std::unordered_map<int, std::string> table;
    uint64_t random = seed + 1;
    for (int i = 0; i < 20000; i++) {
        uint64_t r = next_random(&random);
        int key = static_cast<int>(r % 997);
        tree["key of some length " + std::to_string(key)].push_back(i);
        table[key] += std::string(1 + r % 3, 'x');
        if (r % 11 == 0) tree.erase("key of some length " + std::to_string(r / 11 % 997));
        if (r % 13 == 0) table.erase(static_cast<int>(r / 13 % 997));
    }
    for (auto &entry : tree) CHECK(!entry.second.empty());
    for (auto &entry : table) CHECK(entry.second.find_first_not_of('x') == std::string::npos);
}

static const char *SYMBOLS[] = {
    "_Znwm", "_Znam", "_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t", "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t", "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t", "_ZdlPv", "_ZdaPv", "_ZdlPvm", "_ZdaPvm",
    "_ZdlPvRKSt9nothrow_t", "_ZdaPvRKSt9nothrow_t", "_ZdlPvSt11align_val_t",
    "_ZdaPvSt11align_val_t", "_ZdlPvmSt11align_val_t", "_ZdaPvmSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t", "_ZdaPvSt11align_val_tRKSt9nothrow_t"};

int main() {
    if (on_hakmem()) {
        Dl_info ours, theirs;
        REQUIRE(dladdr(dlsym(RTLD_DEFAULT, "hak_version"), &ours));
        for (const char *symbol : SYMBOLS) {
            REQUIRE(dladdr(dlsym(RTLD_DEFAULT, symbol), &theirs));
            CHECK(ours.dli_fbase == theirs.dli_fbase);
        }
    }
    every_operator();
    expressions();
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 4; i++) threads.emplace_back(containers, i);
    containers(99);
    for (auto &thread : threads) thread.join();
    // Objects made here, destroyed there.
    std::vector<std::unique_ptr<std::string>> strings;
    for (int i = 0; i < 10000; i++) strings.emplace_back(new std::string(static_cast<std::size_t>(i % 300), 'y'));
    std::thread([moved = std::move(strings)]() mutable { moved.clear(); }).join();
    return finished();
}
