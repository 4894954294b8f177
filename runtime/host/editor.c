/* Lines edited by libedit, one character at a time: it never reads itself, but takes from
** `next` what was read by the reactor, and is given only sequences that are whole. */
#define _GNU_SOURCE
#include "host/terminal.h"
#include "host/wide.h"

#include "lauxlib.h"

#if __has_include(<histedit.h>)
#include <histedit.h>

#include <dlfcn.h>
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

/* Keys that no terminal sends to a program: orders of ours. */
enum { KEY_INSERT = 0x1c, KEY_HIDE = 0x1d };
enum { HISTORY = 1000, PROMPT = 80 };
enum outcome { MORE, LINE, END, COMPLETE };

#define FUNCTIONS(F) \
    F(el_init)       \
    F(el_wset)       \
    F(el_wgets)      \
    F(el_wline)      \
    F(el_winsertstr) F(el_deletestr) F(el_cursor) F(el_resize) F(history_winit) F(history_w)

static struct {
#define POINTER(f) __typeof__(f) *f;
    FUNCTIONS(POINTER)
#undef POINTER
} lib;

static struct {
    neap *N;
    EditLine *el;
    HistoryW *history;
    locale_t utf8;
    const wchar_t *next, *end; /* what libedit reads next */
    const wchar_t *run;        /* KEY_INSERT inserts it */
    wchar_t prompt[PROMPT + 1];
    bool hides;                     /* the prompt is not to be seen */
    volatile sig_atomic_t on, keys; /* a line is edited; keys come one by one */
    bool hidden, posted, inside;
    wchar_t *line; /* while it is hidden */
    size_t cursor;
    char last; /* printed; '\0': unknown */
    struct termios cooked, raw;
} editor;

/* ---- characters ---- */

/* Pushes characters as a string. [E] */
static void push_text(lua_State *L, const wchar_t *from, const wchar_t *to)
{
    luaL_Buffer b;
    char bytes[4];
    luaL_buffinit(L, &b);
    for (; from < to; from++)
        luaL_addlstring(&b, bytes, wide_encode(*from, bytes));
    luaL_pushresult(&b);
}

/* ---- libedit ---- */

static locale_t enter(void)
{
    editor.inside = true;
    return uselocale(editor.utf8);
}

static void leave(locale_t before)
{
    editor.inside = false;
    uselocale(before);
}

static int next_char(EditLine *el, wchar_t *c)
{
    (void)el;
    if (editor.next == editor.end)
        return 0;
    *c = *editor.next++;
    return 1;
}

/* Has libedit take these characters; `whole`: they are one key. */
static void give(const wchar_t *s, size_t n, bool whole)
{
    int count;
    editor.next = s;
    editor.end = s + n;
    do
        lib.el_wgets(editor.el, &count);
    while (!whole && editor.next < editor.end);
    editor.next = editor.end;
}

static void give_key(wchar_t key)
{
    give(&key, 1, true);
}

static void insert(const wchar_t *text)
{
    editor.run = text;
    give_key(KEY_INSERT);
}

static wchar_t *prompt(EditLine *el)
{
    static wchar_t none[] = L"";
    (void)el;
    return editor.hides ? none : editor.prompt;
}

static unsigned char insert_run(EditLine *el, wint_t key)
{
    (void)key;
    lib.el_winsertstr(el, editor.run);
    return CC_REFRESH;
}

static unsigned char hide_line(EditLine *el, wint_t key)
{
    (void)key;
    const LineInfoW *line = lib.el_wline(el);
    size_t n = (size_t)(line->lastchar - line->buffer);
    editor.cursor = (size_t)(line->cursor - line->buffer);
    editor.line = malloc((n + 1) * sizeof *editor.line);
    if (!editor.line)
        return CC_NORM;
    wmemcpy(editor.line, line->buffer, n);
    editor.line[n] = L'\0';
    lib.el_cursor(el, (int)(line->lastchar - line->cursor));
    lib.el_deletestr(el, (int)n);
    editor.hides = true;
    return CC_REDISPLAY;
}

