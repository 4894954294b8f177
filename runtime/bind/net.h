/* What the network bindings share. */
#ifndef BIND_NET_H
#define BIND_NET_H

#include "bind/bind.h"
#include "net/stream.h"

/* Pushes nil, "what: text of the errno", "ENAME"; returns 3. what NULL: no prefix. */
int net_push_error(lua_State *L, const char *what, int error);

/* Pushes nil, "timeout", "ETIMEDOUT" or nil, "closed", "ECLOSED"; returns 3. */
int net_push_end(lua_State *L, enum wake why);

/* Pushes a stream without a socket: make it first, then stream_init it with a descriptor,
** which nothing can lose in between. */
struct stream *net_new_stream(lua_State *L);

/* Pushes a new { host =, port = } that reads host:port. */
void net_push_peer(lua_State *L, const struct address *a);

/* Raises unless the options table at index 3 names only known ones (a NULL-ended list). */
void net_check_options(lua_State *L, const char *const known[]);

/* What file:read and io.read do, on the stream at 1, with formats at 2..top; and a step of
** file:lines. [E] */
int net_read_file(lua_State *L, bool method);
int net_read_file_line(lua_State *L);

/* Makes the classes. */
void net_open_streams(lua_State *L);
void net_open_listeners(lua_State *L);

/* net.listen, net.connect */
int net_listen(lua_State *L);
int net_connect(lua_State *L);

#endif
