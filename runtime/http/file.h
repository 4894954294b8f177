/* A file as the body of an answer: it goes from the kernel's cache to the socket without a copy
** in user space; through TLS piece by piece. */
#ifndef HTTP_FILE_H
#define HTTP_FILE_H

#include "http/connection.h"

struct file_part {
    int fd;            /* of a regular file; -1: closed */
    uint64_t at, left; /* the bytes that are still to be sent */
};

/* Sends what it can, at most a turn's worth. The answer's length has been announced, and is no
** less. 0: all is handed over, or in c->out; 1: there is more, let the others run; -EAGAIN: wait
** for room; -ENODATA: the file has become shorter; or what broke the stream, or the file. */
int connection_send_file(struct connection *c, struct file_part *f);

#endif
