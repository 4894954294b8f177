/* Lua's files that block only the caller: standard input, io.popen, os.execute; and the
** standard descriptors as streams. Only where the host lends them: neap.host.lend_stdio.
**
** A handle of these is Lua's own kind of userdata, so that io.type and the stock methods
** take it. What a stock function cannot do without blocking is done on a stream: standard
** input's, or the one in a popened handle's user value. For all other files the stock
** function, kept as an upvalue, is called as if it stood there itself. */
#define _GNU_SOURCE
#include "bind/net.h"
#include "core/tasklet.h"
#include "system/process.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HANDLE_STREAM = 1, HANDLE_PROCESS, HANDLE_VALUES = HANDLE_PROCESS };

/* A process as a userdata that releases it. */
struct process_box {
    struct object object;
    struct process *process; /* NULL: none */
};

static const char *const stream_keys[] = {"neap.stdin", "neap.stdout", "neap.stderr"};

static int stock(lua_State *L)
{
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int push_errno(lua_State *L, int error)
{
    lua_pushnil(L);
    lua_pushstring(L, strerror(error));
    lua_pushinteger(L, error);
    return 3;
}

void bind_make_room(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    if (rt->on_write)
        rt->on_write(rt, "", 0);
    fflush(stdout);
}

bool bind_must_block(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    return rt->current && !rt->reactor_code && !wait_possible(L);
}

/* ---- the standard streams ---- */

/* A descriptor of our own for fd, and what it is. A pipe or terminal is opened anew, for to
** make it non-blocking would do so for all who share it. */
static int open_own(int fd, enum stream_kind *kind)
{
    struct stat st;
    char path[40];
    if (fstat(fd, &st) < 0)
        return -errno;
    bool tty = S_ISCHR(st.st_mode) && isatty(fd);
    *kind = S_ISSOCK(st.st_mode)          ? STREAM_SOCKET
            : tty || S_ISFIFO(st.st_mode) ? STREAM_PIPE
                                          : STREAM_FILE;
    if (*kind == STREAM_PIPE) {
        int mode = tty ? O_RDWR : fd == 0 ? O_RDONLY : O_WRONLY;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int own = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (own >= 0)
            return own;
        *kind = STREAM_SHARED;
    }
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return own < 0 ? -errno : own;
}

/* Pushes the stream of a standard descriptor; NULL, and nothing pushed, if it is closed. [E] */
static struct stream *push_standard(lua_State *L, int fd)
{
    enum stream_kind kind = STREAM_FILE;
    if (lua_getfield(L, LUA_REGISTRYINDEX, stream_keys[fd]) == LUA_TUSERDATA)
        return lua_touserdata(L, -1);
    lua_pop(L, 1);
    luaL_requiref(L, "neap.net", bind_open_net, 0);
    struct stream *s = net_new_stream(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, stream_keys[fd]);
    lua_remove(L, -2);
    int own = open_own(fd, &kind);
    if (own < 0) {
        lua_pop(L, 1);
        lua_pushnil(L);
        lua_setfield(L, LUA_REGISTRYINDEX, stream_keys[fd]);
        return NULL;
    }
    stream_init(s, s->rt, own);
    s->kind = (uint8_t)kind;
    s->standard = true;
    return s;
}

bool bind_push_standard(lua_State *L, const char *name)
{
    for (int fd = 0; fd < 3; fd++)
        if (strcmp(name, stream_keys[fd] + strlen("neap.")) == 0)
            return runtime_of(L)->lends_stdio && push_standard(L, fd);
    return false;
}

/* Gives back what was read ahead of the script, as far as that is possible. */
static void unread_stdin(lua_State *L)
{
    const char *p;
    lua_getfield(L, LUA_REGISTRYINDEX, stream_keys[0]);
    struct stream *s = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!s || s->closed || s->kind != STREAM_FILE)
        return;
    size_t n = stream_input(s, &p);
    if (n > 0 && lseek(0, -(off_t)n, SEEK_CUR) >= 0)
        stream_take(s, n);
}

/* ---- handles ---- */

static luaL_Stream *handle_at(lua_State *L, int i)
{
    return luaL_testudata(L, i, LUA_FILEHANDLE);
}

/* Pushes the stream of the handle at index i; NULL: it has none, and nothing is pushed. [E] */
static struct stream *push_stream(lua_State *L, int i)
{
    luaL_Stream *p = lua_touserdata(L, i);
    if (!p || lua_rawlen(L, i) != sizeof *p)
        return NULL;
    bool popened = lua_getiuservalue(L, i, HANDLE_STREAM) == LUA_TUSERDATA;
    if ((popened || p->f == stdin) && p->closef && handle_at(L, i)) {
        if (popened)
            return lua_touserdata(L, -1);
        lua_pop(L, 1);
        return push_standard(L, 0);
    }
    lua_pop(L, 1);
    return NULL;
}

