#define _GNU_SOURCE
#include "http/parser.h"

#include <string.h>
#include <strings.h>

/* ---- what may stand where ---- */

enum {
    MARK = HEAD_HOST | HEAD_TOKEN | HEAD_LINE | HEAD_PLAIN,
    LETTER = MARK,
    DIGIT = MARK | HEAD_DIGIT | HEAD_HEX,
    IN_HOST = HEAD_HOST | HEAD_LINE | HEAD_PLAIN,
    IN_TARGET = HEAD_LINE | HEAD_PLAIN
};

const uint8_t head_classes[256] = {
    [' '] = HEAD_LINE,
    ['!'] = MARK,
    ['"'] = IN_TARGET,
    ['#'] = HEAD_HOST | HEAD_TOKEN | HEAD_LINE,
    ['$'] = MARK,
    ['%'] = HEAD_HOST | HEAD_TOKEN | HEAD_LINE,
    ['&'] = MARK,
    ['\''] = MARK,
    ['('] = IN_HOST,
    [')'] = IN_HOST,
    ['*'] = MARK,
    ['+'] = MARK,
    [','] = IN_TARGET,
    ['-'] = MARK,
    ['.'] = HEAD_HOST | HEAD_TOKEN | HEAD_LINE,
    ['/'] = IN_TARGET,
    ['0' ... '9'] = DIGIT,
    [':'] = IN_TARGET,
    [';'] = IN_HOST,
    ['<'] = IN_TARGET,
    ['='] = IN_HOST,
    ['>'] = IN_TARGET,
    ['?'] = HEAD_LINE,
    ['@'] = IN_TARGET,
    ['A' ... 'F'] = LETTER | HEAD_HEX,
    ['G' ... 'Z'] = LETTER,
    ['[' ... ']'] = IN_TARGET,
    ['^' ... '`'] = MARK,
    ['a' ... 'f'] = LETTER | HEAD_HEX,
    ['g' ... 'z'] = LETTER,
    ['{'] = IN_TARGET,
    ['|'] = MARK,
    ['}'] = IN_TARGET,
    ['~'] = MARK,
};

/* How many of the n bytes at p, from the first on, are of a class. */
static inline size_t span(const char *p, size_t n, enum head_class class)
{
    size_t i = 0;
    while (i < n && head_is(p[i], class))
        i++;
    return i;
}

static bool is_digit(char c)
{
    return head_is(c, HEAD_DIGIT);
}

static bool is_hex(char c)
{
    return head_is(c, HEAD_HEX);
}

/* host[:port], or nothing */
static bool host_is_good(const char *p, size_t n)
{
    size_t i = 0;
    if (n > 0 && *p == '[') {
        for (i = 1; i < n && (is_hex(p[i]) || p[i] == ':' || p[i] == '.'); i++)
            ;
        if (i < 3 || i == n || p[i++] != ']')
            return false;
    } else {
        i = span(p, n, HEAD_HOST);
    }
    if (i < n && p[i++] != ':')
        return false;
    return i + span(p + i, n - i, HEAD_DIGIT) == n;
}

/* Every %xx whole and none of them a NUL; no step above the root. */
static bool path_is_good(const char *p, size_t n)
{
    int depth = 0;
    for (size_t i = 0, begin = 0, dots = 0; i <= n; i++) {
        char c = i < n ? p[i] : '/';
        if (c == '%') {
            if (n - i < 3 || !is_hex(p[i + 1]) || !is_hex(p[i + 2]) ||
                memcmp(p + i, "%00", 3) == 0)
                return false;
            i += 2;
            c = strncasecmp(p + i - 1, "2f", 2) == 0   ? '/'
                : strncasecmp(p + i - 1, "2e", 2) == 0 ? '.'
                                                       : 'x';
        }
        if (c == '/') {
            depth += begin == 0 || (dots == begin && dots == 1) ? 0
                     : dots == begin && dots == 2               ? -1
                                                                : 1;
            begin = dots = 0;
            if (depth < 0)
                return false;
            continue;
        }
        begin++;
        dots += c == '.';
    }
    return true;
}

