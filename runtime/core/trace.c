#include "core/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FRAMES = 22, TEXT = 4096 };

struct trace {
    lua_State *into; /* the thread that the error was passed on to */
    size_t length;
    char text[TEXT];
};

/* What does not fit is left out whole. */
static void add(struct trace *tr, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct trace *tr, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    size_t room = TEXT - tr->length;
    int n = vsnprintf(tr->text + tr->length, room, format, ap);
    if (n > 0 && (size_t)n < room)
        tr->length += (size_t)n;
    va_end(ap);
}

static void add_frame(struct trace *tr, const lua_Debug *ar)
{
    add(tr, "\n\t%s:", ar->short_src);
    if (ar->currentline > 0)
        add(tr, "%d:", ar->currentline);
    const char *kind = strcmp(ar->namewhat, "global") == 0 ? "function" : ar->namewhat;
    if (*kind)
        add(tr, " in %s '%s'", kind, ar->name);
    else if (*ar->what == 'm')
        add(tr, " in main chunk");
    else if (*ar->what != 'C')
        add(tr, " in function <%s:%d>", ar->short_src, ar->linedefined);
    else
        add(tr, " in ?");
    if (ar->istailcall)
        add(tr, "\n\t(...tail calls...)");
}

bool trace_is_of(lua_State *L, int i)
{
    struct runtime *rt = runtime_of(L);
    if (!rt->trace || rt->trace->into != L || !lua_checkstack(L, 1))
        return false;
    i = lua_absindex(L, i);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->trace_ref);
    bool same = lua_rawequal(L, -1, i);
    lua_pop(L, 1);
    return same;
}

void trace_pass(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    if (!lua_checkstack(L, 1))
        return;
    rt->trace->into = L;
    lua_pushvalue(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, rt->trace_ref); /* the key exists: no memory needed */
}

void trace_note(lua_State *co)
{
    struct runtime *rt = runtime_of(co);
    lua_Debug ar;
    if (!rt->trace && !(rt->trace = memory_new(&rt->memory, sizeof *rt->trace)))
        return;
    struct trace *tr = rt->trace;
    if (!trace_is_of(co, -1))
        tr->length = 0;
    add(tr, "stack traceback:");
    for (int level = 0; lua_getstack(co, level, &ar); level++) {
        if (level == MAX_FRAMES) {
            add(tr, "\n\t...");
            break;
        }
        lua_getinfo(co, "Slnt", &ar);
        add_frame(tr, &ar);
    }
    add(tr, "\nin the coroutine resumed by\n");
    trace_pass(co);
}

void trace_push(lua_State *L)
{
    const struct trace *tr = runtime_of(L)->trace;
    lua_pushlstring(L, tr->text, tr->length);
}

void trace_free(struct runtime *rt)
{
    memory_free(&rt->memory, rt->trace, sizeof *rt->trace);
}
