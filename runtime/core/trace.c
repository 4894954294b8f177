#include "core/trace.h"

#include "core/tasklet.h"

#include <string.h>

/* Frames kept of one coroutine, and of all. */
enum { MAX_FRAMES = 22, MAX_ALL = 66, NAME = 32 };

struct frame {
    char source[LUA_IDSIZE], name[NAME];
    const char *kind; /* of the name: a constant text of Lua's; "" if there is none */
    int line, function_line;
    char what;           /* 'm'ain chunk, 'C', 'L'ua */
    bool tail_call, cut; /* cut: its coroutine had more */
    bool outermost;      /* the last of its coroutine */
};

struct trace {
    lua_State *into; /* the thread that the error was passed on to */
    int count;
    struct frame frames[MAX_ALL];
};

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

static void fill(struct frame *f, const lua_Debug *ar)
{
    memcpy(f->source, ar->short_src, sizeof f->source);
    f->name[0] = '\0';
    strncat(f->name, ar->name ? ar->name : "", sizeof f->name - 1);
    f->kind = strcmp(ar->namewhat, "global") == 0 ? "function" : ar->namewhat;
    f->line = ar->currentline;
    f->function_line = ar->linedefined;
    f->what = *ar->what;
    f->tail_call = ar->istailcall;
    f->cut = f->outermost = false;
}

void trace_note(lua_State *co)
{
    struct runtime *rt = runtime_of(co);
    lua_Debug ar;
    if (!rt->trace && !(rt->trace = memory_new(&rt->memory, sizeof *rt->trace)))
        return;
    struct trace *tr = rt->trace;
    if (!trace_is_of(co, -1))
        tr->count = 0;
    int level = 0;
    for (; level < MAX_FRAMES && tr->count < MAX_ALL && lua_getstack(co, level, &ar); level++) {
        lua_getinfo(co, "Slnt", &ar);
        fill(&tr->frames[tr->count++], &ar);
    }
    if (tr->count > 0) {
        struct frame *last = &tr->frames[tr->count - 1];
        last->cut |= lua_getstack(co, level, &ar);
        last->outermost = true;
    }
    trace_pass(co);
}

/* Adds a line about it, as luaL_traceback has them. */
static void add_frame(lua_State *L, luaL_Buffer *b, const struct frame *f)
{
    if (f->line > 0)
        lua_pushfstring(L, "\n\t%s:%d: in ", f->source, f->line);
    else
        lua_pushfstring(L, "\n\t%s: in ", f->source);
    luaL_addvalue(b);
    if (*f->kind)
        lua_pushfstring(L, "%s '%s'", f->kind, f->name);
    else if (f->what == 'm')
        lua_pushliteral(L, "main chunk");
    else if (f->what != 'C')
        lua_pushfstring(L, "function <%s:%d>", f->source, f->function_line);
    else
        lua_pushliteral(L, "?");
    luaL_addvalue(b);
    if (f->tail_call)
        luaL_addstring(b, "\n\t(...tail calls...)");
    if (f->cut)
        luaL_addstring(b, "\n\t...");
}

void trace_push(lua_State *L)
{
    const struct trace *tr = runtime_of(L)->trace;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (int i = 0; i < tr->count; i++) {
        if (i == 0 || tr->frames[i - 1].outermost)
            luaL_addstring(&b, "stack traceback:");
        add_frame(L, &b, &tr->frames[i]);
        if (tr->frames[i].outermost)
            luaL_addstring(&b, "\nin the coroutine resumed by\n");
    }
    luaL_pushresult(&b);
}

void trace_push_stack(lua_State *L, const struct tasklet *t, lua_State *T, const char *title,
                      int level)
{
    static const char root[] = "\n\t[C]: in ?";
    luaL_traceback(L, T, title, level);
    size_t n, m = sizeof root - 1;
    const char *text = lua_tolstring(L, -1, &n);
    if (t && t->thread == T && n >= m && strcmp(text + n - m, root) == 0) {
        lua_pushlstring(L, text, n - m);
        lua_replace(L, -2);
    }
}

void trace_free(struct runtime *rt)
{
    memory_free(&rt->memory, rt->trace, sizeof *rt->trace);
}
