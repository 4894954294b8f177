/* Time as scripts see it: lua/neap/types/time.lua. */
#include "bind/bind.h"
#include "core/call.h"
#include "core/deadline.h"
#include "core/tasklet.h"
#include "core/wait.h"

#include <math.h>

static int slept(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    return 0;
}

static int sleep_on(lua_State *L, bool real)
{
    luaL_checknumber(L, 1);
    double s = wait_timeout(L, 1);
    wait_check(L);
    return wait_sleep(L, real, s, 0, slept);
}

/* sleep(seconds) */
static int sleep_(lua_State *L)
{
    return sleep_on(L, false);
}

/* realtime.sleep(seconds) */
static int sleep_real(lua_State *L)
{
    return sleep_on(L, true);
}

/* now(): seconds of the clock in use */
static int now(lua_State *L)
{
    lua_pushnumber(L, timer_now(runtime_of(L)));
    return 1;
}

/* realtime.now() */
static int now_real(lua_State *L)
{
    lua_pushnumber(L, runtime_now(runtime_of(L)));
    return 1;
}

/* scale(x): the rate of the runtime's own clock; virtual ones and the real one keep theirs */
static int scale(lua_State *L)
{
    double x = luaL_checknumber(L, 1);
    luaL_argcheck(L, x >= 0 && x < HUGE_VAL, 1, "a rate is a number from 0 on");
    timer_scale(runtime_of(L), x);
    return 0;
}

/* ---- calls ---- */

/* A number at index i that is not NaN. */
static double check_seconds(lua_State *L, int i)
{
    double s = luaL_checknumber(L, i);
    luaL_argcheck(L, s == s, i, "a time cannot be NaN");
    return s;
}

/* call_later with its seconds at index i and the function behind them. */
static int call_on(lua_State *L, int clock, int i)
{
    double s = check_seconds(L, i);
    bind_check_callable(L, i + 1);
    call_new(L, clock, s > 0 ? s : 0, lua_gettop(L) - i - 1);
    return 1;
}

/* call_later(seconds, f, ...): a handle */
static int call_later(lua_State *L)
{
    return call_on(L, CALL_IN_USE, 1);
}

/* realtime.call_later(seconds, f, ...) */
static int call_later_real(lua_State *L)
{
    return call_on(L, CALL_REAL, 1);
}

static struct call *check_call(lua_State *L)
{
    struct call *c = object_check(L, 1, OBJECT_CALL);
    if (c->called)
        error_raise(L, ERROR_ALREADY_CALLED, "the call has already been made");
    return c;
}

static struct call *check_active(lua_State *L)
{
    struct call *c = check_call(L);
    if (c->cancelled)
        luaL_error(L, "the call has been cancelled");
    return c;
}

/* call:cancel(); once more is harmless */
static int cancel(lua_State *L)
{
    if (!check_call(L)->cancelled)
        call_cancel(L, 1);
    return 0;
}

/* call:reset(seconds): in so many from now */
static int reset(lua_State *L)
{
    double s = check_seconds(L, 2);
    call_move(L, 1, clock_read(check_active(L)->clock) + (s > 0 ? s : 0));
    return 0;
}

/* call:delay(seconds): so many later than planned */
static int delay(lua_State *L)
{
    double s = check_seconds(L, 2);
    luaL_argcheck(L, s > -HUGE_VAL, 2, "out of range");
    call_move(L, 1, check_active(L)->time + s);
    return 0;
}

/* call:active(): whether it is still to be made */
static int active(lua_State *L)
{
    lua_pushboolean(L, call_active(object_check(L, 1, OBJECT_CALL)));
    return 1;
}

static void get_time(lua_State *L, void *c)
{
    lua_pushnumber(L, ((struct call *)c)->time);
}

static int call_to_string(lua_State *L)
{
    struct call *c = object_check(L, 1, OBJECT_CALL);
    lua_pushfstring(L, "delayed call: %p (%s)", (void *)c,
                    c->called      ? "called"
                    : c->cancelled ? "cancelled"
                                   : "active");
    return 1;
}

/* ---- virtual clocks ---- */

static struct virtual_clock *check_clock(lua_State *L, int i)
{
    return object_check(L, i, OBJECT_CLOCK);
}

/* clock(): one that moves only by :advance */
static int new_clock(lua_State *L)
{
    virtual_clock_new(L);
    return 1;
}

/* use_clock(clock or nil): what is armed from now on stands on it; the one before, or nil */
static int use_clock(lua_State *L)
{
    luaL_checkany(L, 1);
    if (!lua_isnil(L, 1))
        check_clock(L, 1);
    virtual_clock_use(L, lua_isnil(L, 1) ? 0 : 1);
    return 1;
}

/* clock:now() */
static int clock_now_(lua_State *L)
{
    lua_pushnumber(L, clock_read(&check_clock(L, 1)->clock));
    return 1;
}

