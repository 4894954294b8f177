/* Errors: the library's classes, failures (an error with its traceback), and the one
** place where an error that nobody handles is reported, once. */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

#include "lua.h"

struct runtime;
struct tasklet;

enum error_class {
    ERROR_TASKLET_EXIT, /* one unique value, not a class of many */
    ERROR_INTERRUPTED,
    ERROR_CANCELLED,
    ERROR_TIMEOUT,
    ERROR_ALREADY_CALLED,
    ERROR_CLOSED,
    ERROR_DEADLOCK,
    ERROR_FIRST,
    ERROR_QUEUE_OVERFLOW,
    ERROR_QUEUE_UNDERFLOW,
    ERROR_UNWINDING, /* a cancellation on its way out to what arranged it: see error_unwinds */
    ERROR_WORLD,     /* what neap.must makes of nil, err, code */
    ERROR_CLASSES
};

/* Makes the classes. [E] */
void error_open(lua_State *L);

/* The name of a class as scripts see it in the neap table. */
const char *error_name(enum error_class c);

/* Pushes a new error of the class (TaskletExit: the value itself). [E] */
void error_push(lua_State *L, enum error_class c, const char *text);

/* Raises it. [E] */
int error_raise(lua_State *L, enum error_class c, const char *text);

/* Whether the value at index i is of the class. */
int error_is(lua_State *L, int i, enum error_class c);

/* Whether the value at index i ends what lies around it too, so that neap.pcall lets it
** through: TaskletExit, Interrupted, and the private errors of a scope or a deadline. */
int error_unwinds(lua_State *L, int i);

/* A message handler: turns an error into a failure that carries the traceback from
** where it was raised. TaskletExit and failures pass as they are. */
int error_handler(lua_State *L);

/* The same in a tasklet, but the error stays as it is: `<close>` variables and Lua's load()
** hand it to the script. The failure is the tasklet's SIDE_RAISED, until failure_recall. */
int error_handler_keeping(lua_State *L);

/* What a message handler written in Lua calls for that: `level` frames are left out. */
int error_keep(lua_State *L, int level);

/* Replaces the error on the top by the failure that the handler above has made of it, if no
** later one has taken its place. [E] */
void failure_recall(lua_State *L);

/* The same for the error at index i and the tasklet at index self. [E] */
void failure_recall_of(lua_State *L, int self, int i);

/* Pushes a failure of the value at index i; trace may be NULL. A failure stays itself. [E] */
void failure_push(lua_State *L, int i, const char *trace);

/* Whether the value at index i is a failure. */
int failure_test(lua_State *L, int i);

/* Replaces a failure on the top by its value. [E] */
void failure_unwrap(lua_State *L);

/* Reports the error or failure on the top, which nobody handles, and pops it. It goes
** to the script's handler, else to the host, once. t: whose it is, or NULL; prefix: what
** the host is told before the message. [E] */
void error_report(lua_State *L, struct tasklet *t, const char *prefix);

/* The same without protection needed: for a text, when there may be no memory. */
void error_report_text(struct runtime *rt, struct tasklet *t, const char *message);

/* Warns about something that is no script's error. */
void error_log(struct runtime *rt, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
