/* The neap program: `lua`'s options around a runtime, through neap.h alone. */
#include "host/signals.h"
#include "host/terminal.h"
#include "host/trace_file.h"
#include "lauxlib.h"
#include "lualib.h"
#include "neap.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: neap [options] [script [args]]\n"
    "Available options are:\n"
    "  -e stat   execute string 'stat'\n"
    "  -i        enter interactive mode after executing 'script'\n"
    "  -l mod    require library 'mod' into global 'mod'\n"
    "  -l g=mod  require library 'mod' into global 'g'\n"
    "  -v        show version information\n"
    "  -E        ignore environment variables\n"
    "  -W        turn warnings on\n"
    "  --        stop handling options\n"
    "  -         stop handling options and execute stdin\n"
    "  --trace f write what runs when to file 'f' (Chrome trace events)\n"
    "  --console f  listen on unix socket 'f' for prompts inside this program\n"
    "  --attach f   a prompt inside the program that listens on 'f'\n"
    "  --help    show this text\n"
    "  --version show version information\n";

/* Seconds for which a tasklet may hold the reactor without a warning. */
static const double WATCHDOG = 1;

struct program {
    int argc;
    char **argv;
    int script; /* index of the script in argv; argc: none */
    const char *trace_path, *console_path, *attach_path;
    bool no_env, interactive, version, has_code;
    bool alone; /* interactive, for there is nothing else to do */
    neap *N;
    neap_task main;
    bool failed, main_failed;
    bool exits; /* with `status`: by os.exit(status, true), or Ctrl-C */
    int status;
};

/* ---- hooks ---- */

static void on_write(void *ud, const char *s, size_t n)
{
    (void)ud;
    editor_make_room(s, n);
    fwrite(s, 1, n, stdout);
}

static void on_log(void *ud, int level, const char *message)
{
    (void)ud;
    editor_make_room("\n", 1);
    fflush(stdout);
    if (strncmp(message, "Lua warning: ", 13) == 0) /* the script's own */
        fprintf(stderr, "%s\n", message);
    else
        fprintf(stderr, "neap: %s%s\n", level == NEAP_LOG_WARN ? "warning: " : "", message);
}

/* A script that could not be loaded has no traceback, as in `lua`. */
static bool tells_nothing(const char *trace)
{
    return strcmp(trace, "stack traceback:\n\t[C]: in ?") == 0;
}

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    struct program *p = ud;
    p->failed = true;
    bool main = p->main.id && t.id == p->main.id;
    editor_make_room("\n", 1);
    fflush(stdout);
    bool bare = !*trace || (main && tells_nothing(trace));
    fprintf(stderr, "neap: %s%s%s\n", message, bare ? "" : "\n", bare ? "" : trace);
    if (main) {
        p->main_failed = true;
        neap_interrupt(p->N);
    }
}

/* ---- the command line ---- */

static int bad_option(const char *option)
{
    fprintf(stderr, "neap: unrecognized option '%s'\n%s", option, usage);
    return -1;
}

/* Takes the argument of the option at *i, if it is a word of its own. */
static int take_argument(const struct program *p, int *i, const char *option, bool is_own)
{
    if (!is_own || (++*i < p->argc && p->argv[*i][0] != '-'))
        return 0;
    fprintf(stderr, "neap: '%s' needs argument\n%s", option, usage);
    return -1;
}

/* Where the argument of an option that takes a path goes, or NULL. */
static const char **path_of(struct program *p, const char *option)
{
    return strcmp(option, "--trace") == 0     ? &p->trace_path
           : strcmp(option, "--console") == 0 ? &p->console_path
           : strcmp(option, "--attach") == 0  ? &p->attach_path
                                              : NULL;
}

/* Takes an option of one letter, as `lua` has them; -1 after an error has been printed. */
static int parse_letter(struct program *p, int *i)
{
    const char *option = p->argv[*i];
    switch (option[1]) {
    case 'E':
    case 'W':
    case 'i':
    case 'v':
        if (option[2])
            return bad_option(option);
        p->no_env |= option[1] == 'E';
        p->version |= option[1] == 'v' || option[1] == 'i';
        p->interactive |= option[1] == 'i';
        return 0;
    case 'e':
    case 'l':
        p->has_code |= option[1] == 'e';
        return take_argument(p, i, option, !option[2]);
    default:
        return bad_option(option);
    }
}

