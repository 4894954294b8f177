#include "http/body.h"

#include <errno.h>

enum {
    LINE_MAX_ = 1024,   /* of a chunk's size and extensions */
    EXCESS_MAX = 16384, /* of such lines, beyond what the data between them allows */
    TRAILER_MAX = 8192,
    EACH_FREE = 16, /* bytes of a line that no chunk is blamed for */
    SIZE_DIGITS = 15
};

enum {
    SIZE_FIRST,
    SIZE,
    EXT_FIRST, /* behind the ; of an extension: name[=value], the value perhaps in quotes */
    EXT_NAME,
    EXT_IS,
    EXT_VALUE,
    EXT_QUOTED,
    EXT_OVER,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    FIELD_FIRST,
    FIELD_NAME,
    FIELD_VALUE,
    FIELD_LF,
    END_LF
};

void body_begin(struct body *b, const struct head *head)
{
    *b = (struct body){.framing = head->framing,
                       .state = SIZE_FIRST,
                       .left = head->content_length,
                       .done = head->framing == BODY_NONE};
}

static int hex(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* The line of a chunk's size is over. */
static bool end_line(struct body *b)
{
    uint64_t allowed = EACH_FREE + 2 * b->left;
    b->excess += b->line;
    b->excess = b->excess > allowed ? b->excess - (uint32_t)allowed : 0;
    b->line = 0;
    b->state = b->left > 0 ? DATA : FIELD_FIRST;
    return b->excess <= EXCESS_MAX;
}

static bool in_size(struct body *b, char c)
{
    int digit = hex(c);
    if (digit >= 0 && b->line <= SIZE_DIGITS) {
        b->left = b->left * 16 + (uint64_t)digit;
        b->state = SIZE;
        return true;
    }
    if (b->state == SIZE_FIRST)
        return false;
    b->state = c == ';' ? EXT_FIRST : SIZE_LF;
    return c == ';' || c == '\r';
}

static bool is_text(char c)
{
    unsigned char u = (unsigned char)c;
    return u == '\t' || (u >= ' ' && u != 127);
}

/* What follows an extension: another one, or the end of the line. */
static bool end_extension(struct body *b, char c)
{
    b->state = c == ';' ? EXT_FIRST : SIZE_LF;
    return c == ';' || c == '\r';
}

/* In extensions. Nobody reads them, but two servers that cut them differently would not agree
** where the line ends. */
static bool in_extension(struct body *b, char c)
{
    switch (b->state) {
    case EXT_FIRST:
        b->state = EXT_NAME;
        return head_is(c, HEAD_TOKEN);
    case EXT_NAME:
        if (c == '=')
            b->state = EXT_IS;
        return c == '=' || head_is(c, HEAD_TOKEN) || end_extension(b, c);
    case EXT_IS:
        b->state = c == '"' ? EXT_QUOTED : EXT_VALUE;
        return c == '"' || head_is(c, HEAD_TOKEN);
    case EXT_VALUE:
        return head_is(c, HEAD_TOKEN) || end_extension(b, c);
    case EXT_QUOTED:
        b->state = c == '"' ? EXT_OVER : EXT_QUOTED;
        return is_text(c) && c != '\\'; /* an escaped quote is the end for some */
    default:
        return end_extension(b, c);
    }
}

/* A byte that is not data. False: it may not stand here. */
static bool step(struct body *b, char c)
{
    switch (b->state) {
    case SIZE_FIRST:
    case SIZE:
        b->line++;
        return in_size(b, c);
    case EXT_FIRST:
    case EXT_NAME:
    case EXT_IS:
    case EXT_VALUE:
    case EXT_QUOTED:
    case EXT_OVER:
        return ++b->line <= LINE_MAX_ && in_extension(b, c);
    case SIZE_LF:
        return c == '\n' && end_line(b);
    case DATA_CR:
        b->state = DATA_LF;
        return c == '\r';
    case DATA_LF:
        b->state = SIZE_FIRST;
        return c == '\n';
    case FIELD_FIRST:
        b->state = c == '\r' ? END_LF : FIELD_NAME;
        return c == '\r' || (++b->trailer <= TRAILER_MAX && head_is(c, HEAD_TOKEN));
    case FIELD_NAME:
        b->state = c == ':' ? FIELD_VALUE : FIELD_NAME;
        return ++b->trailer <= TRAILER_MAX && (c == ':' || head_is(c, HEAD_TOKEN));
    case FIELD_VALUE:
        b->state = c == '\r' ? FIELD_LF : FIELD_VALUE;
        return ++b->trailer <= TRAILER_MAX && (c == '\r' || is_text(c));
    case FIELD_LF:
        b->state = FIELD_FIRST;
        return c == '\n';
    default:
        b->done = c == '\n';
        return b->done;
    }
}

/* Takes data that is at hand. */
static size_t take(struct body *b, size_t n)
{
    if (n > b->left)
        n = (size_t)b->left;
    b->left -= n;
    b->size += n;
    return n;
}

ssize_t body_decode(struct body *b, const char *p, size_t n, const char **data, size_t *length)
{
    size_t i = 0;
    *data = p;
    *length = 0;
    if (b->done)
        return 0;
    if (b->framing == BODY_LENGTH) {
        *length = take(b, n);
        b->done = b->left == 0;
        return (ssize_t)*length;
    }
    while (i < n && !b->done && b->state != DATA)
        if (!step(b, p[i++]))
            return -EBADMSG;
    if (b->state == DATA && i < n) {
        *data = p + i;
        *length = take(b, n - i);
        i += *length;
        b->state = b->left == 0 ? DATA_CR : DATA;
    }
    return (ssize_t)i;
}
