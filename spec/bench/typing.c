/* typing PROGRAM [KEYS]: for how long a key that is typed at the prompt of neap takes to appear,
** while nothing else runs and while 10,000 tasklets do. By hand, on a quiet machine:
** make build/static/bench/typing && build/static/bench/typing ./neap */
#define _GNU_SOURCE
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 40, PATIENCE = 10000, QUIET = 100 /* ms */ };

static const char churn[] =
    "for i = 1, 10000 do spawn(function() while true do schedule() end end) end\r";
static const char timers[] = "for i = 1, 10000 do spawn(function() "
                             "while true do sleep(math.random() / 50) end end) end\r";

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail(const char *what)
{
    fprintf(stderr, "typing: %s\n", what);
    exit(EXIT_FAILURE);
}

/* Reads what comes within ms; false: nothing did. */
static bool take(int terminal, char *to, size_t n, int ms)
{
    struct pollfd p = {.fd = terminal, .events = POLLIN};
    if (poll(&p, 1, ms) <= 0)
        return false;
    ssize_t got = read(terminal, to, n - 1);
    if (got <= 0)
        fail("the prompt has ended");
    to[got] = '\0';
    return true;
}

static void say(int terminal, const char *text)
{
    if (write(terminal, text, strlen(text)) < 0)
        fail("cannot type");
}

static void wait_until_quiet(int terminal)
{
    char text[4096];
    while (take(terminal, text, sizeof text, QUIET))
        ;
}

static void wait_for(int terminal, const char *what)
{
    char text[65536];
    size_t n = 0;
    while (n < sizeof text - 4096 && take(terminal, text + n, 4096, PATIENCE)) {
        n += strlen(text + n);
        if (strstr(text, what))
            return;
    }
    fail("no prompt comes");
}

static double type_one(int terminal, char key)
{
    char text[4096];
    double began = now();
    say(terminal, (char[]){key, '\0'});
    do
        if (!take(terminal, text, sizeof text, PATIENCE))
            fail("a key did not appear");
    while (!strchr(text, key));
    return now() - began;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(int terminal, const char *what, int keys)
{
    double *times = malloc((size_t)keys * sizeof *times);
    if (!times)
        fail("not enough memory");
    wait_until_quiet(terminal);
    for (int i = 0; i < keys; i++) {
        if (i % LINE == 0) {
            say(terminal, "\25"); /* Ctrl-U */
            wait_until_quiet(terminal);
        }
        times[i] = type_one(terminal, (char)('a' + i % 26));
        usleep(2000 + (unsigned)rand() % 3000); /* not in step with anything */
    }
    qsort(times, (size_t)keys, sizeof *times, compare);
    printf("%-34s p50 %7.3f ms  p90 %7.3f  p99 %7.3f  p99.9 %7.3f  most %7.3f\n", what,
           times[keys / 2] * 1e3, times[keys * 9 / 10] * 1e3, times[keys * 99 / 100] * 1e3,
           times[keys * 999 / 1000] * 1e3, times[keys - 1] * 1e3);
    free(times);
}

/* A prompt of its own, with `code` typed first. */
static void run(const char *program, const char *what, const char *code, int keys)
{
    int terminal;
    pid_t child = forkpty(&terminal, NULL, NULL, &(struct winsize){.ws_row = 24, .ws_col = 80});
    if (child < 0)
        fail("no terminal");
    if (child == 0) {
        setenv("TERM", "xterm", 1);
        setenv("XDG_STATE_HOME", "/dev/null/none", 1);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    wait_for(terminal, "\33[?2004h");
    if (code) {
        say(terminal, code);
        wait_for(terminal, "\33[?2004h");
    }
    measure(terminal, what, keys);
    kill(child, SIGKILL);
    close(terminal);
    waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: typing PROGRAM [KEYS]\n", stderr);
        return EXIT_FAILURE;
    }
    int keys = argc > 2 ? atoi(argv[2]) : 2000;
    run(argv[1], "nothing else runs", NULL, keys);
    run(argv[1], "10,000 tasklets that schedule()", churn, keys);
    run(argv[1], "10,000 tasklets that sleep < 20 ms", timers, keys);
    return EXIT_SUCCESS;
}
