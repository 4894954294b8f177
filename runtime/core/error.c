#include "core/error.h"

#include "core/ending.h"
#include "core/runtime.h"
#include "core/tasklet.h"
#include "core/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[ERROR_CLASSES] = {
    "TaskletExit",        "Interrupted",    "CancelledError", "TimeoutError",
    "AlreadyCalledError", "ClosedError",    "DeadlockError",  "FirstError",
    "QueueOverflow",      "QueueUnderflow", "Unwinding",      "Error",
};

const char *error_name(enum error_class c)
{
    return names[c];
}

static int instance_tostring(lua_State *L)
{
    if (lua_istable(L, 1) && lua_getfield(L, 1, "message") == LUA_TSTRING)
        return 1;
    return luaL_getmetafield(L, 1, "__name") == LUA_TNIL ? 0 : 1;
}

/* Class(text): a new instance. */
static int class_call(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    lua_createtable(L, 0, 1);
    if (!lua_isnil(L, 2)) {
        luaL_tolstring(L, 2, NULL);
        lua_setfield(L, -2, "message");
    }
    lua_pushvalue(L, 1);
    lua_setmetatable(L, -2);
    return 1;
}

static int class_tostring(lua_State *L)
{
    lua_getfield(L, 1, "__name");
    return 1;
}

void error_open(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    luaL_Reg meta[] = {{"__call", class_call}, {"__tostring", class_tostring}, {NULL, NULL}};
    luaL_newlib(L, meta);
    for (int c = 0; c < ERROR_CLASSES; c++) {
        lua_createtable(L, 0, 4);
        lua_pushstring(L, names[c]);
        lua_setfield(L, -2, "__name");
        lua_pushcfunction(L, instance_tostring);
        lua_setfield(L, -2, "__tostring");
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
        if (c == ERROR_TASKLET_EXIT) {
            lua_createtable(L, 0, 0);
            lua_insert(L, -2);
            lua_setmetatable(L, -2);
        } else {
            lua_pushvalue(L, -2);
            lua_setmetatable(L, -2);
        }
        rt->error_id[c] = lua_topointer(L, -1);
        rt->error_ref[c] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_pop(L, 1);
}

void error_push(lua_State *L, enum error_class c, const char *text)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->error_ref[c]);
    if (c == ERROR_TASKLET_EXIT)
        return;
    lua_createtable(L, 0, 1);
    lua_pushstring(L, text);
    lua_setfield(L, -2, "message");
    lua_insert(L, -2);
    lua_setmetatable(L, -2);
}

int error_raise(lua_State *L, enum error_class c, const char *text)
{
    error_push(L, c, text);
    return lua_error(L);
}

int error_is(lua_State *L, int i, enum error_class c)
{
    struct runtime *rt = runtime_of(L);
    if (lua_type(L, i) != LUA_TTABLE)
        return 0;
    if (c == ERROR_TASKLET_EXIT)
        return lua_topointer(L, i) == rt->error_id[c];
    if (!lua_getmetatable(L, i))
        return 0;
    const void *id = lua_topointer(L, -1);
    lua_pop(L, 1);
    return id == rt->error_id[c];
}

int error_unwinds(lua_State *L, int i)
{
    return error_is(L, i, ERROR_TASKLET_EXIT) || error_is(L, i, ERROR_INTERRUPTED) ||
           error_is(L, i, ERROR_UNWINDING);
}

int failure_test(lua_State *L, int i)
{
    if (lua_type(L, i) != LUA_TTABLE || !lua_getmetatable(L, i))
        return 0;
    const void *id = lua_topointer(L, -1);
    lua_pop(L, 1);
    return id == runtime_of(L)->failure_id;
}

void failure_push(lua_State *L, int i, const char *trace)
{
    i = lua_absindex(L, i);
    if (failure_test(L, i)) {
        lua_pushvalue(L, i);
        return;
    }
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, i);
    lua_setfield(L, -2, "value");
    lua_pushstring(L, trace);
    lua_setfield(L, -2, "traceback");
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->failure_ref);
    lua_setmetatable(L, -2);
}

void failure_unwrap(lua_State *L)
{
    if (failure_test(L, -1)) {
        lua_getfield(L, -1, "value");
        lua_remove(L, -2);
    }
}

static const char raised_first[] = "\nraised first:\n";

/* The first line of a traceback that is not of the library's own frames on its top. */
static const char *below_library(const char *trace)
{
    static const char *const own[] = {"\n\t[C]: in function 'neap.", "\n\tlua/neap/"};
    const char *line = strchr(trace, '\n');
    while (line && (strncmp(line, own[0], strlen(own[0])) == 0 ||
                    strncmp(line, own[1], strlen(own[1])) == 0))
        line = strchr(line + 1, '\n');
    return line;
}

/* Whether the library has only passed on, in `own`, what was raised further in on the same
** stack: all that `own` tells of the script, `first` tells too. */
static bool passed_on(const char *own, const char *first)
{
    const char *rest = below_library(own), *end = strstr(first, raised_first);
    size_t n = rest ? strlen(rest) : 0, m = end ? (size_t)(end - first) : strlen(first);
    return n > 0 && n <= m && strncmp(first + m - n, rest, n) == 0;
}

