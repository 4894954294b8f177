/* The bindings: each opener adds its part to the neap table on the top of the stack. */
#ifndef BIND_BIND_H
#define BIND_BIND_H

#include "core/runtime.h"
#include "lauxlib.h"
#include "lualib.h"

/* Opens the neap library: its table is left on the top, the standard functions that must know
** of tasklets are replaced. In a state of our own the globals are set, and print and os.exit
** are replaced too. The standard libraries must be open. */
void bind_open(lua_State *L);

void bind_errors(lua_State *L);
void bind_tasklets(lua_State *L);
void bind_scheduler(lua_State *L);
void bind_channels(lua_State *L);
void bind_deferreds(lua_State *L);
void bind_time(lua_State *L);
void bind_host(lua_State *L);
void bind_wait_fd(lua_State *L);

extern const struct object_property bind_tasklet_properties[];

/* What neap.host, on the top, tells of the end and does at it. */
void bind_ending(lua_State *L);
int bind_deadlock(lua_State *L);
int bind_blocked(lua_State *L);
int bind_finish(lua_State *L);

/* neap.main, where neap is a module. */
int bind_main(lua_State *L);

/* Replace functions of the standard libraries. */
void bind_coroutines(lua_State *L);
void bind_output(lua_State *L);
void bind_exit(lua_State *L);
void bind_require(lua_State *L);

/* Optional parts: package.preload. */
void bind_parts(lua_State *L);

/* Whether it is what loads an optional part. */
bool bind_is_part(lua_CFunction loader);

/* d:add_timeout(seconds[, on_timeout]), written in Lua. */
int bind_add_timeout(lua_State *L);
/* throw(co, err): as resume, but err is raised at the yield in which co is suspended. */
int bind_throw(lua_State *L);

/* Modules of their own: package.preload. */
int bind_open_net(lua_State *L);
int bind_open_inside(lua_State *L);
int bind_open_signal(lua_State *L);
int bind_open_http(lua_State *L);

/* Whether a standard function that may wait here in Lua must block the thread instead, for
** the tasklet is inside C that calls back. Reactor code must not: it gets an error. */
bool bind_must_block(lua_State *L);

/* A standard descriptor is written to past the host's hook: what print has left comes first,
** and what the host has on its terminal makes room. */
void bind_make_room(lua_State *L);

/* Pushes neap.stdin and so on by its name; false, and nothing pushed: there is none. */
bool bind_push_standard(lua_State *L, const char *name);

/* neap.host.lend_stdio, neap.host.return_stdio */
int bind_lend_stdio(lua_State *L);
int bind_return_stdio(lua_State *L);

/* Raises the `nil, err, code` on the top as an error whose text is err, with .code. */
int bind_raise(lua_State *L);

/* Whether the value at i can be called; bind_check_callable raises if not. */
bool bind_callable(lua_State *L, int i);
void bind_check_callable(lua_State *L, int i);

#endif
