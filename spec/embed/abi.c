/* The binary interface of neap.h as it was first released: what a program has compiled in must
** stay where it is. New members and constants only follow; then add them here. The names that
** the library shows are in exports.txt. */
#include "embed/check.h"

#define SIZE(type, n)       _Static_assert(sizeof(type) == (n), #type)
#define AT(type, member, n) _Static_assert(offsetof(type, member) == (n), #type "." #member)
#define IS(name, n)         _Static_assert((name) == (n), #name)

IS(NEAP_VERSION >> 16, 0);

SIZE(neap_task, 8);
AT(neap_task, id, 0);

SIZE(neap_deferred, 8);
AT(neap_deferred, id, 0);

SIZE(neap_chan, 8);
AT(neap_chan, id, 0);

SIZE(neap_value, 32);
AT(neap_value, type, 0);
AT(neap_value, u, 8);
AT(neap_value, s, 16);
AT(neap_value, len, 24);

SIZE(neap_config, 112);
AT(neap_config, size, 0);
AT(neap_config, ud, 8);
AT(neap_config, alloc, 16);
AT(neap_config, write, 24);
AT(neap_config, log, 32);
AT(neap_config, fail, 40);
AT(neap_config, load, 48);
AT(neap_config, clock, 56);
AT(neap_config, wake, 64);
AT(neap_config, mem_limit, 72);
AT(neap_config, slice_ns, 80);
AT(neap_config, runaway_ns, 88);
AT(neap_config, seed, 96);
AT(neap_config, deny, 104);

SIZE(neap_stats, 120);
AT(neap_stats, size, 0);
AT(neap_stats, tasks, 8);
AT(neap_stats, ready, 16);
AT(neap_stats, timers, 24);
AT(neap_stats, watches, 32);
AT(neap_stats, refs, 40);
AT(neap_stats, mem, 48);
AT(neap_stats, mem_peak, 56);
AT(neap_stats, resumes, 64);
AT(neap_stats, preempts, 72);
AT(neap_stats, fails, 80);
AT(neap_stats, script_ns, 88);
AT(neap_stats, gc_ns, 96);
AT(neap_stats, gc_max_ns, 104);
AT(neap_stats, over_ns, 112);

IS(NEAP_OK, 0);
IS(NEAP_ESYNTAX, -1);
IS(NEAP_ERUN, -2);
IS(NEAP_EMEM, -3);
IS(NEAP_ESTALE, -4);
IS(NEAP_EBUSY, -5);
IS(NEAP_ETHREAD, -6);
IS(NEAP_EARG, -7);
IS(NEAP_READY, 1);
IS(NEAP_WAITING, 2);
IS(NEAP_RUNNING, 3);
IS(NEAP_DONE, 4);
IS(NEAP_FAILED, 5);
IS(NEAP_FS, 1);
IS(NEAP_NET, 2);
IS(NEAP_PROC, 4);
IS(NEAP_CMOD, 8);
IS(NEAP_ENV, 16);
IS(NEAP_BYTECODE, 32);
IS(NEAP_DEBUG, 64);
IS(NEAP_NIL, 0);
IS(NEAP_BOOL, 1);
IS(NEAP_INT, 2);
IS(NEAP_NUM, 3);
IS(NEAP_BYTES, 4);
IS(NEAP_REF, 5);
IS(NEAP_LOG_INFO, 1);
IS(NEAP_LOG_WARN, 2);
IS(NEAP_LOG_ERROR, 3);

int main(void)
{
    CHECK(neap_version() == NEAP_VERSION); /* the library is of the header */
    return 0;
}
