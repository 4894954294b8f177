/* Certificates and keys, from files and from PEM text. */
#define _GNU_SOURCE
#include "net/tls_openssl.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/stat.h>

enum { FILE_MOST = 16 * 1024 * 1024 };

bool tls_complain(struct problem *p, const char *code, const char *what, const char *why)
{
    p->code = code;
    snprintf(p->text, sizeof p->text, "tls: %s: %s", what, why);
    return false;
}

/* What OpenSSL says of the last failure. */
static const char *last_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    return reason ? reason : "unusable";
}

bool tls_is_pem(const char *text)
{
    return strstr(text, "-----BEGIN ") != NULL;
}

/* How messages name a path or PEM text. */
static const char *title(const char *text)
{
    return tls_is_pem(text) ? "PEM text" : text;
}

/* Adds all of a file, unless it is too large: 0 or an errno. */
static int read_all(FILE *f, BIO *b)
{
    char piece[4096];
    size_t n, total = 0;
    while ((n = fread(piece, 1, sizeof piece, f)) > 0) {
        total += n;
        if (total > FILE_MOST)
            return EFBIG;
        if (BIO_write(b, piece, (int)n) != (int)n)
            return ENOMEM;
    }
    return ferror(f) ? errno : 0;
}

/* A file, in memory. NULL with errno. */
static BIO *open_file(const char *path)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return NULL;
    BIO *b = BIO_new(BIO_s_mem());
    int error = b ? read_all(f, b) : ENOMEM;
    fclose(f);
    if (error) {
        BIO_free(b);
        errno = error;
        return NULL;
    }
    BIO_set_mem_eof_return(b, 0);
    return b;
}

/* Whether nothing follows the last block. Text in front of a block is common; behind the last
** one it is a sign that something is broken. */
static bool ends_with_block(BIO *b)
{
    static const char mark[] = "-----END ", next[] = "-----BEGIN ";
    char *p;
    size_t n = (size_t)BIO_get_mem_data(b, &p);
    const char *end = p + n, *last = NULL;
    for (const char *at = p;
         n > 0 && (at = memmem(at, (size_t)(end - at), mark, sizeof mark - 1)); at++)
        last = at;
    if (last) /* else its reader has more to say */
        last = memchr(last, '\n', (size_t)(end - last));
    while (last && last < end && isspace((unsigned char)*last))
        last++;
    return !last || last == end || memmem(last, (size_t)(end - last), next, sizeof next - 1);
}

static BIO *open_pem(const char *text, struct problem *p)
{
    ERR_clear_error();
    errno = ENOMEM;
    BIO *b = tls_is_pem(text) ? BIO_new_mem_buf(text, -1) : open_file(text);
    if (!b) {
        tls_complain(p, strerrorname_np(errno), title(text), strerror(errno));
        return NULL;
    }
    if (ends_with_block(b))
        return b;
    tls_complain(p, "EINVAL", title(text), "text after the last block");
    BIO_free(b);
    return NULL;
}

/* Nobody is asked for a passphrase. */
static int no_passphrase(char *buffer, int size, int writing, void *ud)
{
    (void)buffer, (void)size, (void)writing, (void)ud;
    return -1;
}

static bool at_end_of_pem(void)
{
    unsigned long e = ERR_peek_last_error();
    return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

/* The certificate, then those that lead from it to an authority. */
static bool use_chain(SSL_CTX *ctx, BIO *b)
{
    X509 *x = PEM_read_bio_X509_AUX(b, NULL, no_passphrase, NULL);
    bool ok = x && SSL_CTX_use_certificate(ctx, x) == 1;
    X509_free(x);
    while (ok && (x = PEM_read_bio_X509(b, NULL, no_passphrase, NULL))) {
        ok = SSL_CTX_add0_chain_cert(ctx, x) == 1;
        if (!ok)
            X509_free(x);
    }
    return ok && at_end_of_pem();
}

static bool use_key(SSL_CTX *ctx, BIO *b)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(b, NULL, no_passphrase, NULL);
    bool ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1;
    EVP_PKEY_free(key);
    return ok;
}

bool tls_load_identity(SSL_CTX *ctx, const char *cert, const char *key, struct problem *p)
{
    BIO *b = open_pem(cert, p);
    if (!b)
        return false;
    bool ok = use_chain(ctx, b);
    if (!ok)
        tls_complain(p, "EINVAL", title(cert), last_reason());
    BIO_free(b);
    if (!ok)
        return false;
    if (!key)
        key = cert;
    if (!(b = open_pem(key, p)))
        return false;
    ok = use_key(ctx, b) && SSL_CTX_check_private_key(ctx) == 1;
    if (!ok)
        tls_complain(p, "EINVAL", title(key), last_reason());
    BIO_free(b);
    return ok;
}

static bool add_authorities(SSL_CTX *ctx, BIO *b, bool server)
{
    X509 *x;
    int n = 0;
    bool ok = true;
    while (ok && (x = PEM_read_bio_X509_AUX(b, NULL, no_passphrase, NULL))) {
        n++;
        ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x) == 1 &&
             (!server || SSL_CTX_add_client_CA(ctx, x) == 1);
        X509_free(x);
    }
    return ok && n > 0 && at_end_of_pem();
}

bool tls_load_authorities(SSL_CTX *ctx, const char *ca, bool server, struct problem *p)
{
    struct stat st;
    if (!tls_is_pem(ca) && stat(ca, &st) == 0 && S_ISDIR(st.st_mode))
        return SSL_CTX_load_verify_dir(ctx, ca) == 1 ||
               tls_complain(p, "EINVAL", ca, last_reason());
    BIO *b = open_pem(ca, p);
    if (!b)
        return false;
    bool ok = add_authorities(ctx, b, server);
    if (!ok)
        tls_complain(p, "EINVAL", title(ca), last_reason());
    BIO_free(b);
    return ok;
}

void tls_load_system_trust(SSL_CTX *ctx, const struct sources *s)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509_STORE_load_file(store, s->trusted_file);
    X509_STORE_load_path(store, s->trusted_dir);
    ERR_clear_error();
}
