// A program that replaces two of the C++ operators only, and by the standard thereby all that
// forward to them by default: arrays, nothrow, sized. Its blocks have a header of their own, so
// that a block that goes to the wrong operator does not pass.
#include "check.h"

#include <exception>
#include <new>
#include <string>
#include <vector>

static const uint64_t MARK = 0x6d61726b6d61726b;
static int made, given_back;
static volatile std::size_t too_big = static_cast<std::size_t>(1) << 60;

struct alignas(16) Header {
    uint64_t mark;
};

void *operator new(std::size_t size) {
    Header *header = static_cast<Header *>(std::malloc(sizeof(Header) + size));
    if (!header) throw std::bad_alloc();
    header->mark = MARK;
    made++;
    return header + 1;
}

void operator delete(void *block) noexcept {
    if (!block) return;
    Header *header = static_cast<Header *>(block) - 1;
    REQUIRE(header->mark == MARK);
    header->mark = 0;
    given_back++;
    std::free(header);
}

// The library resolves what is replaced on first use: also before main.
static std::vector<int> early(100, 7);

static void natural() {
    for (std::size_t size = 0; size < 100000; size = size * 2 + 1) {
        made = given_back = 0;
        ::operator delete(::operator new(size));
        ::operator delete(::operator new(size), size);
        ::operator delete(::operator new(size), std::nothrow);
        ::operator delete(::operator new(size, std::nothrow));
        ::operator delete(::operator new(size, std::nothrow), size);
        ::operator delete[](::operator new[](size));
        ::operator delete[](::operator new[](size), size);
        ::operator delete[](::operator new[](size), std::nothrow);
        ::operator delete[](::operator new[](size, std::nothrow));
        CHECK(made == 9 && given_back == 9);
    }
    void *none = nullptr;
    ::operator delete(none, std::size_t(8));
    ::operator delete[](none);
    ::operator delete[](none, std::nothrow);
    delete new std::string(1000, 'x');
    delete[] new std::string[10];
}

// Not replaced: the library's own, and apart from the others.
static void aligned() {
    made = given_back = 0;
    const std::align_val_t to{64};
    for (std::size_t size = 0; size < 100000; size = size * 2 + 1) {
        ::operator delete(::operator new(size, to), to);
        ::operator delete(::operator new(size, to), size, to);
        ::operator delete[](::operator new[](size, to), to);
        ::operator delete[](::operator new[](size, to), size, to);
        ::operator delete(::operator new(size, to, std::nothrow), to, std::nothrow);
        ::operator delete[](::operator new[](size, to, std::nothrow), to, std::nothrow);
    }
    CHECK(made == 0 && given_back == 0);
}

// The exception is thrown by the program's operator and passes through, or is caught by, ours.
static void out_of_memory() {
    int caught = 0;
    try {
        (void)!::operator new[](too_big);
    } catch (const std::bad_alloc &) {
        caught++;
    }
    CHECK(caught == 1);
    for (int i = 0; i < 3; i++) {
        CHECK(::operator new(too_big, std::nothrow) == nullptr);
        CHECK(::operator new[](too_big, std::nothrow) == nullptr);
    }
    CHECK(std::uncaught_exceptions() == 0);
    try {
        (void)!::operator new(too_big, std::align_val_t(64));
    } catch (const std::bad_alloc &) {
        caught++;
    }
    CHECK(caught == 2);
}

int main() {
    on_hakmem();
    CHECK(early.size() == 100 && early[99] == 7);
    natural();
    aligned();
    out_of_memory();
    return finished();
}
