#include "http/file.h"

#include "net/sigpipe.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <unistd.h>

#ifdef NEAP_STRESS
enum { PIECE = 1000, TURN = 5000 };
#else
enum { PIECE = 32768, TURN = 1 << 20 };
#endif

static ssize_t send_held(int to, int from, off_t *at, size_t n)
{
    struct held_sigpipe h;
    ssize_t sent;
    sigpipe_hold(&h);
    do
        sent = sendfile(to, from, at, n);
    while (sent < 0 && errno == EINTR);
    sigpipe_release(&h, sent == (ssize_t)n);
    return sent < 0 ? -errno : sent;
}

/* Through the output. */
static ssize_t copy(struct connection *c, const struct file_part *f, size_t n)
{
    char piece[PIECE];
    ssize_t got;
    do
        got = pread(f->fd, piece, n < PIECE ? n : PIECE, (off_t)f->at);
    while (got < 0 && errno == EINTR);
    if (got > 0)
        connection_piece(c, piece, (size_t)got);
    return got < 0 ? -ENODATA : got;
}

/* From the kernel's cache to the socket, when nothing else waits to be sent. */
static ssize_t pass(struct connection *c, const struct file_part *f, size_t n)
{
    off_t at = (off_t)f->at;
    if (buffer_length(&c->stream->output) > 0)
        return -EAGAIN;
    ssize_t sent = send_held(c->stream->fd, f->fd, &at, n);
    if (sent == -EINVAL) /* not from this kind of file */
        return copy(c, f, n);
    if (sent > 0)
        c->out_left -= (uint64_t)sent;
    if (sent == -EPIPE || sent == -ECONNRESET)
        connection_leave(c);
    return sent;
}

int connection_send_file(struct connection *c, struct file_part *f)
{
    size_t turn = TURN;
    while (f->left > 0 && c->out_left > 0) {
        int r = connection_flush(c);
        if (r < 0)
            return r;
        if (turn == 0)
            return 1;
        size_t n = f->left < turn ? (size_t)f->left : turn;
        n = n < c->out_left ? n : (size_t)c->out_left;
        ssize_t sent = c->stream->tls ? copy(c, f, n) : pass(c, f, n);
        if (sent <= 0)
            return sent == 0 ? -ENODATA : (int)sent;
        f->at += (uint64_t)sent;
        f->left -= (uint64_t)sent;
        turn -= (size_t)sent;
    }
    return 0;
}