/* Pushes the stream of io.input(), if it has one. */
static struct stream *push_input(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "_IO_input");
    struct stream *s = push_stream(L, lua_gettop(L));
    lua_remove(L, s ? -2 : -1);
    return s;
}

/* A prompt must be seen before what answers it is waited for. */
static void show_prompt(const struct stream *s)
{
    if (s->standard && s->kind != STREAM_FILE && isatty(s->fd))
        fflush(stdout);
}

static int io_read(lua_State *L)
{
    struct stream *s = push_input(L);
    if (!s)
        return stock(L);
    lua_insert(L, 1);
    show_prompt(s);
    return net_read_file(L, false);
}

static int file_read(lua_State *L)
{
    struct stream *s = lua_gettop(L) > 0 ? push_stream(L, 1) : NULL;
    if (!s)
        return stock(L);
    lua_replace(L, 1);
    show_prompt(s);
    return net_read_file(L, true);
}

/* The iterator of lines; upvalues: the stream, the handle, how many formats, they. */
static int next_line(lua_State *L)
{
    int n = (int)lua_tointeger(L, lua_upvalueindex(3));
    luaL_Stream *p = lua_touserdata(L, lua_upvalueindex(2));
    if (!p->closef)
        return luaL_error(L, "file is already closed");
    lua_settop(L, 0);
    luaL_checkstack(L, n + 8, "too many arguments");
    lua_pushvalue(L, lua_upvalueindex(1));
    for (int i = 1; i <= n; i++)
        lua_pushvalue(L, lua_upvalueindex(3 + i));
    show_prompt(lua_touserdata(L, 1));
    return net_read_file_line(L);
}

/* Pushes the iterator: the handle is at 1, formats at 2..top - 1, its stream on the top. */
static int push_lines(lua_State *L)
{
    enum { MAX_FORMATS = 250 };
    int n = lua_gettop(L) - 2;
    luaL_argcheck(L, n <= MAX_FORMATS, MAX_FORMATS + 2, "too many arguments");
    lua_insert(L, 1);
    if (n == 0)
        lua_pushliteral(L, "l");
    lua_pushinteger(L, n > 0 ? n : 1);
    lua_insert(L, 3);
    lua_pushcclosure(L, next_line, lua_gettop(L));
    return 1;
}

static int file_lines(lua_State *L)
{
    return lua_gettop(L) > 0 && push_stream(L, 1) ? push_lines(L) : stock(L);
}

static int io_lines(lua_State *L)
{
    if (!lua_isnoneornil(L, 1))
        return stock(L);
    int top = lua_gettop(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "_IO_input");
    if (!push_stream(L, lua_gettop(L))) {
        lua_settop(L, top);
        return stock(L);
    }
    if (top > 0) { /* the handle instead of nil */
        lua_pushvalue(L, top + 1);
        lua_replace(L, 1);
        lua_remove(L, top + 1);
    }
    return push_lines(L);
}

static int file_seek(lua_State *L)
{
    luaL_Stream *p = handle_at(L, 1);
    if (p && p->closef && p->f == stdin)
        unread_stdin(L);
    return stock(L);
}

/* ---- writing to a child ---- */

/* Makes one string, at index 2, of the strings and numbers at 2..top. */
static void join(lua_State *L)
{
    int top = lua_gettop(L);
    luaL_Buffer b;
    for (int i = 2; i <= top; i++)
        if (lua_type(L, i) != LUA_TNUMBER)
            luaL_checkstring(L, i);
    luaL_buffinit(L, &b);
    for (int i = 2; i <= top; i++) {
        char number[64];
        if (lua_type(L, i) == LUA_TNUMBER && !lua_isinteger(L, i)) {
            snprintf(number, sizeof number, LUA_NUMBER_FMT, lua_tonumber(L, i));
            luaL_addstring(&b, number);
        } else {
            lua_pushvalue(L, i);
            luaL_addvalue(&b);
        }
    }
    luaL_pushresult(&b);
    lua_insert(L, 2);
    lua_settop(L, 2);
}

