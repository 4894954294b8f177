/* What the parts of a stream's binding share: stream.c, read.c, write.c.
**
** A read or a write may wait several times. Its state lies on its own frame: the stream,
** the arguments, then the moment at which it times out, then the results so far. The
** continuation's context says where it is. */
#ifndef BIND_STREAM_H
#define BIND_STREAM_H

#include "bind/net.h"

/* The stream at 1. [E] */
struct stream *net_check_stream(lua_State *L);

/* Whether a wait ended without being served, and how; raises what was thrown in. A turn that
** had just been given to this tasklet goes on to the next. [E] */
bool net_wait_ended(lua_State *L, struct turn *turn, enum wake *why);

/* The size at index i, or `fallback`; a negative one raises. [E] */
size_t net_size_argument(lua_State *L, int i, lua_Integer fallback);

/* Methods. */
int net_stream_read(lua_State *L);
int net_stream_read_some(lua_State *L);
int net_stream_read_until(lua_State *L);
int net_stream_lines(lua_State *L);
int net_stream_unread(lua_State *L);
int net_stream_write(lua_State *L);
int net_stream_flush(lua_State *L);

#endif
