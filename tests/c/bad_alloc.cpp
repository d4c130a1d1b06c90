// A new that fails: std::bad_alloc arrives with every frame unwound, the new-handler is called
// again and again until it makes room, throws, or is taken away; nothrow variants return null.
#include "check.h"

#include <sys/resource.h>

#include <memory>
#include <new>
#include <thread>
#include <vector>

static const std::size_t TOO_BIG = static_cast<std::size_t>(1) << 60; // not even overcommitted

static volatile std::size_t too_big = TOO_BIG; // unknown to the compiler
static int handler_calls, destructors;

struct Unwound {
    ~Unwound() { destructors++; }
};
struct Derived : std::bad_alloc {
    int mark = 17;
};
struct Other {};

template <class Allocate> static bool throws_bad_alloc(Allocate allocate) {
    destructors = 0;
    try {
        Unwound frame;
        void *block = allocate();
        CHECK(block == nullptr); // not reached
        return false;
    } catch (const std::bad_alloc &error) {
        CHECK(error.what() != nullptr);
        return destructors == 1;
    }
}

static void without_a_handler() {
    std::set_new_handler(nullptr);
    const std::align_val_t aligned{64}, bad{24};
    const std::size_t sizes[] = {TOO_BIG, SIZE_MAX, static_cast<std::size_t>(PTRDIFF_MAX) + 1};
    for (std::size_t size : sizes) {
        too_big = size;
        CHECK(throws_bad_alloc([] { return ::operator new(too_big); }));
        CHECK(throws_bad_alloc([] { return ::operator new[](too_big); }));
        CHECK(::operator new(too_big, std::nothrow) == nullptr);
        CHECK(::operator new[](too_big, std::nothrow) == nullptr);
        // libstdc++ rounds the size up to the alignment, and up to GCC 12 past the end of size_t.
        if (size == SIZE_MAX && !on_hakmem()) continue;
        CHECK(throws_bad_alloc([=] { return ::operator new(too_big, aligned); }));
        CHECK(throws_bad_alloc([=] { return ::operator new[](too_big, aligned); }));
        CHECK(::operator new(too_big, aligned, std::nothrow) == nullptr);
        CHECK(::operator new[](too_big, aligned, std::nothrow) == nullptr);
    }
    too_big = TOO_BIG;
    CHECK(throws_bad_alloc([=] { return ::operator new(64, bad); }));
    CHECK(::operator new(64, bad, std::nothrow) == nullptr);
    CHECK(throws_bad_alloc([] { return static_cast<void *>(new char[too_big]); }));
    // Through the C++ library's own frames.
    CHECK(throws_bad_alloc([] {
        std::vector<char> *bytes = new std::vector<char>;
        std::unique_ptr<std::vector<char>> guard(bytes);
        bytes->reserve(too_big);
        return nullptr;
    }));
    std::thread([] { CHECK(throws_bad_alloc([] { return ::operator new(too_big); })); }).join();
}

// Gives up at the third call: the default behaviour follows.
static void removes_itself() {
    if (++handler_calls == 3) std::set_new_handler(nullptr);
}
static void throws_derived() {
    handler_calls++;
    throw Derived();
}
static void throws_other() {
    handler_calls++;
    throw Other();
}

template <class Allocate> static void with_handlers(Allocate allocate) {
    handler_calls = 0;
    std::set_new_handler(removes_itself);
    CHECK(throws_bad_alloc(allocate));
    CHECK(handler_calls == 3);

    handler_calls = destructors = 0;
    std::set_new_handler(throws_derived);
    try {
        Unwound frame;
        allocate();
        CHECK(!"reached");
    } catch (const Derived &error) {
        CHECK(error.mark == 17 && handler_calls == 1 && destructors == 1);
    }
    std::set_new_handler(throws_other);
    try {
        allocate();
        CHECK(!"reached");
    } catch (const Other &) {
        CHECK(handler_calls == 2);
    }
    std::set_new_handler(nullptr);
}

template <class Allocate> static void nothrow_with_handlers(Allocate allocate) {
    handler_calls = 0;
    std::set_new_handler(removes_itself);
    CHECK(allocate() == nullptr);
    CHECK(handler_calls == 3);
    for (int i = 0; i < 3; i++) { // thrown by the handler, caught on the way
        handler_calls = destructors = 0;
        std::set_new_handler(throws_derived);
        CHECK(allocate() == nullptr);
        CHECK(handler_calls == 1 && destructors == 0);
    }
    CHECK(std::uncaught_exceptions() == 0);
    std::set_new_handler(nullptr);
}

// A handler that makes room, under a limit on address space: the new that called it succeeds.
static void *reserve;
static void gives_the_reserve() {
    handler_calls++;
    if (!reserve) std::set_new_handler(nullptr);
    std::free(reserve);
    reserve = nullptr;
}

static void makes_room() {
    rlimit before, limit;
    REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
    reserve = std::malloc(512u << 20);
    REQUIRE(reserve != nullptr);
    limit = before;
    limit.rlim_cur = address_space() + (100u << 20);
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    handler_calls = 0;
    std::set_new_handler(gives_the_reserve);
    char *block = static_cast<char *>(::operator new(400u << 20));
    CHECK(block != nullptr && handler_calls == 1 && reserve == nullptr);
    block[0] = block[(400u << 20) - 1] = 1;
    ::operator delete(block);
    std::set_new_handler(nullptr);
    REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
}

int main() {
    on_hakmem();
    without_a_handler();
    with_handlers([] { return ::operator new(too_big); });
    with_handlers([] { return ::operator new[](too_big); });
    with_handlers([] { return ::operator new(too_big, std::align_val_t(4096)); });
    with_handlers([] { return ::operator new[](too_big, std::align_val_t(4096)); });
    nothrow_with_handlers([] { return ::operator new(too_big, std::nothrow); });
    nothrow_with_handlers([] { return ::operator new[](too_big, std::nothrow); });
    nothrow_with_handlers([] { return ::operator new(too_big, std::align_val_t(64), std::nothrow); });
    nothrow_with_handlers([] { return ::operator new[](too_big, std::align_val_t(64), std::nothrow); });
    makes_room();
    return finished();
}