/* Fills *p; -1 after an error has been printed, 1 when there is nothing left to do. */
static int parse(struct program *p)
{
    int i;
    for (i = 1; i < p->argc && p->argv[i][0] == '-'; i++) {
        const char *option = p->argv[i];
        if (strcmp(option, "--") == 0) {
            i++;
            break;
        }
        if (strcmp(option, "-") == 0)
            break;
        if (strcmp(option, "--help") == 0) {
            fputs(usage, stdout);
            return 1;
        }
        if (strcmp(option, "--version") == 0) {
            p->version = true;
            continue;
        }
        const char **path = path_of(p, option);
        if (path) {
            if (take_argument(p, &i, option, true) < 0)
                return -1;
            *path = p->argv[i];
            p->has_code |= path == &p->attach_path; /* all that there is to do */
            continue;
        }
        if (parse_letter(p, &i) < 0)
            return -1;
    }
    p->script = i;
    if (i >= p->argc && !p->has_code && !p->version && isatty(STDIN_FILENO))
        p->interactive = p->version = p->alone = true;
    return 0;
}

/* The global `arg`: the script at 0, what is before it at negative indices. */
static void set_arg(lua_State *L, const struct program *p)
{
    int script = p->script < p->argc ? p->script : 0;
    lua_createtable(L, p->argc - script, script + 1);
    for (int i = 0; i < p->argc; i++) {
        lua_pushstring(L, p->argv[i]);
        lua_rawseti(L, -2, i - script);
    }
    lua_setglobal(L, "arg");
}

/* ---- the main tasklet ---- */

/* The frame of the main tasklet, below what a step calls. */
enum { STEP_PROGRAM = 1, STEP_GLOBAL };

static int load_text(lua_State *L, const char *text, const char *name)
{
    if (luaL_loadbufferx(L, text, strlen(text), name, "t") != LUA_OK)
        lua_error(L);
    return 0;
}

/* Pushes the function of LUA_INIT, if there is one. */
static bool push_init(lua_State *L)
{
    const char *name = "=LUA_INIT_5_4", *init = getenv(name + 1);
    if (!init)
        init = getenv((name = "=LUA_INIT") + 1);
    if (!init)
        return false;
    if (*init == '@') {
        if (luaL_loadfilex(L, init + 1, "t") != LUA_OK)
            lua_error(L);
    } else {
        load_text(L, init, name);
    }
    return true;
}

/* Pushes a function of neap.console and its arguments: the path, the terminal. */
static int push_console(lua_State *L, const struct program *p, const char *name,
                        const char *path)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "neap.console");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    lua_pushstring(L, path);
    if (path != p->attach_path)
        return 1;
    terminal_push(L, p->N);
    return 2;
}

/* Pushes the function for the option at argv[*i] and its arguments; how many, -1: none. The
** name of the global for its result goes to STEP_GLOBAL. */
static int push_option(lua_State *L, struct program *p, int *i)
{
    const char *option = p->argv[*i];
    const char **path = path_of(p, option);
    *i += path != NULL;
    if (path == &p->console_path || path == &p->attach_path)
        return push_console(L, p, option + strlen("--"), *path);
    if (option[1] == 'W')
        lua_warning(L, "@on", 0);
    if (option[1] != 'e' && option[1] != 'l')
        return -1;
    const char *value = option[2] ? option + 2 : p->argv[++*i];
    if (option[1] == 'e') {
        load_text(L, value, "=(command line)");
        return 0;
    }
    const char *equal = strchr(value, '=');
    lua_pushlstring(L, value, equal ? (size_t)(equal - value) : strlen(value));
    lua_replace(L, STEP_GLOBAL);
    lua_getglobal(L, "require");
    lua_pushstring(L, equal ? equal + 1 : value);
    return 1;
}

