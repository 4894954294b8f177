/* Plain values that cross threads: copied where they are handed in, pushed by the owner. */
#ifndef EMBED_VALUE_H
#define EMBED_VALUE_H

#include "embed/embed.h"

/* Bytes that a copy of n values takes behind its array. */
size_t value_bytes(const neap_value *v, int n);

/* Whether each value is of a known type. */
bool value_valid(const neap_value *v, int n);

/* Copies n values to `to`, and their texts to `text`. */
void value_copy(neap_value *to, char *text, const neap_value *v, int n);

/* Pushes one. [E] */
void value_push(lua_State *L, const neap_value *v);

/* Settles with the n values on the top of the main stack, taken off. */
int embed_settle(neap *N, neap_deferred d, bool ok, int n);

#endif
