// A C++ library for a C program: its C++ runtime is loaded with it, out of everybody else's sight.
#include <new>
#include <string>

static volatile std::size_t too_big = static_cast<std::size_t>(1) << 60;

static void throws() { throw std::bad_alloc(); }

// 0 if a failed new behaves in here.
extern "C" int cxx_plugin_work() {
    int caught = 0;
    try {
        (void)!::operator new(too_big);
    } catch (const std::bad_alloc &) {
        caught++;
    }
    if (::operator new(too_big, std::nothrow) == nullptr) caught++;
    std::set_new_handler(throws);
    try {
        (void)!::operator new[](too_big);
    } catch (const std::bad_alloc &) {
        caught++;
    }
    if (::operator new[](too_big, std::nothrow) == nullptr) caught++;
    std::set_new_handler(nullptr);
    std::string text(10000, 'x');
    return caught == 4 && text.size() == 10000 ? 0 : 1;
}