static int push_script(lua_State *L, const struct program *p)
{
    const char *name = p->script < p->argc ? p->argv[p->script] : NULL;
    if (name && strcmp(name, "-") == 0 && strcmp(p->argv[p->script - 1], "--") != 0)
        name = NULL;
    if (luaL_loadfilex(L, name, "t") != LUA_OK)
        lua_error(L);
    if (lua_getglobal(L, "arg") != LUA_TTABLE) /* an option's code may have changed it */
        luaL_error(L, "'arg' is not a table");
    int n = (int)luaL_len(L, -1);
    luaL_checkstack(L, n + 1, "too many arguments to script");
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, -i, i);
    lua_remove(L, -(n + 1));
    return n;
}

/* Pushes the prompt and its argument, the terminal. */
static int push_prompt(lua_State *L, const struct program *p)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "neap.repl");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    lua_remove(L, -2);
    terminal_push(L, p->N);
    return 1;
}

/* Whether there is a script to run, if only on standard input. */
static bool has_script(const struct program *p)
{
    return p->script < p->argc || !(p->has_code || p->version);
}

/* Runs LUA_INIT (step 0), the options in their order, the script, the prompt (the last
** step). It calls them one by one, each from the continuation of the one before. */
static int steps(lua_State *L, int status, lua_KContext step)
{
    struct program *p = lua_touserdata(L, STEP_PROGRAM);
    (void)status;
    for (;;) {
        int i = (int)step, nargs;
        if (lua_isstring(L, STEP_GLOBAL))
            lua_setglobal(L, lua_tostring(L, STEP_GLOBAL)); /* to the one result */
        lua_settop(L, STEP_PROGRAM);
        lua_settop(L, STEP_GLOBAL);
        if (i > p->script + p->interactive)
            return 0;
        if (i == 0)
            nargs = p->no_env || !push_init(L) ? -1 : 0;
        else if (i < p->script)
            nargs = push_option(L, p, &i);
        else if (i == p->script)
            nargs = has_script(p) ? push_script(L, p) : -1;
        else
            nargs = push_prompt(L, p);
        step = i + 1;
        if (nargs >= 0)
            lua_callk(L, nargs, 1, step, steps);
    }
}

static const char host_key; /* registry: neap.host, whatever the script does to `require` */

static int main_tasklet(lua_State *L)
{
    struct program *p = lua_touserdata(L, 1);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "neap.host");
    lua_call(L, 1, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &host_key);
    lua_getfield(L, -1, "set_main");
    lua_call(L, 0, 0);
    lua_pushboolean(L, !p->no_env);
    lua_setfield(L, LUA_REGISTRYINDEX, "neap.tls.environment");
    signals_lend(L);
    lua_getfield(L, -1, "lend_stdio");
    lua_call(L, 0, 0);
    lua_getglobal(L, "neap");
    lua_getfield(L, -1, "watchdog");
    lua_pushnumber(L, WATCHDOG);
    lua_call(L, 1, 0);
    set_arg(L, p);
    lua_settop(L, STEP_PROGRAM);
    return steps(L, LUA_OK, 0);
}

/* ---- the end ---- */

/* Calls a function of neap.host; its one result is left on the stack. */
static bool call_host(lua_State *L, const char *name, bool argument)
{
    lua_settop(L, 0);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &host_key) != LUA_TTABLE)
        return false; /* main has not come so far */
    lua_getfield(L, -1, name);
    lua_pushboolean(L, argument);
    return lua_pcall(L, 1, 1, 0) == LUA_OK;
}

/* Whether the script or a Ctrl-C has ended the program, and with what status. */
static void set_status(struct program *p, lua_State *L)
{
    p->exits = true;
    p->status = INTERRUPTED;
    if (call_host(L, "exit_status", false) && lua_isinteger(L, -1))
        p->status = (int)lua_tointeger(L, -1);
    else if (!call_host(L, "interrupted", false) || !lua_toboolean(L, -1))
        p->exits = false;
}

/* Tells of the tasklets that wait for ever, if there are any. */
static void tell_deadlock(struct program *p, lua_State *L)
{
    if (!call_host(L, "blocked", false) || !lua_isstring(L, -1) || !*lua_tostring(L, -1))
        return;
    p->failed = true;
    fflush(stdout);
    fprintf(stderr, "neap: Deadlock: the last runnable tasklet cannot be blocked.\n%s\n",
            lua_tostring(L, -1));
}

