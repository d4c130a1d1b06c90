/* A C program without a C++ runtime. With an argument: opens that C++ library privately and runs
 * it. Without: a throwing `operator new` that fails here can only end the process, with a line. */
#include "check.h"

int main(int count, char **arguments) {
    on_hakmem();
    void *(*operator_new)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "_Znwm");
    void *(*operator_new_nothrow)(size_t, const void *) =
        (void *(*)(size_t, const void *))dlsym(RTLD_DEFAULT, "_ZnwmRKSt9nothrow_t");
    void (*operator_delete)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "_ZdlPv");
    if (count > 1) {
        void *handle = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
        if (!handle) fprintf(stderr, "%s\n", dlerror());
        REQUIRE(handle != NULL);
        int (*work)(void) = (int (*)(void))dlsym(handle, "cxx_plugin_work");
        REQUIRE(work != NULL);
        for (int i = 0; i < 3; i++) CHECK(work() == 0);
        return finished();
    }
    REQUIRE(operator_new && operator_new_nothrow && operator_delete);
    void *block = operator_new(100);
    CHECK(block != NULL);
    operator_delete(block);
    CHECK(operator_new_nothrow((size_t)1 << 60, "") == NULL);
    operator_new((size_t)1 << 60);
    return 3;
}