static bool query_is_good(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] == '%' && (n - i < 3 || !is_hex(p[i + 1]) || !is_hex(p[i + 2])))
            return false;
    return true;
}

/* ---- the request line ---- */

/* Looks at what has come of the first line: its length, 0: not all of it, or a status. */
static int find_line(struct head_parser *h, const char *p, size_t n)
{
    size_t end = n < HEAD_LINE_MAX ? n : HEAD_LINE_MAX;
    size_t i = h->looked + span(p + h->looked, end - h->looked, HEAD_LINE);
    h->looked = i;
    if (i == n || (i + 1 == n && p[i] == '\r' && i < HEAD_LINE_MAX))
        return 0;
    if (i == HEAD_LINE_MAX && (p[i] == '\r' || head_is(p[i], HEAD_LINE)))
        return -414;
    return p[i] == '\r' && p[i + 1] == '\n' ? (int)i + 2 : -400;
}

/* "HTTP/1.1" */
static int check_version(struct head *head, const char *p, size_t n)
{
    if (n != 8 || memcmp(p, "HTTP/", 5) != 0 || !is_digit(p[5]) || p[6] != '.' ||
        !is_digit(p[7]))
        return -400;
    if (p[5] != '1' || p[7] > '1')
        return -505;
    head->minor = (uint8_t)(p[7] - '0');
    return 0;
}

/* http://host/path */
static int check_absolute(struct head *head, const char *p)
{
    const char *t = p + head->target_at, *end = t + head->target_length;
    const char *host = NULL;
    if (end - t > 7 && strncasecmp(t, "http://", 7) == 0)
        host = t + 7;
    else if (end - t > 8 && strncasecmp(t, "https://", 8) == 0)
        host = t + 8;
    if (!host)
        return -400;
    const char *path = host;
    while (path < end && *path != '/' && *path != '?')
        path++;
    if (path == host || !host_is_good(host, (size_t)(path - host)))
        return -400;
    head->host_at = (uint16_t)(host - p);
    head->host_length = (uint16_t)(path - host);
    head->path_at = (uint16_t)(path - p);
    return 0;
}

static int check_target(struct head *head, const char *p)
{
    const char *t = p + head->target_at;
    size_t n = head->target_length;
    if (head->method_length == 7 && memcmp(p, "CONNECT", 7) == 0)
        return -501;
    head->path_at = head->target_at;
    head->path_length = head->target_length;
    if (*t == '/' && span(t, n, HEAD_PLAIN) == n)
        return 0;
    if (n == 1 && *t == '*') {
        return head->method_length == 7 && memcmp(p, "OPTIONS", 7) == 0 ? 0 : -400;
    }
    if (memchr(t, '#', n) || (*t != '/' && check_absolute(head, p) < 0))
        return -400;
    n -= (size_t)(head->path_at - head->target_at);
    t = p + head->path_at;
    const char *query = memchr(t, '?', n);
    head->path_length = (uint16_t)(query ? (size_t)(query - t) : n);
    if (query && !query_is_good(query, n - head->path_length))
        return -400;
    return path_is_good(t, head->path_length) ? 0 : -400;
}

/* The first line, of n bytes with its CR LF. */
static int check_line(struct head *head, const char *p, size_t n)
{
    const char *space = memchr(p, ' ', n);
    if (!space || space == p)
        return -400;
    if (p + span(p, (size_t)(space - p), HEAD_TOKEN) != space)
        return -400;
    const char *target = space + 1, *end = p + n - 2;
    const char *second = memchr(target, ' ', (size_t)(end - target));
    if (!second || second == target)
        return -400;
    int r = check_version(head, second + 1, (size_t)(end - second - 1));
    if (r < 0)
        return r;
    head->method_length = (uint16_t)(space - p);
    head->is_head = head->method_length == 4 && memcmp(p, "HEAD", 4) == 0;
    head->target_at = (uint16_t)(target - p);
    head->target_length = (uint16_t)(second - target);
    head->fields_at = (uint16_t)n;
    return check_target(head, p);
}

