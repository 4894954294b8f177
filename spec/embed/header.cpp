// neap.h in C++17: it compiles without a warning, links and runs.
#include "neap.h"

#include <string>

int main()
{
    std::string out;
    neap_config c{};
    c.size = sizeof c;
    c.ud = &out;
    c.write = [](void *ud, const char *s, size_t n) {
        static_cast<std::string *>(ud)->append(s, n);
    };
    const char *why = nullptr;
    neap *N = neap_new(&c, &why);
    if (!N || neap_version() >> 16 != NEAP_VERSION >> 16)
        return 1;
    const std::string script = "sleep(0.01) print 'C++'";
    neap_task t = neap_text(N, script.data(), script.size(), "=cpp");
    int status = neap_run(N);
    bool done = status == NEAP_OK && neap_status(N, t) == NEAP_DONE;
    neap_free(N);
    return done && out == "C++\n" ? 0 : 1;
}
