// The header in C++: the names are declared as C, a struct and a function share one.
#include "check.h"

#include "hakmem.h"

int main() {
    on_hakmem();
    void *block = std::malloc(100);
    struct hak_stats stats = {};
    stats.size = sizeof stats;
    CHECK(hak_stats(&stats) == 0);
    CHECK(stats.mapped_bytes > 0);
    CHECK(hak_version() != nullptr);
    CHECK(hak_owns(&stats) == 0 && hak_owns(block) == 1);
    std::free(block);
    return finished();
}