/* ---- the line on the screen ---- */

/* To the start of a line, wherever the cursor is: blanks wrap only if it is not at one. */
static void go_to_margin(void)
{
    if (editor.last != '\n')
        printf("%*s\r", terminal_columns(), "");
    editor.last = '\n';
}

static void show(neap *N, void *ud)
{
    (void)N, (void)ud;
    editor.posted = false;
    if (!editor.on || !editor.hidden)
        return;
    go_to_margin();
    locale_t before = enter();
    size_t n = wcslen(editor.line);
    editor.hides = editor.hidden = false;
    if (n > 0)
        lib.el_winsertstr(editor.el, editor.line);
    lib.el_cursor(editor.el, (int)editor.cursor - (int)n);
    free(editor.line);
    editor.line = NULL;
    lib.el_wset(editor.el, EL_REFRESH);
    leave(before);
    fflush(stdout);
}

static void hide(void)
{
    locale_t before = enter();
    give_key(KEY_HIDE);
    leave(before);
    editor.hidden = editor.line != NULL;
    editor.last = '\n';
    if (editor.hidden && !editor.posted)
        editor.posted = neap_post(editor.N, show, NULL) == NEAP_OK;
}

void editor_make_room(const char *s, size_t n)
{
    if (editor.on && !editor.hidden && !editor.inside)
        hide();
    editor.last = n > 0 ? s[n - 1] : '\0';
}

/* ---- the terminal ---- */

static const char paste_on[] = "\33[?2004h", paste_off[] = "\33[?2004l";

void editor_restore(void)
{
    if (!editor.on && !editor.keys)
        return;
    if (editor.on)
        (void)!write(STDOUT_FILENO, paste_off, sizeof paste_off - 1);
    tcsetattr(STDIN_FILENO, TCSANOW, &editor.cooked);
}

/* What the signal does by default, with the terminal as it was. */
static void on_end(int number)
{
    struct sigaction action = {.sa_handler = SIG_DFL}, ours;
    sigset_t set;
    int saved = errno;
    editor_restore();
    sigaction(number, &action, &ours);
    sigemptyset(&set);
    sigaddset(&set, number);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    sigaction(number, &ours, NULL); /* it has been stopped, and goes on */
    if (editor.on || editor.keys)
        tcsetattr(STDIN_FILENO, TCSANOW, &editor.raw);
    if (editor.on) {
        (void)!write(STDOUT_FILENO, paste_on, sizeof paste_on - 1);
        raise(SIGWINCH); /* the line is drawn anew */
    }
    errno = saved;
}

static void guard(void)
{
    static const int numbers[] = {SIGTERM, SIGHUP, SIGTSTP, SIGABRT,
                                  SIGSEGV, SIGBUS, SIGFPE,  SIGILL};
    struct sigaction action = {.sa_handler = on_end, .sa_flags = SA_RESTART}, before;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            sigaction(numbers[i], &action, NULL);
}

/* keys(on): each key comes at once, and is not shown; while no line is edited */
static int keys(lua_State *L)
{
    bool on = lua_toboolean(L, 1);
    if (editor.on || on == (editor.keys != 0))
        return 0;
    if (on) {
        guard();
        tcgetattr(STDIN_FILENO, &editor.cooked);
        editor.raw = editor.cooked;
        editor.raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    }
    editor.keys = on;
    tcsetattr(STDIN_FILENO, TCSANOW, on ? &editor.raw : &editor.cooked);
    return 0;
}

/* begin(prompt): a line is edited from now on */
static int begin(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    wchar_t *prompt_text = wide_new(text, n);
    if (!prompt_text)
        return luaL_error(L, "not enough memory");
    wcsncpy(editor.prompt, prompt_text, PROMPT);
    free(prompt_text);
    go_to_margin();
    fputs(paste_on, stdout);
    fflush(stdout);
    tcgetattr(STDIN_FILENO, &editor.cooked);
    editor.hides = editor.hidden = false;
    editor.on = true;
    guard();
    locale_t before = enter();
    lib.el_wset(editor.el, EL_UNBUFFERED, 1);
    leave(before);
    tcgetattr(STDIN_FILENO, &editor.raw);
    return 0;
}

