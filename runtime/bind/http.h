/* What the parts of the HTTP server share. */
#ifndef BIND_HTTP_H
#define BIND_HTTP_H

#include "bind/net.h"
#include "http/connection.h"
#include "http/file.h"

/* A request as its handler sees it: the head's bytes lie behind the struct and are looked
** at only when the handler asks. */
struct request {
    struct object object;
    struct connection *connection; /* NULL: it is over */
    bool left;                     /* it is, as the client has left */
    struct head head;
    char bytes[];
};

/* Its user values: the connection; a table of what was made of it, and what scripts set. */
enum { REQUEST_CONNECTION = 1, REQUEST_TABLE, REQUEST_VALUES = REQUEST_TABLE };

/* User values of a server and a connection. */
enum {
    SERVER_LISTENER = 1,
    SERVER_HANDLER,
    SERVER_SITE,
    SERVER_HOOK, /* the option on_request */
    SERVER_VALUES = SERVER_HOOK
};
enum { CONNECTION_STREAM = 1, CONNECTION_SERVER, CONNECTION_VALUES = CONNECTION_SERVER };

/* Pushes the request whose head c has read, and takes its bytes off the input. [E] */
void http_push_request(lua_State *L, struct connection *c, int connection);

/* The body of a connection's tasklet: server, handler, stream, connection. */
int http_serve_connection(lua_State *L);

/* Begins an answer with the fields of the table at index h (0: none). length: of the whole
** body, or UINT64_MAX: it is streamed. Raises for a bad field; nothing of it is then sent. [E] */
void http_begin_answer(lua_State *L, struct connection *c, int status, int h, uint64_t length);

/* The same where all fields are plain texts, and none is a length; false: they are not, and
** nothing was done. Never raises; needs two slots of the stack. */
bool http_begin_plain_answer(lua_State *L, struct connection *c, int status, int h,
                             uint64_t length);

/* After a wait on the stream's reader or writer. [E] */
enum wake http_input_came(lua_State *L, struct stream *s);
enum wake http_room_came(lua_State *L, struct stream *s);

/* Methods of a request. */
int http_body(lua_State *L);
int http_read_some(lua_State *L);
int http_respond(lua_State *L);
int http_upgrade(lua_State *L);

/* open_file(root, path): a file or folder of lua/neap/http/static.lua. */
int http_open_file(lua_State *L);

/* What is to be read of the file at index i; NULL: it is none. */
struct file_part *http_file_part(lua_State *L, int i);

void http_open_files(lua_State *L);
void http_open_requests(lua_State *L);
void http_open_answers(lua_State *L);

#endif