/* On the top: what a method of the stream has returned. */
static int written(lua_State *L, int status, lua_KContext flush)
{
    (void)status;
    if (lua_toboolean(L, 4)) {
        flush ? lua_pushboolean(L, 1) : lua_pushvalue(L, 1);
        return 1;
    }
    struct stream *s = lua_touserdata(L, 3);
    return push_errno(L, s->closed ? EBADF : s->out_error ? s->out_error : EIO);
}

/* Writes what is at index 2 to the stream of the handle at 1, or waits until all is out. */
static int call_stream(lua_State *L, bool flush)
{
    lua_getiuservalue(L, 1, HANDLE_STREAM);
    lua_getfield(L, 3, flush ? "flush" : "write");
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 2);
    lua_callk(L, 2, 1, flush, written);
    return written(L, LUA_OK, flush);
}

/* Whether the handle at 1 is one of io.popen, and open. */
static bool is_popened(lua_State *L)
{
    luaL_Stream *p = lua_gettop(L) > 0 ? handle_at(L, 1) : NULL;
    if (!p || !p->closef)
        return false;
    bool is = lua_getiuservalue(L, 1, HANDLE_STREAM) == LUA_TUSERDATA;
    lua_pop(L, 1);
    return is;
}

static int file_write(lua_State *L)
{
    const luaL_Stream *p = lua_gettop(L) > 0 ? handle_at(L, 1) : NULL;
    if (p && p->closef && (p->f == stderr || p->f == stdout) && runtime_of(L)->on_write)
        runtime_of(L)->on_write(runtime_of(L), "", 0);
    if (!is_popened(L))
        return stock(L);
    join(L);
    return call_stream(L, false);
}

static int file_flush(lua_State *L)
{
    if (!is_popened(L))
        return stock(L);
    lua_settop(L, 2);
    return call_stream(L, true);
}

/* ---- children ---- */

static int release_box(lua_State *L)
{
    struct process_box *box = object_check(L, 1, OBJECT_PROCESS);
    struct process *p = box->process;
    box->process = NULL;
    if (p)
        process_release(p);
    return 0;
}

/* Pushes a box, still empty. */
static struct process_box *push_box(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", release_box}, {NULL, NULL}};
    struct runtime *rt = runtime_of(L);
    if (!rt->kinds[OBJECT_PROCESS].ref)
        object_class_new(L, OBJECT_PROCESS,
                         &(struct object_class){.name = "process", .metamethods = meta});
    return object_new(L, OBJECT_PROCESS, sizeof(struct process_box), 0);
}

static int start_shell(struct runtime *rt, const char *command,
                       const struct process_files *files, struct process **made)
{
    char *argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)command, NULL};
    return process_start(rt, argv, NULL, files, made);
}

/* The end of the process in the box at index i: as os.execute gives it. */
static int push_exit(lua_State *L, int i)
{
    struct process_box *box = lua_touserdata(L, i);
    int status = box->process->status;
    errno = box->process->error;
    return luaL_execresult(L, status);
}

static int ended(lua_State *L, int status, lua_KContext box)
{
    (void)status;
    wait_result(L);
    return push_exit(L, (int)box);
}

/* Waits for the end of the process in the box at index i. */
static int await_exit(lua_State *L, int i)
{
    struct process_box *box = lua_touserdata(L, i);
    if (process_ended(box->process))
        return push_exit(L, i);
    if (bind_must_block(L)) {
        process_block(box->process);
        return push_exit(L, i);
    }
    wait_check(L);
    return wait_on(L, &box->process->waiters, HUGE_VAL, i, ended);
}

/* os.execute(command) */
static int execute(lua_State *L)
{
    static const struct process_files inherited = {{-1, -1, -1}};
    const char *command = luaL_optstring(L, 1, NULL);
    if (!command)
        return stock(L);
    lua_settop(L, 1);
    if (!bind_must_block(L))
        wait_check(L);
    struct process_box *box = push_box(L);
    int r = start_shell(runtime_of(L), command, &inherited, &box->process);
    return r < 0 ? push_errno(L, -r) : await_exit(L, 2);
}

/* ---- io.popen ---- */

/* The stream's rest is out, or cannot go out: closes it and waits for the child. */
static int flushed(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    stream_close(lua_touserdata(L, 2));
    return await_exit(L, 3);
}