/* Where the traceback `own` is one of those that make up `text`, or NULL. */
static const char *find_trace(const char *text, const char *own)
{
    size_t n = strlen(own), m = sizeof raised_first - 1;
    for (const char *s = text; s; s = s ? s + m : NULL) {
        if (strncmp(s, own, n) == 0 && (!s[n] || strncmp(s + n, raised_first, m) == 0))
            return s;
        s = strstr(s, raised_first);
    }
    return NULL;
}

/* Joins the traceback at index i and that of where the error was raised first, on the top.
** An equal error that was raised here again and again must not tell its whole past. */
static void join_traces(lua_State *L, int i)
{
    enum { longest = 16384 };
    const char *own = lua_tostring(L, i), *first = lua_tostring(L, -1);
    const char *again = find_trace(first, own);
    if (again || passed_on(own, first)) {
        lua_pushstring(L, again ? again : first);
        lua_replace(L, i);
    } else if (strlen(first) < longest) {
        lua_pushfstring(L, "%s%s%s", own, raised_first, first);
        lua_replace(L, i);
    }
}

/* If the error at 1 came to this tasklet from elsewhere (through a deferred), adds where
** it was raised first to the traceback on the top. */
static void append_origin(lua_State *L)
{
    struct tasklet *t = runtime_of(L)->current;
    if (!t || !t->side)
        return;
    int trace = lua_gettop(L);
    tasklet_push(L, t);
    tasklet_get(L, -1, SIDE_ORIGIN);
    if (failure_test(L, -1)) {
        lua_getfield(L, -1, "value");
        bool same = lua_rawequal(L, -1, 1);
        if (same && lua_getfield(L, trace + 2, "traceback") == LUA_TSTRING) /* raised at all */
            join_traces(L, trace);
    }
    lua_settop(L, trace);
}

/* The error at 1 becomes a failure with the traceback from this level on. */
static int make_failure(lua_State *L, int level)
{
    if (error_is(L, 1, ERROR_TASKLET_EXIT) || failure_test(L, 1)) {
        lua_settop(L, 1);
        return 1;
    }
    struct runtime *rt = runtime_of(L);
    rt->unlimited++; /* if there is no memory at all the scheduler puts it back */
    luaL_checkstack(L, 10, NULL);
    bool inner = trace_is_of(L, 1);
    if (inner)
        trace_push(L);
    trace_push_stack(L, rt->current, L, NULL, level);
    if (inner)
        lua_concat(L, 2);
    append_origin(L);
    failure_push(L, 1, lua_tostring(L, -1));
    rt->unlimited--;
    return 1;
}

int error_handler(lua_State *L)
{
    return make_failure(L, 1);
}

/* Pops a value into the field of the failure at index i that names the one kept before it. */
static void set_before(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    lua_pushliteral(L, "before");
    lua_insert(L, -2);
    lua_rawset(L, i);
}

int error_keep(lua_State *L, int level)
{
    struct tasklet *t = runtime_of(L)->current;
    make_failure(L, level);
    if (!t || failure_test(L, 1) || !failure_test(L, -1))
        return 1;
    luaL_checkstack(L, 6, NULL);
    tasklet_push(L, t);
    lua_insert(L, -2);
    tasklet_get(L, -2, SIDE_RAISED); /* it may be unwinding still: this one is of its cleanup */
    if (failure_test(L, -1)) {
        lua_pushnil(L);
        set_before(L, -2);
        set_before(L, -2);
    } else {
        lua_pop(L, 1);
    }
    tasklet_set(L, -2, SIDE_RAISED);
    lua_settop(L, 1);
    return 1;
}

int error_handler_keeping(lua_State *L)
{
    return error_keep(L, 1);
}

void failure_recall_of(lua_State *L, int self, int i)
{
    tasklet_get(L, self, SIDE_RAISED);
    while (failure_test(L, -1)) {
        lua_getfield(L, -1, "value");
        bool same = lua_rawequal(L, -1, i);
        lua_pop(L, 1);
        lua_pushliteral(L, "before");
        lua_rawget(L, -2);
        if (same) {
            tasklet_set(L, self, SIDE_RAISED);
            lua_pushnil(L);
            set_before(L, -2);
            lua_replace(L, i);
            return;
        }
        lua_remove(L, -2);
    }
    lua_pop(L, 1);
}

void failure_recall(lua_State *L)
{
    struct tasklet *t = runtime_of(L)->current;
    int i = lua_gettop(L);
    if (!t || !t->side)
        return;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    tasklet_push(L, t);
    failure_recall_of(L, i + 1, i);
    lua_settop(L, i);
}

/* message(value): as `lua` words an error. */
static int push_message(lua_State *L)
{
    if (lua_isstring(L, 1))
        lua_tostring(L, 1);
    else if (!luaL_callmeta(L, 1, "__tostring") || lua_type(L, -1) != LUA_TSTRING)
        lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    return 1;
}