/* The line is over; it stays on the screen. */
static void end(void)
{
    locale_t before = enter();
    lib.el_wset(editor.el, EL_UNBUFFERED, 0);
    leave(before);
    fputs(paste_off, stdout);
    fflush(stdout);
    editor.on = false;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &editor.cooked);
    editor.last = '\n';
}

/* drop(): the line is given up */
static int drop(lua_State *L)
{
    (void)L;
    if (!editor.on)
        return 0;
    show(NULL, NULL);
    locale_t before = enter();
    give_key('\n');
    leave(before);
    end();
    return 0;
}

/* resize(): the terminal has another size */
static int resize(lua_State *L)
{
    (void)L;
    if (!editor.on || editor.hidden)
        return 0;
    hide();
    locale_t before = enter();
    lib.el_resize(editor.el);
    leave(before);
    show(NULL, NULL);
    return 0;
}

/* ---- input ---- */

static bool line_is_empty(void)
{
    const LineInfoW *line = lib.el_wline(editor.el);
    return line->buffer == line->lastchar;
}

/* The length of the escape sequence at s, 0: its end is missing. */
static size_t sequence_length(const char *s, size_t n)
{
    enum { LONGEST = 32 };
    wchar_t c;
    if (n < 2)
        return 0;
    if (s[1] == 'O')
        return n < 3 ? 0 : 3;
    if (s[1] != '[') {
        size_t length = wide_decode((const unsigned char *)s + 1, n - 1, &c);
        return length > 0 ? 1 + length : 0;
    }
    for (size_t i = 2; i < n; i++)
        if ((s[i] >= 0x40 && s[i] <= 0x7E) || i == LONGEST)
            return i + 1;
    return 0;
}

static void give_sequence(const char *s, size_t n)
{
    wchar_t keys[40];
    size_t count = 0;
    for (size_t at = 0, used; at < n && count < 40; at += used) {
        used = wide_decode((const unsigned char *)s + at, n - at, &keys[count++]);
        if (used == 0)
            break;
    }
    give(keys, count, true);
}

static void insert_bytes(const char *s, size_t n)
{
    wchar_t *text = n > 0 ? wide_new(s, n) : NULL;
    if (text)
        insert(text);
    free(text);
}

static bool is_newline(char c)
{
    return c == '\n' || c == '\r';
}

/* Takes a paste of whole lines, its end included: they are one input. Its first line is
** edited on, the others are shown below it. [E] */
static void take_lines(lua_State *L, const char *s, size_t n)
{
    luaL_Buffer b;
    const LineInfoW *line = lib.el_wline(editor.el);
    size_t first = 0;
    while (!is_newline(s[first]))
        first++;
    insert_bytes(s, first);
    give_key('\n');
    line = lib.el_wline(editor.el);
    push_text(L, line->buffer, line->lastchar); /* with its newline */
    luaL_buffinit(L, &b);
    for (size_t i = first + 1; i + 1 < n; i++) {
        if (s[i] == '\n' && s[i - 1] == '\r')
            continue;
        luaL_addchar(&b, s[i] == '\r' ? '\n' : s[i]);
        fputc(is_newline(s[i]) ? '\n' : s[i] < ' ' && s[i] >= 0 ? ' ' : s[i], stdout);
    }
    if (n > first + 1)
        fputc('\n', stdout);
    luaL_pushresult(&b);
    lua_concat(L, 2);
}

/* A bracketed paste: how many bytes of it were taken, 0: its end is missing. */
static size_t take_paste(lua_State *L, const char *s, size_t n, enum outcome *outcome)
{
    enum { MARK = 6 };
    const char *stop = memmem(s + MARK, n - MARK, "\33[201~", MARK);
    if (!stop)
        return 0;
    size_t length = (size_t)(stop - s) - MARK, lines = length;
    s += MARK;
    while (lines > 0 && !is_newline(s[lines - 1]))
        lines--;
    if (lines == 0) {
        insert_bytes(s, length);
        return length + 2 * MARK;
    }
    take_lines(L, s, lines);
    *outcome = LINE;
    return MARK + lines; /* the rest comes as if typed */
}