/* ---- the fields ---- */

struct field {
    const char *name, *value;
    size_t name_length, value_length;
};

/* What the fields together say. */
struct said {
    bool host, length, coded;
    bool close, keep, upgrade, protocol;
};

static bool field_is(const struct field *f, const char *name, size_t n)
{
    return f->name_length == n && strncasecmp(f->name, name, n) == 0;
}

#define FIELD_IS(f, name) field_is(f, name, sizeof(name) - 1)

static bool value_is(const struct field *f, const char *text)
{
    return f->value_length == strlen(text) && strncasecmp(f->value, text, f->value_length) == 0;
}

static int take_host(struct head *head, struct said *said, const struct field *f, const char *p)
{
    if (said->host || !host_is_good(f->value, f->value_length))
        return -400;
    said->host = true;
    if (head->host_length == 0) {
        head->host_at = (uint16_t)(f->value - p);
        head->host_length = (uint16_t)f->value_length;
    }
    return 0;
}

static int take_length(struct head *head, struct said *said, const struct field *f)
{
    uint64_t n = 0;
    if (said->length || f->value_length == 0 || f->value_length > 18)
        return -400;
    said->length = true;
    for (size_t i = 0; i < f->value_length; i++) {
        if (!is_digit(f->value[i]))
            return -400;
        n = n * 10 + (uint64_t)(f->value[i] - '0');
    }
    head->content_length = n;
    return 0;
}

static int take_coding(struct head *head, struct said *said, const struct field *f)
{
    if (said->coded || head->minor == 0)
        return -400;
    said->coded = true;
    if (f->value[f->value_length + strspn(f->value + f->value_length, " ")] != '\r')
        return -400; /* a tab behind it is part of it for some */
    if (value_is(f, "chunked"))
        return 0;
    bool last = f->value_length > 7 &&
                strncasecmp(f->value + f->value_length - 7, "chunked", 7) == 0 &&
                strchr(", \t", f->value[f->value_length - 8]);
    return last ? -501 : -400;
}

static void take_connection(struct said *said, const struct field *f)
{
    const char *p = f->value, *end = p + f->value_length;
    while (p < end) {
        while (p < end && (*p == ' ' || *p == '\t' || *p == ','))
            p++;
        const char *word = p;
        while (p < end && *p != ',' && *p != ' ' && *p != '\t')
            p++;
        struct field token = {.value = word, .value_length = (size_t)(p - word)};
        said->close |= value_is(&token, "close");
        said->keep |= value_is(&token, "keep-alive");
        said->upgrade |= value_is(&token, "upgrade");
    }
}

static int take_expect(struct head *head, const struct field *f)
{
    head->expects = true;
    return value_is(f, "100-continue") ? 0 : -417;
}

static int take_field(struct head *head, struct said *said, const struct field *f,
                      const char *p)
{
    switch (*f->name | 32) { /* most of a browser's fields are none of these */
    case 'h':
        return FIELD_IS(f, "host") ? take_host(head, said, f, p) : 0;
    case 't':
        return FIELD_IS(f, "transfer-encoding") ? take_coding(head, said, f) : 0;
    case 'c':
        if (FIELD_IS(f, "content-length"))
            return take_length(head, said, f);
        if (FIELD_IS(f, "connection"))
            take_connection(said, f);
        return 0;
    case 'u':
        said->protocol |= FIELD_IS(f, "upgrade");
        return 0;
    case 'e':
        return FIELD_IS(f, "expect") && head->minor > 0 ? take_expect(head, f) : 0;
    default:
        return 0;
    }
}

/* The line of n bytes at p, without its CR LF. */
static int cut_field(struct field *f, const char *p, size_t n)
{
    size_t name = span(p, n, HEAD_TOKEN);
    if (name == 0 || name == n || p[name] != ':')
        return -400;
    *f = (struct field){p, p + name + 1, name, n - name - 1};
    while (f->value_length > 0 && (*f->value == ' ' || *f->value == '\t'))
        f->value++, f->value_length--;
    while (f->value_length > 0 &&
           (f->value[f->value_length - 1] == ' ' || f->value[f->value_length - 1] == '\t'))
        f->value_length--;
    return 0;
}

