/* What is left of a write: a string, or the pieces of one. */
#ifndef BIND_PIECES_H
#define BIND_PIECES_H

#include "lua.h"

#include <stddef.h>
#include <sys/uio.h>

/* A userdata. User value: what keeps large pieces alive; small ones lie behind it. */
struct gather {
    size_t bytes, at, count; /* that are left; the first piece that is left; of how many */
    struct iovec v[];
};

/* What is left to write: pieces, and their bytes together. */
struct left {
    const struct iovec *v;
    size_t count, bytes;
    struct iovec one;
};

/* Makes of the strings, numbers and nested tables of such at 2..top one string at index 2, or
** if there are large ones among them, a gather. [E] */
void net_gather_pieces(lua_State *L);

/* Fills *left, which is not to be moved, with what is left of the string, `sent` bytes of which
** have gone, or the gather at index i. */
void pieces_left(lua_State *L, int i, size_t sent, struct left *left);

/* So many bytes more have gone of the gather at index i; nothing of a string. */
void pieces_sent(lua_State *L, int i, size_t n);

#endif