void error_report_text(struct runtime *rt, struct tasklet *t, const char *message)
{
    rt->fails++;
    if (rt->on_fail)
        rt->on_fail(rt, t, message, "");
    else
        error_log(rt, "%s", message);
}

/* Replaces the value on the top by its message; an error in its __tostring is named. */
static void to_message(lua_State *L)
{
    lua_pushcfunction(L, push_message);
    lua_insert(L, -2);
    struct runtime *rt = runtime_of(L);
    rt->reactor_code++;
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        const char *why = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "no text";
        lua_pushfstring(L, "(error object whose __tostring fails: %s)", why);
        lua_remove(L, -2);
    }
    rt->reactor_code--;
}

/* Hands value (at v) and trace (at v + 1) to the host. */
static void report_to_host(lua_State *L, struct tasklet *t, int v, const char *prefix)
{
    struct runtime *rt = runtime_of(L);
    lua_pushstring(L, prefix);
    lua_pushvalue(L, v);
    to_message(L);
    if (t && tasklet_alive(t)) { /* the host may want an id for it */
        tasklet_push(L, t);
        tasklet_side(L, -1);
        lua_pop(L, 1);
    }
    lua_concat(L, 2);
    const char *message = lua_tostring(L, -1), *trace = lua_tostring(L, v + 1);
    rt->fails++;
    if (rt->on_fail)
        rt->on_fail(rt, t, message, trace);
    else
        error_log(rt, "%s\n%s", message, trace);
    lua_pop(L, 1);
}

/* Replaces the error on the top by its value and its traceback, "" if it has none. */
static void take_apart(lua_State *L)
{
    int v = lua_gettop(L);
    if (!failure_test(L, v)) {
        lua_pushliteral(L, "");
        return;
    }
    lua_getfield(L, v, "traceback");
    lua_getfield(L, v, "value");
    lua_replace(L, v);
    if (!lua_isstring(L, -1))
        lua_pushliteral(L, ""), lua_replace(L, -2);
}

/* Adds to the traceback on the top which tasklet it is of, and where that was spawned. */
static void add_tasklet(lua_State *L, struct tasklet *t)
{
    lua_pushliteral(L, "\nin ");
    tasklet_push_title(L, t);
    lua_pushliteral(L, ", ");
    tasklet_push_site(L, t);
    lua_concat(L, 5);
}

/* Raises the error at v in the innermost neap.run, before what is left in the queue. */
static void raise_in_run(lua_State *L, int v)
{
    struct tasklet *runner = container_of(runtime_of(L)->runners.prev, struct tasklet, link);
    tasklet_push(L, runner);
    failure_push(L, v, lua_tostring(L, v + 1));
    tasklet_set(L, -2, SIDE_ORIGIN);
    lua_pushvalue(L, v);
    tasklet_throw(L, runner, true);
}

/* Calls the function given to neap.on_error; an error of its own is reported as well. */
static void call_on_error(lua_State *L, struct tasklet *t, int v, const char *prefix)
{
    struct runtime *rt = runtime_of(L);
    lua_pushcfunction(L, error_handler);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->on_error_ref);
    t ? tasklet_push(L, t) : lua_pushnil(L);
    lua_pushvalue(L, v);
    lua_pushvalue(L, v + 1);
    rt->reactor_code++;
    int status = lua_pcall(L, 3, 0, v + 2);
    rt->reactor_code--;
    if (status == LUA_OK)
        return;
    report_to_host(L, t, v, prefix);
    lua_settop(L, v + 3);
    failure_unwrap(L);
    lua_pushliteral(L, "in the function given to neap.on_error");
    report_to_host(L, t, v + 3, "");
}

static void report(lua_State *L, struct tasklet *t, const char *prefix)
{
    struct runtime *rt = runtime_of(L);
    bool main = t && t == rt->main;
    luaL_checkstack(L, 20, NULL);
    int v = lua_gettop(L);
    take_apart(L);
    if (main && rt->adopted) { /* neap.main raises it */
        atomic_store(&rt->stop, true);
        lua_settop(L, v - 1);
        return;
    }
    if (main && error_is(L, v, ERROR_DEADLOCK))
        ending_replace_trace(L, v);
    if (t && !main && tasklet_alive(t))
        add_tasklet(L, t);
    if (t && !main && !list_empty(&rt->runners))
        raise_in_run(L, v);
    else if (main || rt->on_error_ref == LUA_NOREF)
        report_to_host(L, t, v, prefix);
    else
        call_on_error(L, t, v, prefix);
    lua_settop(L, v - 1);
}

void error_report(lua_State *L, struct tasklet *t, const char *prefix)
{
    runtime_of(L)->unlimited++;
    report(L, t, prefix);
    runtime_of(L)->unlimited--;
}

void error_log(struct runtime *rt, const char *format, ...)
{
    enum { level = 2 }; /* a warning */
    char text[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (rt->on_log)
        rt->on_log(rt, level, text);
}
