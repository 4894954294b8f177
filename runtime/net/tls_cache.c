/* Contexts that are kept for the next connection with the same options: to read certificates
** costs more than a handshake, and an SSL_CTX more memory than a connection. Only so many, the
** last used first; a file that has changed makes a new one. */
#include "net/tls_openssl.h"

#include <openssl/evp.h>
#include <sys/stat.h>

#define CLASS "neap.tls.cache"

enum { KEPT = 16 };

struct cache {
    int n, most; /* most: 0 when the runtime closes */
    struct entry {
        SSL_CTX *ctx;
        unsigned char digest[TLS_DIGEST];
    } entries[KEPT];
};

/* ---- what tells options apart ---- */

static bool add_bytes(EVP_MD_CTX *md, const void *p, size_t n)
{
    return EVP_DigestUpdate(md, &n, sizeof n) == 1 && EVP_DigestUpdate(md, p, n) == 1;
}

/* What is different when another file lies at the path, or the same with other contents. */
static bool add_file(EVP_MD_CTX *md, const char *path)
{
    struct stat st = {0};
    if (stat(path, &st) != 0)
        memset(&st, 0, sizeof st);
    const long long marks[] = {(long long)st.st_dev, (long long)st.st_ino, st.st_size,
                               st.st_mtim.tv_sec,    st.st_mtim.tv_nsec,   st.st_ctim.tv_sec,
                               st.st_ctim.tv_nsec,   (long long)st.st_mode};
    return add_bytes(md, path, strlen(path)) && add_bytes(md, marks, sizeof marks);
}

/* A path, PEM text, or NULL. */
static bool add_source(EVP_MD_CTX *md, const char *source)
{
    if (!source)
        return add_bytes(md, "", 0);
    return tls_is_pem(source) ? add_bytes(md, source, strlen(source)) : add_file(md, source);
}

static bool add_options(EVP_MD_CTX *md, const struct context *c, const struct sources *s)
{
    const int figures[] = {c->server, c->verify, c->min_version};
    return EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
           add_bytes(md, figures, sizeof figures) &&
           add_bytes(md, c->protocols ? c->protocols : (unsigned char *)"",
                     c->protocols_length) &&
           add_source(md, s->ca) && add_source(md, s->cert) && add_source(md, s->key) &&
           (s->ca || c->server ||
            (add_file(md, s->trusted_file) && add_file(md, s->trusted_dir))) &&
           EVP_DigestFinal_ex(md, (unsigned char *)c->digest, NULL) == 1;
}

bool tls_digest(struct context *c, const struct sources *s)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && add_options(md, c, s);
    EVP_MD_CTX_free(md);
    return ok;
}

/* ---- the cache, one in each runtime ---- */

static struct cache *cache_of(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, CLASS);
    lua_rawgeti(L, -1, 1);
    struct cache *c = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return c;
}

/* An entry becomes the first. */
static void move_to_front(struct cache *c, int i)
{
    struct entry e = c->entries[i];
    memmove(c->entries + 1, c->entries, (size_t)i * sizeof e);
    c->entries[0] = e;
}

SSL_CTX *tls_cache_find(lua_State *L, const unsigned char *digest)
{
    struct cache *c = cache_of(L);
    int i = 0;
    while (i < c->n && memcmp(c->entries[i].digest, digest, TLS_DIGEST) != 0)
        i++;
    if (i == c->n)
        return NULL;
    move_to_front(c, i);
    SSL_CTX_up_ref(c->entries[0].ctx);
    return c->entries[0].ctx;
}

void tls_cache_keep(lua_State *L, const unsigned char *digest, SSL_CTX *ctx)
{
    struct cache *c = cache_of(L);
    if (c->most == 0)
        return;
    if (c->n == c->most)
        SSL_CTX_free(c->entries[--c->n].ctx);
    struct entry *e = &c->entries[c->n];
    SSL_CTX_up_ref(ctx);
    e->ctx = ctx;
    memcpy(e->digest, digest, TLS_DIGEST);
    move_to_front(c, c->n++);
}

static int collect_cache(lua_State *L)
{
    struct cache *c = lua_touserdata(L, 1);
    c->most = 0;
    while (c->n > 0)
        SSL_CTX_free(c->entries[--c->n].ctx);
    return 0;
}

void tls_open_cache(lua_State *L)
{
    tls_new_class(L, CLASS, collect_cache);
    lua_getfield(L, LUA_REGISTRYINDEX, CLASS);
    struct cache *c = lua_newuserdatauv(L, sizeof *c, 0);
    c->n = 0;
    c->most = KEPT;
    luaL_setmetatable(L, CLASS);
    lua_rawseti(L, -2, 1);
    lua_pop(L, 1);
}