static size_t take_escape(lua_State *L, const char *s, size_t n, enum outcome *outcome)
{
    size_t length = sequence_length(s, n);
    if (length == 6 && memcmp(s, "\33[200~", 6) == 0)
        return take_paste(L, s, n, outcome);
    if (length > 0 && !(length == 6 && memcmp(s, "\33[201~", 6) == 0))
        give_sequence(s, length);
    return length;
}

static size_t take_control(lua_State *L, char c, enum outcome *outcome)
{
    if (c == '\4' && line_is_empty()) {
        *outcome = END;
    } else if (c == '\t' && line_is_empty()) {
        insert(L"    ");
    } else if (c == '\t') {
        const LineInfoW *line = lib.el_wline(editor.el);
        push_text(L, line->buffer, line->cursor);
        *outcome = COMPLETE;
    } else if (is_newline(c)) {
        give_key('\n');
        const LineInfoW *line = lib.el_wline(editor.el);
        push_text(L, line->buffer, line->lastchar - (line->lastchar > line->buffer));
        *outcome = LINE;
    } else if (c != '\0' && c != KEY_INSERT && c != KEY_HIDE && c != '\26') {
        give_key(c);
    }
    return 1;
}

static bool is_plain(char c)
{
    return (unsigned char)c >= ' ' && c != 0x7F;
}

/* Characters that stand for themselves: all at once. */
static size_t take_plain(const char *s, size_t n)
{
    wchar_t c;
    size_t length = 0, used;
    while (length < n && is_plain(s[length]) &&
           (used = wide_decode((const unsigned char *)s + length, n - length, &c)) > 0)
        length += used;
    insert_bytes(s, length);
    return length;
}

/* feed(bytes): how many were taken; then "line" and the line that is ended, "end": no more
** input comes, or "complete" and the line up to the cursor. What is not taken must come again,
** with more behind it */
static int feed(lua_State *L)
{
    static const char *const names[] = {NULL, "line", "end", "complete"};
    size_t n, at = 0, used = 1;
    const char *s = luaL_checklstring(L, 1, &n);
    enum outcome outcome = MORE;
    lua_settop(L, 1);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    show(NULL, NULL);
    locale_t before = enter();
    for (; at < n && used > 0 && outcome == MORE; at += used) {
        if (s[at] == '\33')
            used = take_escape(L, s + at, n - at, &outcome);
        else if (is_plain(s[at]))
            used = take_plain(s + at, n - at);
        else
            used = take_control(L, s[at], &outcome);
    }
    leave(before);
    if (outcome == LINE || outcome == END)
        end();
    lua_pushinteger(L, (lua_Integer)at);
    lua_pushstring(L, names[outcome]);
    if (outcome != LINE && outcome != COMPLETE)
        return 2;
    lua_pushvalue(L, 2);
    return 3;
}

/* add(text): as if typed at the cursor */
static int add(lua_State *L)
{
    size_t n;
    const char *s = luaL_checklstring(L, 1, &n);
    if (!editor.on)
        return 0;
    show(NULL, NULL);
    locale_t before = enter();
    insert_bytes(s, n);
    leave(before);
    return 0;
}

/* tell(text): shows it below the line, which is drawn anew */
static int tell(lua_State *L)
{
    const char *s = luaL_checkstring(L, 1);
    if (!editor.on)
        return 0;
    show(NULL, NULL);
    locale_t before = enter();
    printf("\r\n%s\n", s);
    lib.el_wset(editor.el, EL_REFRESH);
    leave(before);
    fflush(stdout);
    return 0;
}