/* What closes a popened handle: at index 1; its `closef` is off already. Where nothing may
** wait, in a finalizer, the child is left to itself. */
static int close_popened(lua_State *L)
{
    luaL_Stream *p = lua_touserdata(L, 1);
    lua_settop(L, 1);
    fclose(p->f);
    lua_getiuservalue(L, 1, HANDLE_STREAM);
    lua_getiuservalue(L, 1, HANDLE_PROCESS);
    struct stream *s = lua_touserdata(L, 2);
    struct process_box *box = lua_touserdata(L, 3);
    bool blocks = bind_must_block(L);
    if (!box->process || (!blocks && (!wait_possible(L) || runtime_of(L)->switch_trap))) {
        stream_close(s);
        return 0;
    }
    if (blocks)
        stream_block_until_out(s);
    if (buffer_length(&s->output) == 0)
        return flushed(L, LUA_OK, 0);
    lua_getfield(L, 2, "flush");
    lua_pushvalue(L, 2);
    lua_callk(L, 1, 0, 0, flushed);
    return flushed(L, LUA_OK, 0);
}

static int seek_nowhere(void *cookie, off64_t *offset, int whence)
{
    (void)cookie, (void)offset, (void)whence;
    errno = ESPIPE;
    return -1;
}

/* Starts the child of the handle at 3; `reads`: we read what it prints. 0 or -errno. */
static int popen_child(lua_State *L, const char *command, bool reads, struct stream *s,
                       struct process_box *box)
{
    struct runtime *rt = runtime_of(L);
    struct process_files files = {{-1, -1, -1}};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    int ours = ends[!reads], theirs = ends[reads];
    fcntl(ours, F_SETFL, O_NONBLOCK);
    files.fd[reads] = theirs;
    int r = start_shell(rt, command, &files, &box->process);
    close(theirs);
    if (r < 0) {
        close(ours);
        return r;
    }
    stream_init(s, rt, ours);
    s->kind = STREAM_PIPE;
    return 0;
}

/* io.popen(command[, mode]) */
static int io_popen(lua_State *L)
{
    const char *command = luaL_checkstring(L, 1), *mode = luaL_optstring(L, 2, "r");
    luaL_argcheck(L, (*mode == 'r' || *mode == 'w') && !mode[1], 2, "invalid mode");
    lua_settop(L, 2);
    luaL_requiref(L, "neap.net", bind_open_net, 0);
    luaL_Stream *p = lua_newuserdatauv(L, sizeof *p, HANDLE_VALUES);
    p->closef = NULL;
    luaL_setmetatable(L, LUA_FILEHANDLE);
    struct stream *s = net_new_stream(L);
    lua_setiuservalue(L, -2, HANDLE_STREAM);
    struct process_box *box = push_box(L);
    lua_setiuservalue(L, -2, HANDLE_PROCESS);
    fflush(NULL);
    p->f = fopencookie(NULL, mode, (cookie_io_functions_t){.seek = seek_nowhere});
    int r = p->f ? popen_child(L, command, *mode == 'r', s, box) : -errno;
    if (r == 0) {
        p->closef = close_popened;
        return 1;
    }
    if (p->f)
        fclose(p->f);
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", command, strerror(-r));
    lua_pushinteger(L, -r);
    return 3;
}

/* ---- putting them in place ---- */

/* Replaces functions of the table on the top; each keeps the stock one. */
static void replace(lua_State *L, const luaL_Reg *functions)
{
    for (; functions->name; functions++) {
        if (lua_getfield(L, -1, functions->name) == LUA_TFUNCTION) {
            lua_pushcclosure(L, functions->func, 1);
            lua_setfield(L, -2, functions->name);
        } else {
            lua_pop(L, 1);
        }
    }
}

/* neap.host.lend_stdio(): the standard descriptors are the script's: neap.stdin and so on are
** there, reading standard input, io.popen and os.execute block only the caller */
int bind_lend_stdio(lua_State *L)
{
    static const luaL_Reg io[] = {
        {"read", io_read}, {"lines", io_lines}, {"popen", io_popen}, {NULL, NULL}};
    static const luaL_Reg os[] = {{"execute", execute}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"read", file_read},   {"lines", file_lines},
                                       {"write", file_write}, {"flush", file_flush},
                                       {"seek", file_seek},   {NULL, NULL}};
    runtime_of(L)->lends_stdio = true;
    if (lua_getglobal(L, "io") == LUA_TTABLE)
        replace(L, io);
    if (lua_getglobal(L, "os") == LUA_TTABLE)
        replace(L, os);
    if (luaL_getmetatable(L, LUA_FILEHANDLE) == LUA_TTABLE &&
        lua_getfield(L, -1, "__index") == LUA_TTABLE)
        replace(L, methods);
    return 0;
}

/* neap.host.return_stdio(): a file on standard input goes on behind what the script has taken */
int bind_return_stdio(lua_State *L)
{
    unread_stdin(L);
    return 0;
}
