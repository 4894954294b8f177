/* The body of a request as it is framed on the wire: by its length, or in chunks. Strict, and
** byte by byte where it is not data, so that no cut into pieces changes the outcome. */
#ifndef HTTP_BODY_H
#define HTTP_BODY_H

#include "http/parser.h"

#include <sys/types.h>

struct body {
    uint8_t framing; /* enum framing */
    uint8_t state;
    bool done;       /* all of it has been read */
    uint64_t left;   /* bytes to come, of the body or of a chunk */
    uint64_t size;   /* bytes of data read so far */
    uint32_t line;   /* bytes of the chunk's or the trailer's line so far */
    uint32_t excess; /* bytes of chunk lines that data has not paid for */
    uint32_t trailer;
};

void body_begin(struct body *b, const struct head *head);

/* Reads on in the n bytes at p, up to the end of a piece of data or of the body. How many
** bytes it took (0 only if n is 0 or it is done), with *data at *length bytes of them, which
** may be none; -EBADMSG: it is malformed. */
ssize_t body_decode(struct body *b, const char *p, size_t n, const char **data, size_t *length);

#endif