/* remember(line): the arrow keys find it */
static int remember(lua_State *L)
{
    size_t n;
    HistEventW event;
    const char *s = luaL_checklstring(L, 1, &n);
    wchar_t *line = wide_new(s, n);
    if (line)
        lib.history_w(editor.history, &event, H_ENTER, line);
    free(line);
    return 0;
}

/* ---- opening ---- */

static bool load(void)
{
    void *file = dlopen("libedit.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!file)
        return false;
#define FIND(f) &&(lib.f = (__typeof__(f) *)dlsym(file, #f)) != NULL
    return true FUNCTIONS(FIND);
#undef FIND
}

static void bind_keys(void)
{
    static const wchar_t *const keys[][2] = {
        {L"^D", L"ed-delete-next-char"},
        {L"^R", L"ed-search-prev-history"},
        {L"\\e[3~", L"ed-delete-next-char"},
        {L"\\e[H", L"ed-move-to-beg"},
        {L"\\e[F", L"ed-move-to-end"},
        {L"\\e[1~", L"ed-move-to-beg"},
        {L"\\e[4~", L"ed-move-to-end"},
        {L"\\e[1;5C", L"em-next-word"},
        {L"\\e[1;5D", L"ed-prev-word"},
        {L"\\e[A", L"ed-prev-history"},
        {L"\\e[B", L"ed-next-history"},
        {L"\\e[C", L"ed-next-char"},
        {L"\\e[D", L"ed-prev-char"},
        {L"^\\", L"neap-insert"},
        {L"^]", L"neap-hide"},
        {L"^W", L"ed-delete-prev-word"},
        {L"^U", L"vi-kill-line-prev"},
    };
    lib.el_wset(editor.el, EL_ADDFN, L"neap-insert", L"inserts what was typed", insert_run);
    lib.el_wset(editor.el, EL_ADDFN, L"neap-hide", L"takes the line off the screen", hide_line);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        lib.el_wset(editor.el, EL_BIND, keys[i][0], keys[i][1], NULL);
}

static bool make(void)
{
    HistEventW event;
    FILE *nowhere = fopen("/dev/null", "w"); /* its complaints about the terminal */
    editor.utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    editor.history = lib.history_winit();
    if (!nowhere || !editor.utf8 || !editor.history)
        return false;
    locale_t before = enter();
    editor.el = lib.el_init("neap", stdin, stdout, nowhere);
    if (editor.el) {
        lib.history_w(editor.history, &event, H_SETSIZE, HISTORY);
        lib.history_w(editor.history, &event, H_SETUNIQUE, 1);
        lib.el_wset(editor.el, EL_HIST, lib.history_w, editor.history);
        lib.el_wset(editor.el, EL_EDITOR, L"emacs");
        lib.el_wset(editor.el, EL_PROMPT, prompt);
        lib.el_wset(editor.el, EL_GETCFN, next_char);
        bind_keys();
    }
    leave(before);
    return editor.el != NULL;
}

bool editor_open(lua_State *L, neap *N, const char **missing)
{
    static const luaL_Reg functions[] = {
        {"begin", begin},       {"feed", feed}, {"add", add},
        {"tell", tell},         {"drop", drop}, {"resize", resize},
        {"remember", remember}, {"keys", keys}, {NULL, NULL},
    };
    const char *term = getenv("TERM");
    if (!term || strcmp(term, "dumb") == 0 || *term == '\0')
        return false;
    if (!editor.el && (!load() || !make())) {
        *missing = "libedit.so.2 is missing, install libedit2";
        return false;
    }
    editor.N = N;
    editor.last = '\n';
    atexit(editor_restore);
    luaL_setfuncs(L, functions, 0);
    return true;
}

#else
#pragma message("built without line editing: histedit.h is missing, install libedit-dev")

bool editor_open(lua_State *L, neap *N, const char **missing)
{
    (void)L, (void)N;
    *missing = "this neap was built without libedit-dev";
    return false;
}

void editor_make_room(const char *s, size_t n)
{
    (void)s, (void)n;
}

void editor_restore(void)
{
}

#endif
