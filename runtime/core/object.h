/* The kinds of userdata that scripts see, and their metatables.
** Every object begins with a header that names its kind in this runtime: an address that
** no other userdata holds. Telling a kind is on the path of every call, and this is three
** times faster than comparing metatables. */
#ifndef CORE_OBJECT_H
#define CORE_OBJECT_H

#include "lauxlib.h"
#include "lua.h"

#include <stdbool.h>

enum object_kind {
    OBJECT_TASKLET,
    OBJECT_SIDE, /* a tasklet's side block */
    OBJECT_CHANNEL,
    OBJECT_DEFERRED,
    OBJECT_WAITERS,   /* tasklets that wait at one place of a deferred's chain */
    OBJECT_UNHANDLED, /* a failure that nobody has taken yet */
    OBJECT_SELECT,
    OBJECT_CLOCK,
    OBJECT_CALL,
    OBJECT_DEADLINE,
    OBJECT_STREAM,
    OBJECT_LISTENER,
    OBJECT_UDP,
    OBJECT_TRANSPORT,
    OBJECT_RELAY,
    OBJECT_PROCESS,
    OBJECT_HTTP_SERVER,
    OBJECT_HTTP_CONNECTION,
    OBJECT_HTTP_REQUEST,
    OBJECT_HTTP_WRITER,
    OBJECT_HTTP_FIELDS, /* a request's headers, or its arguments */
    OBJECT_HTTP_FILE,
    OBJECT_REF,    /* an engine's object (embed/ref.c) */
    OBJECT_ANSWER, /* what a host answers later (embed/answer.c) */
    OBJECT_KINDS
};

struct select_source;

/* What a runtime knows of a kind. */
struct object_kind_data {
    const struct select_source *source; /* of cases of a select; NULL: it is none, or known */
    const struct object_property *properties; /* NULL: none */
    int ref;                                  /* registry: the metatable */
    unsigned lookups;                         /* on objects of a lasting kind */
};

/* The first member of every object's struct. */
struct object {
    const void *kind; /* &runtime.kinds[kind] */
};

/* A property of an object: pushes its value (get) or takes the value at index 3 (set). */
struct object_property {
    const char *name;
    void (*get)(lua_State *L, void *object);
    void (*set)(lua_State *L, void *object); /* NULL: read-only */
};

/* What a kind's metatable is made from. `properties` ends with a NULL name and must
** outlive the state. NULL members are left out. */
struct object_class {
    const char *name; /* as error messages say it */
    const luaL_Reg *methods, *metamethods;
    const struct object_property *properties;
    bool lasting; /* one is used again and again: it may get a metatable of its own */
};

/* Makes the metatable of a kind; once per runtime, before the first object. [E] */
void object_class_new(lua_State *L, enum object_kind kind, const struct object_class *c);

/* Pushes a new userdata of the kind with `size` bytes, all zero, and `values` user values. [E] */
void *object_new(lua_State *L, enum object_kind kind, size_t size, int values);

/* Pushes a list of the names of the properties of the value at i; nil: it has none. [E] */
void object_property_names(lua_State *L, int i);

/* Pushes the table of the methods of a kind, nil: it has none. */
void object_methods(lua_State *L, enum object_kind kind);

/* The same of the value at index i, which may be no object. */
void object_methods_of(lua_State *L, int i);

/* Raises the argument error of an object_check that failed (runtime.h). [E] */
void object_type_error(lua_State *L, int i, enum object_kind kind);

#endif