/* Runs until the end. While main lives it is told that nothing moves, and may go on. */
static void run(struct program *p)
{
    lua_State *L = neap_lua(p->N);
    while (neap_run(p->N) == NEAP_OK && call_host(L, "deadlock", false) && lua_toboolean(L, -1))
        ;
    set_status(p, L);
    if (!p->exits && !p->main_failed) /* else it has ended the program: no others matter */
        tell_deadlock(p, L);
    if (!call_host(L, "finish", p->exits) && !lua_isnil(L, -1))
        on_log(p, NEAP_LOG_WARN, lua_tostring(L, -1));
    lua_settop(L, 0);
}

/* What the library itself reads from the environment: hidden from it under -E, but not from
** the script and its children. */
static bool open_runtime(struct program *p, const char **why)
{
    static const char *const names[] = {"LUA_PATH", "LUA_PATH_5_4", "LUA_CPATH",
                                        "LUA_CPATH_5_4"};
    enum { NAMES = sizeof names / sizeof *names };
    char *values[NAMES] = {NULL};
    for (int i = 0; p->no_env && i < NAMES; i++) {
        const char *value = getenv(names[i]);
        values[i] = value ? strdup(value) : NULL;
        unsetenv(names[i]);
    }
    neap_config c = {
        .size = sizeof c, .ud = p, .write = on_write, .log = on_log, .fail = on_fail};
    p->N = neap_new(&c, why);
    for (int i = 0; i < NAMES; i++) {
        if (values[i])
            setenv(names[i], values[i], 1);
        free(values[i]);
    }
    return p->N != NULL;
}

/* Makes the main tasklet. */
static bool start(struct program *p)
{
    const char *why = "not enough memory for a trace";
    lua_State *L = neap_lua(p->N);
    if (p->trace_path) {
        lua_pushcfunction(L, trace_file_start);
        p->failed = lua_pcall(L, 0, 0, 0) != LUA_OK;
        lua_settop(L, 0);
    }
    if (!p->failed) {
        lua_pushcfunction(L, main_tasklet);
        lua_pushlightuserdata(L, p);
        p->main = neap_spawn(p->N, 1);
        p->failed = !p->main.id;
        if (p->failed)
            neap_error(p->N, &why);
    }
    if (p->failed)
        fprintf(stderr, "neap: %s\n", why);
    return !p->failed;
}

/* What is opened later must not get the number of a standard descriptor. */
static void reserve_standard(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", O_RDWR);
}

static void print_version(const struct program *p)
{
    printf("neap %u.%u.%u  %s\n", NEAP_VERSION >> 16, NEAP_VERSION >> 8 & 255,
           NEAP_VERSION & 255, LUA_COPYRIGHT);
    if (p->alone)
        puts("Inputs may wait: sleep(1). :help lists the commands, Ctrl-D ends.");
}

#ifdef NEAP_STRESS
/* The cuts and the orders of this run; the same each time unless it is said. */
static void set_seed(void)
{
    const char *seed = getenv("NEAP_STRESS_SEED");
    if (seed)
        srand((unsigned)atoi(seed));
}
#else
#define set_seed() ((void)0)
#endif

int main(int argc, char **argv)
{
    struct program p = {.argc = argc, .argv = argv};
    const char *why;
    set_seed();
    int r = parse(&p);
    if (r != 0)
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    if (p.version)
        print_version(&p);
    if (p.version && p.script >= argc && !p.has_code && !p.interactive)
        return EXIT_SUCCESS;
    reserve_standard();
    if (p.trace_path && !trace_file_open(p.trace_path))
        return EXIT_FAILURE;
    if (!open_runtime(&p, &why)) {
        fprintf(stderr, "neap: %s\n", why);
        return EXIT_FAILURE;
    }
    if (start(&p))
        run(&p);
    call_host(neap_lua(p.N), "return_stdio", false);
    signals_end();
    neap_free(p.N); /* and the trace has ended */
    trace_file_forget();
    if (p.exits)
        return p.status;
    return p.failed || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
