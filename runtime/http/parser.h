/* The head of an HTTP/1 request. llhttp, with no lenient flag, reads it as it comes; the rules
** of our own refuse what two servers could read differently, and what we do not speak.
** The bytes stay where they are: a head is offsets into them. The outcome never depends on
** how the bytes were cut into pieces. */
#ifndef HTTP_PARSER_H
#define HTTP_PARSER_H

#include <llhttp.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HEAD_LINE_MAX = 8192, HEAD_MAX = 65535 };

enum framing { BODY_NONE, BODY_LENGTH, BODY_CHUNKED };

struct head {
    uint16_t length; /* with the blank line */
    uint16_t method_length;
    uint16_t target_at, target_length;
    uint16_t path_at, path_length; /* in an absolute target it begins later */
    uint16_t host_at, host_length; /* of the target, else of the field; 0: there is none */
    uint16_t fields_at;            /* the first field line */
    uint8_t minor;                 /* of the version 1.x */
    uint8_t framing;               /* enum framing */
    bool keep;                     /* the client may send another request */
    bool expects;                  /* a 100 before it sends the body */
    bool upgrades;                 /* it asks for another protocol */
    bool is_head;                  /* HEAD: the answer has no body */
    uint64_t content_length;
};

struct head_limits {
    size_t bytes, fields;
};

struct head_parser {
    llhttp_t llhttp;
    size_t looked; /* bytes of the first line that have been looked at */
    size_t fed;    /* bytes that llhttp has had */
    uint16_t line; /* length of the first line, 0: not complete */
};

/* Before the first byte of a request. */
void head_parser_reset(struct head_parser *h);

/* p: all n bytes of the request so far. 1: *head is complete; 0: more is needed; < 0: the
** negative status that it is to be refused with. */
int head_parse(struct head_parser *h, struct head *head, const char *p, size_t n,
               const struct head_limits *limits);

/* Where a byte may stand. */
enum head_class {
    HEAD_TOKEN = 1, /* in a method or a field's name */
    HEAD_HOST = 2,  /* in a host's name */
    HEAD_LINE = 4,  /* in the first line */
    HEAD_PLAIN = 8, /* in a target, and means nothing special there */
    HEAD_DIGIT = 16,
    HEAD_HEX = 32
};

extern const uint8_t head_classes[256];

static inline bool head_is(char c, enum head_class class)
{
    return head_classes[(unsigned char)c] & class;
}

#endif