/* clock:advance(seconds) */
static int advance(lua_State *L)
{
    check_clock(L, 1);
    double s = luaL_checknumber(L, 2);
    luaL_argcheck(L, s >= 0 && s < HUGE_VAL, 2, "a clock moves forward, by a finite time");
    lua_settop(L, 1);
    virtual_clock_advance(L, 1, s);
    return 0;
}

/* clock:call_later(seconds, f, ...) */
static int clock_call_later(lua_State *L)
{
    check_clock(L, 1);
    return call_on(L, 1, 2);
}

/* ---- with_timeout ---- */

/* The frame: the deadline, the message handler, then the results or the error. */
enum { TIMED_DEADLINE = 1, TIMED_HANDLER, TIMED_RESULTS };

static int timed(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    bool own = status != LUA_OK && status != LUA_YIELD && deadline_is(L, TIMED_DEADLINE);
    bool overruled = own && deadline_overruled(L, TIMED_DEADLINE);
    deadline_leave(L, lua_touserdata(L, TIMED_DEADLINE));
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - TIMED_HANDLER;
    if (!own) {
        failure_recall(L);
        call_raise(L);
    }
    if (overruled)
        return lua_error(L);
    lua_pushnil(L);
    lua_pushliteral(L, "timeout");
    return 2;
}

static int untimed(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return lua_gettop(L) - 1;
}

static int with_timeout_on(lua_State *L, bool real)
{
    double s = wait_timeout(L, 1);
    bind_check_callable(L, 2);
    int nargs = lua_gettop(L) - 2;
    if (s == HUGE_VAL) {
        lua_callk(L, nargs, LUA_MULTRET, 0, untimed);
        return untimed(L, LUA_OK, 0);
    }
    deadline_new(L, real, s);
    lua_replace(L, TIMED_DEADLINE);
    lua_toclose(L, TIMED_DEADLINE);
    lua_pushcfunction(L, error_handler_keeping);
    lua_insert(L, TIMED_HANDLER);
    return timed(L, lua_pcallk(L, nargs, LUA_MULTRET, TIMED_HANDLER, 0, timed), 0);
}

/* with_timeout(seconds, f, ...): the results of f, or nil, "timeout" */
static int with_timeout(lua_State *L)
{
    return with_timeout_on(L, false);
}

/* realtime.with_timeout(seconds, f, ...) */
static int with_timeout_real(lua_State *L)
{
    return with_timeout_on(L, true);
}

/* A deadline's __close and __gc: its coroutine was closed, cut or collected. */
static int leave(lua_State *L)
{
    deadline_leave(L, lua_touserdata(L, 1));
    return 0;
}

int bind_add_timeout(lua_State *L)
{
    object_check(L, 1, OBJECT_DEFERRED);
    check_seconds(L, 2);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "neap.time");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "add_timeout");
    lua_insert(L, 1);
    lua_pop(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static void open_classes(lua_State *L)
{
    static const luaL_Reg call_methods[] = {{"cancel", cancel},
                                            {"reset", reset},
                                            {"delay", delay},
                                            {"active", active},
                                            {NULL, NULL}};
    static const luaL_Reg call_meta[] = {
        {"__tostring", call_to_string}, {"__gc", call_gc}, {NULL, NULL}};
    static const struct object_property call_properties[] = {{"time", get_time, NULL},
                                                             {NULL, NULL, NULL}};
    static const luaL_Reg clock_methods[] = {{"advance", advance},
                                             {"now", clock_now_},
                                             {"call_later", clock_call_later},
                                             {NULL, NULL}};
    static const luaL_Reg clock_meta[] = {{"__gc", virtual_clock_gc}, {NULL, NULL}};
    object_class_new(L, OBJECT_CALL,
                     &(struct object_class){"delayed call", call_methods, call_meta,
                                            call_properties, false});
    static const luaL_Reg deadline_meta[] = {{"__close", leave}, {"__gc", leave}, {NULL, NULL}};
    object_class_new(L, OBJECT_DEADLINE,
                     &(struct object_class){.name = "deadline", .metamethods = deadline_meta});
    object_class_new(L, OBJECT_CLOCK,
                     &(struct object_class){"clock", clock_methods, clock_meta, NULL, false});
}

void bind_time(lua_State *L)
{
    static const luaL_Reg functions[] = {{"sleep", sleep_},
                                         {"now", now},
                                         {"scale", scale},
                                         {"call_later", call_later},
                                         {"clock", new_clock},
                                         {"use_clock", use_clock},
                                         {"with_timeout", with_timeout},
                                         {NULL, NULL}};
    static const luaL_Reg real[] = {{"sleep", sleep_real},
                                    {"now", now_real},
                                    {"with_timeout", with_timeout_real},
                                    {"call_later", call_later_real},
                                    {NULL, NULL}};
    open_classes(L);
    luaL_setfuncs(L, functions, 0);
    luaL_newlib(L, real);
    lua_setfield(L, -2, "realtime");
}
