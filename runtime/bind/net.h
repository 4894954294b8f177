/* What the network bindings share. */
#ifndef BIND_NET_H
#define BIND_NET_H

#include "bind/bind.h"
#include "net/stream.h"

/* Pushes nil, "what: text of the errno", "ENAME"; returns 3. what NULL: no prefix. */
int net_push_error(lua_State *L, const char *what, int error);

/* The same for a host that is no address in figures where no name is looked up. */
int net_push_no_address(lua_State *L, const char *what);

/* The same for what broke a stream, in TLS's words if it was that. */
int net_push_failure(lua_State *L, const struct stream *s, const char *what, int error);

/* Pushes nil, "timeout", "ETIMEDOUT" or nil, "closed", "ECLOSED"; returns 3. */
int net_push_end(lua_State *L, enum wake why);

/* Pushes a stream without a socket: make it first, then stream_init it with a descriptor,
** which nothing can lose in between. */
struct stream *net_new_stream(lua_State *L);

/* Pushes a new { host =, port = } that reads host:port, or the { path = } of a unix socket. */
void net_push_peer(lua_State *L, const struct address *a);

/* Pushes host, port, or the path of a unix socket; how many. */
int net_push_address(lua_State *L, const struct address *a);

/* Raises unless the options table at index i names only known ones (a NULL-ended list). */
void net_check_options(lua_State *L, int i, const char *const known[]);

/* Raises that an option is wrong, and what it has to be. */
int net_bad_option(lua_State *L, const char *name, const char *why);

/* The whole number that the options at index i name, or `fallback`; i may hold nil. [E] */
lua_Integer net_integer_option(lua_State *L, int i, const char *name, lua_Integer least,
                               lua_Integer most, lua_Integer fallback);

/* The timeout that the options at index i name, or `fallback`; i may hold nil. */
double net_timeout_option(lua_State *L, int i, double fallback);

/* Pushes the moment at which what begins now times out, after so many seconds. */
void net_push_deadline(lua_State *L, double timeout);

/* Seconds left until the moment at index i. */
double net_time_left(lua_State *L, int i);

/* The longest line that the options at index i allow their streams; i may hold nil. [E] */
size_t net_max_line_option(lua_State *L, int i);

/* The address at index i of a socket to be bound: a host in figures, or { host =, port = }.
** False if it is none. */
bool net_bind_address(lua_State *L, int i, struct address *a);

/* Whether the running tasklet has done so much in a row, with the kernel always ready, that
** it is to give way: then call net_give_way last. */
bool net_must_give_way(lua_State *L);
int net_give_way(lua_State *L, lua_KContext ctx, lua_KFunction k);

/* Makes one string of the strings, numbers and tables of such at 2..top, at index 2. */
void net_join_pieces(lua_State *L);

/* setoption(name, value) of the socket at 1. */
int net_set_option(lua_State *L, int fd);

/* What file:read and io.read do, on the stream at 1, with formats at 2..top; and a step of
** file:lines. [E] */
int net_read_file(lua_State *L, bool method);
int net_read_file_line(lua_State *L);

/* net_lookup(name, family, servers, timeout), a Lua function: family 0, 4 or 6; servers from
** net_push_servers_option. A list of addresses, or nil, text, code. It may wait. */
int net_lookup(lua_State *L);

/* Whether the text at index i is an address in figures, or localhost: no wait. */
bool net_is_known(lua_State *L, int i);

bool net_is_localhost(const char *name);

/* Pushes the part neap.names, which lives as long as that value, or NULL with why it is
** missing. [E] */
struct part_names;
const struct part_names *net_names(lua_State *L);

/* Pushes nil, "what: text", code of a lookup that has failed; returns 3. */
int net_push_lookup_error(lua_State *L, const char *what, const char *text, const char *code);

/* The options `family`, 0: none, and `servers`, pushed, of the table at index i, which may be
** nil. */
lua_Integer net_family_option(lua_State *L, int i);
void net_push_servers_option(lua_State *L, int i);

/* TLS, bind/tls.c. An operation on the stream at 1 asks net_must_shake first and, if so,
** returns net_shake_first, which calls it again after the handshake, or gives (raises) why there
** was none. */
bool net_must_shake(const struct stream *s);
int net_shake_first(lua_State *L, lua_CFunction op, bool raises);
int net_starttls(lua_State *L);
int net_inside_must_shake(lua_State *L);
int net_tls_state(lua_State *L);
int net_set_tls(lua_State *L);

/* A stream that the listener at 1 has just accepted. */
struct listener;
void net_accept_tls(lua_State *L, struct listener *l, struct stream *s);

/* User values of a listener: tasklet -> stream of the handlers that run; what their
** tasklets tell their end to; the context of its TLS, while listener.tls is set. */
enum { LISTENER_HANDLERS = 1, LISTENER_ENDED, LISTENER_TLS, LISTENER_VALUES = LISTENER_TLS };

/* Makes the classes. */
void net_open_streams(lua_State *L);
void net_open_listeners(lua_State *L);
void net_open_udp(lua_State *L);
void net_open_transports(lua_State *L);
void net_open_relays(lua_State *L);

/* Functions of neap.net. */
int net_listen(lua_State *L);
int net_listen_unix(lua_State *L);
int net_connect(lua_State *L);
int net_connect_unix(lua_State *L);
int net_pair(lua_State *L);
int net_udp(lua_State *L);
int net_resolve(lua_State *L);
int net_listener_protocol(lua_State *L);

/* Ends the protocols of a listener, whose streams close in their next turn; how many there are. */
size_t net_abort_protocols(struct listener *l);

/* What lua/neap/protocols.lua and relay.lua need: fields of neap.inside. net_accept_counted is as
** accept, but waits while as many handlers run as may, one of which the client then is. */
int net_accept_counted(lua_State *L);
int net_new_transport(lua_State *L);
int net_new_relay(lua_State *L);
int net_copy(lua_State *L);

/* The same, with the option `tls`. */
int net_listen_any(lua_State *L);
int net_listen_unix_any(lua_State *L);
int net_connect_any(lua_State *L);
int net_connect_unix_any(lua_State *L);

#endif
