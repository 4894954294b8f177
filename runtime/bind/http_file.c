/* Files as http.static serves them: opened beneath a root, which no name and no symbolic link
** leads out of. As the body of an answer one is sent by runtime/http/file.c; as a function it
** gives piece after piece. */
#define _GNU_SOURCE
#include "bind/http.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef NEAP_STRESS
enum { FILE_PIECE = 1000 };
#else
enum { FILE_PIECE = 65536 };
#endif

struct file {
    struct object object;
    struct file_part part; /* that is to be read next */
    DIR *entries;          /* has the descriptor, once the entries are read */
    struct stat stat;
};

static struct file *check(lua_State *L)
{
    return object_check(L, 1, OBJECT_HTTP_FILE);
}

struct file_part *http_file_part(lua_State *L, int i)
{
    struct file *f = object_test(L, i, OBJECT_HTTP_FILE);
    return f ? &f->part : NULL;
}

static int file_close(lua_State *L)
{
    struct file *f = check(L);
    if (f->entries)
        closedir(f->entries);
    else if (f->part.fd >= 0)
        close(f->part.fd);
    f->entries = NULL;
    f->part.fd = -1;
    return 0;
}

/* A descriptor, or -errno. Never waits for the other end of a pipe. */
static int open_beneath(const char *root, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    long fd;
    do /* EAGAIN: something on the way was being renamed */
        fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    int error = errno;
    close(dir);
    return fd < 0 ? -error : (int)fd;
}

/* open_file(root, path): the file or folder at the relative path beneath the root. */
int http_open_file(lua_State *L)
{
    size_t n;
    const char *root = luaL_checkstring(L, 1), *path = luaL_checklstring(L, 2, &n);
    struct file *f = object_new(L, OBJECT_HTTP_FILE, sizeof *f, 0);
    f->part.fd = strlen(path) < n ? -ENOENT : open_beneath(root, path);
    if (f->part.fd == -EMFILE || f->part.fd == -ENFILE) {
        lua_gc(L, LUA_GCCOLLECT, 0); /* files that were given up hold some */
        f->part.fd = open_beneath(root, path);
    }
    int error = f->part.fd < 0 ? -f->part.fd : fstat(f->part.fd, &f->stat) < 0 ? errno : 0;
    if (!error && !S_ISREG(f->stat.st_mode) && !S_ISDIR(f->stat.st_mode))
        error = EACCES;
    if (error)
        return net_push_error(L, path, error);
    f->part.left = S_ISREG(f->stat.st_mode) ? (uint64_t)f->stat.st_size : 0;
    return 1;
}

/* file:range(at, length): the file, of which these bytes are to be read next */
static int file_range(lua_State *L)
{
    struct file *f = check(L);
    lua_Integer at = luaL_checkinteger(L, 2), length = luaL_checkinteger(L, 3);
    luaL_argcheck(L, at >= 0, 2, "out of range");
    luaL_argcheck(L, length >= 0, 3, "out of range");
    f->part.at = (uint64_t)at;
    f->part.left = (uint64_t)length;
    lua_settop(L, 1);
    return 1;
}

/* file(): the next piece of what is to be read; nil: there is no more; nil, err, code: the
** file is not what it was. */
static int file_piece(lua_State *L)
{
    struct file *f = check(L);
    size_t n = f->part.left < FILE_PIECE ? (size_t)f->part.left : FILE_PIECE;
    luaL_Buffer b;
    if (n == 0)
        return 0;
    char *p = luaL_buffinitsize(L, &b, n);
    ssize_t got;
    do
        got = pread(f->part.fd, p, n, (off_t)f->part.at);
    while (got < 0 && errno == EINTR);
    int error = got < 0 ? errno : ENODATA;
    luaL_pushresultsize(&b, got > 0 ? (size_t)got : 0);
    if (got <= 0)
        return net_push_error(L, "read", error);
    f->part.at += (uint64_t)got;
    f->part.left -= (uint64_t)got;
    return 1;
}

/* file:entry(): of a folder's next entry the name, its size if it is a file, the time of its last
** change; nil: there are no more */
static int file_entry(lua_State *L)
{
    struct file *f = check(L);
    struct stat s;
    if (!f->entries && f->part.fd >= 0)
        f->entries = fdopendir(f->part.fd);
    struct dirent *e = f->entries ? readdir(f->entries) : NULL;
    if (!e)
        return 0;
    lua_pushstring(L, e->d_name);
    if (fstatat(f->part.fd, e->d_name, &s, AT_SYMLINK_NOFOLLOW) < 0)
        return 1;
    S_ISREG(s.st_mode) ? lua_pushinteger(L, (lua_Integer)s.st_size) : lua_pushnil(L);
    lua_pushinteger(L, (lua_Integer)s.st_mtime);
    lua_pushboolean(L, S_ISDIR(s.st_mode));
    return 4;
}

static void get_size(lua_State *L, void *file)
{
    lua_pushinteger(L, (lua_Integer)((struct file *)file)->stat.st_size);
}

static void get_folder(lua_State *L, void *file)
{
    lua_pushboolean(L, S_ISDIR(((struct file *)file)->stat.st_mode));
}

static void get_time(lua_State *L, void *file)
{
    lua_pushinteger(L, (lua_Integer)((struct file *)file)->stat.st_mtime);
}

/* A text that is another when the file's contents are. */
static void get_tag(lua_State *L, void *file)
{
    const struct stat *s = &((struct file *)file)->stat;
    char text[80];
    snprintf(text, sizeof text, "%llx-%lx-%llx", (unsigned long long)s->st_mtim.tv_sec,
             s->st_mtim.tv_nsec, (unsigned long long)s->st_size);
    lua_pushstring(L, text);
}

void http_open_files(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"range", file_range}, {"entry", file_entry}, {"close", file_close}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__call", file_piece}, {"__close", file_close}, {"__gc", file_close}, {NULL, NULL}};
    static const struct object_property properties[] = {{"size", get_size, NULL},
                                                        {"folder", get_folder, NULL},
                                                        {"time", get_time, NULL},
                                                        {"tag", get_tag, NULL},
                                                        {NULL, NULL, NULL}};
    object_class_new(L, OBJECT_HTTP_FILE,
                     &(struct object_class){"file", methods, meta, properties, false});
}
