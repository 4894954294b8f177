/* UTF-8 as wide characters, in which a byte that is not UTF-8 stands for itself. */
#ifndef HOST_WIDE_H
#define HOST_WIDE_H

#include <stddef.h>
#include <wchar.h>

/* Decodes one; how many bytes it has, 0: its end is missing. */
size_t wide_decode(const unsigned char *s, size_t n, wchar_t *c);

/* Encodes one to at most 4 bytes; how many. */
size_t wide_encode(wchar_t c, char *to);

/* The characters of n bytes, as one block, or NULL. Control characters become spaces. */
wchar_t *wide_new(const char *s, size_t n);

#endif
