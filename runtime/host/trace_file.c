#include "host/trace_file.h"

#include "lauxlib.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    const char *path;
    int fd;        /* -1: closed, or given up */
    bool seekable; /* then the file is whole after each piece, whatever happens next */
    off_t at;
    void (*end)(void *runtime);
    void *runtime;
} trace = {.fd = -1};

static bool write_all(const char *s, size_t n, off_t at)
{
    while (n > 0) {
        ssize_t done = trace.seekable ? pwrite(trace.fd, s, n, at) : write(trace.fd, s, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        s += done, n -= (size_t)done, at += done;
    }
    return true;
}

/* A tracer_sink; the last piece brings its own end. */
static void write_trace(void *ud, const char *s, size_t n)
{
    static const char end[] = "\n]\n";
    (void)ud;
    if (trace.fd < 0)
        return;
    bool written = write_all(s, n, trace.at), last = s[n - 1] == '\n';
    trace.at += (off_t)n;
    if (written && trace.seekable && !last)
        written = write_all(end, sizeof end - 1, trace.at);
    if (written)
        return;
    fprintf(stderr, "neap: %s: %s\n", trace.path, strerror(errno));
    close(trace.fd);
    trace.fd = -1;
}

static void end_trace(void)
{
    if (trace.end)
        trace.end(trace.runtime);
    trace.end = NULL;
}

bool trace_file_open(const char *path)
{
    trace.path = path;
    trace.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (trace.fd < 0) {
        fprintf(stderr, "neap: cannot open %s: %s\n", path, strerror(errno));
        return false;
    }
    struct stat st;
    trace.seekable = fstat(trace.fd, &st) == 0 && S_ISREG(st.st_mode);
    return true;
}

int trace_file_start(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "neap.host");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "set_trace");
    lua_pushlightuserdata(L, (void *)write_trace);
    lua_call(L, 1, 2);
    trace.end = (void (*)(void *))lua_touserdata(L, -2);
    trace.runtime = lua_touserdata(L, -1);
    atexit(end_trace); /* os.exit comes this way */
    return 0;
}

void trace_file_forget(void)
{
    trace.end = NULL;
}