/* All fields of a complete head: no bare CR, LF or NUL, no folding, one of each that matters. */
static int take_fields(struct head *head, struct said *said, const char *p, size_t most)
{
    const char *at = p + head->fields_at, *end = p + head->length - 2;
    if (head->length < head->fields_at + 2 || memcmp(end, "\r\n", 2) != 0)
        return -400;
    if (memchr(at, '\0', (size_t)(end - at)))
        return -400;
    for (size_t count = 0; at < end; count++) {
        const char *cr = memchr(at, '\r', (size_t)(end - at));
        struct field f;
        if (!cr || cr[1] != '\n' || memchr(at, '\n', (size_t)(cr - at)))
            return -400;
        if (count == most)
            return -431;
        int r = cut_field(&f, at, (size_t)(cr - at));
        if (r == 0)
            r = take_field(head, said, &f, p);
        if (r < 0)
            return r;
        at = cr + 2;
    }
    return 0;
}

static int conclude(struct head *head, const struct said *said)
{
    if ((said->length && said->coded) || (!said->host && head->minor > 0))
        return -400;
    if (said->coded)
        head->framing = BODY_CHUNKED;
    else
        head->framing = head->content_length > 0 ? BODY_LENGTH : BODY_NONE;
    head->expects = head->expects && head->framing != BODY_NONE;
    head->keep = !said->close && (head->minor > 0 || said->keep);
    head->upgrades = said->upgrade && said->protocol && head->minor > 0;
    return 1;
}

/* ---- llhttp ---- */

#ifdef NEAP_LLHTTP_SSE42
int llhttp_execute_sse42(llhttp_t *l, const char *p, const char *end);

/* As llhttp_execute: the values of fields, most of a browser's head, are passed over in
** steps of sixteen bytes. */
static enum llhttp_errno execute(llhttp_t *l, const char *p, size_t n)
{
    return __builtin_cpu_supports("sse4.2")
               ? (enum llhttp_errno)llhttp_execute_sse42(l, p, p + n)
               : llhttp_execute(l, p, n);
}
#else
#define execute llhttp_execute
#endif

static int on_headers_complete(llhttp_t *l)
{
    (void)l;
    return HPE_PAUSED;
}

void head_parser_reset(struct head_parser *h)
{
    static const llhttp_settings_t settings = {.on_headers_complete = on_headers_complete};
    llhttp_init(&h->llhttp, HTTP_REQUEST, &settings);
    h->looked = h->fed = 0;
    h->line = 0;
}

static int refusal(const struct head_parser *h)
{
    switch (llhttp_get_errno(&h->llhttp)) {
    case HPE_INVALID_METHOD: /* the line is well formed */
    case HPE_INVALID_CONSTANT:
        return h->fed < h->line ? -501 : -400;
    default:
        return -400;
    }
}

int head_parse(struct head_parser *h, struct head *head, const char *p, size_t n,
               const struct head_limits *limits)
{
    if (h->line == 0) {
        *head = (struct head){0};
        int r = find_line(h, p, n);
        if (r > 0) {
            h->line = (uint16_t)r;
            r = check_line(head, p, (size_t)r);
        }
        if (r < 0 || h->line == 0)
            return r;
    }
    size_t most = n < limits->bytes ? n : limits->bytes;
    if (h->fed < most) {
        enum llhttp_errno e = execute(&h->llhttp, p + h->fed, most - h->fed);
        if (e == HPE_PAUSED) {
            struct said said = {0};
            head->length = (uint16_t)(llhttp_get_error_pos(&h->llhttp) - p);
            int r = take_fields(head, &said, p, limits->fields);
            return r < 0 ? r : conclude(head, &said);
        }
        if (e != HPE_OK)
            return refusal(h);
        h->fed = most;
    }
    return n > limits->bytes ? -431 : 0;
}
