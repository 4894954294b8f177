#include "host/wide.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { RAW_BYTE = 0xDC00 };

size_t wide_decode(const unsigned char *s, size_t n, wchar_t *c)
{
    size_t length = *s < 0x80   ? 1
                    : *s < 0xC2 ? 0
                    : *s < 0xE0 ? 2
                    : *s < 0xF0 ? 3
                    : *s < 0xF5 ? 4
                                : 0;
    uint32_t code = length > 1 ? *s & (0x7FU >> length) : *s;
    for (size_t i = 1; i < length; i++) {
        if (i == n)
            return 0;
        if ((s[i] & 0xC0) != 0x80)
            length = 0;
        code = code << 6 | (s[i] & 0x3F);
    }
    bool bad = length == 0 ||
               (length == 3 && (code < 0x800 || (code >= 0xD800 && code < 0xE000))) ||
               (length == 4 && (code < 0x10000 || code > 0x10FFFF));
    *c = bad ? RAW_BYTE + *s : (wchar_t)code;
    return bad ? 1 : length;
}

size_t wide_encode(wchar_t c, char *to)
{
    uint32_t u = (uint32_t)c;
    if (u >= RAW_BYTE + 0x80 && u < RAW_BYTE + 0x100)
        return to[0] = (char)(u - RAW_BYTE), 1;
    if (u < 0x80)
        return to[0] = (char)u, 1;
    size_t n = u < 0x800 ? 2 : u < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, u >>= 6)
        to[i] = (char)(0x80 | (u & 0x3F));
    to[0] = (char)((0xF00U >> n & 0xFF) | u);
    return n;
}

wchar_t *wide_new(const char *s, size_t n)
{
    wchar_t *text = malloc((n + 1) * sizeof *text), *to = text;
    for (size_t at = 0, used; text && at < n; at += used) {
        used = wide_decode((const unsigned char *)s + at, n - at, to);
        if (used == 0) {
            *to = RAW_BYTE + (unsigned char)s[at];
            used = 1;
        }
        if (*to < ' ' || *to == 0x7F)
            *to = ' ';
        to++;
    }
    if (text)
        *to = L'\0';
    return text;
}
