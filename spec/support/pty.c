/* pty [EXPECT SEND]... -- PROGRAM [ARG...]: runs a program on a terminal of its own.
**
** Each SEND is typed when its EXPECT has been printed behind what the one before expected.
** What the terminal shows goes to standard output; the status is the program's, or 128 and
** the signal that ended it. It ends by itself after a minute and a half. A SEND of the form
** `size:100x20` gives the terminal so many columns and lines, `signal:15` sends a signal,
** `file:PATH` types what is in the file. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHOWN = 1 << 22 };

static char shown[SHOWN + 1];
static size_t length, from; /* of what is shown; where the next EXPECT is looked for */

static pid_t child;

static void take(int terminal);

/* What is in the file, as fast as it is read. */
static bool send_file(int terminal, const char *path)
{
    char piece[1024];
    size_t n;
    FILE *file = fopen(path, "rb");
    while (file && (n = fread(piece, 1, sizeof piece, file)) > 0) {
        struct pollfd p = {.fd = terminal, .events = POLLIN | POLLOUT};
        for (size_t at = 0; at < n;) {
            poll(&p, 1, -1);
            if (p.revents & POLLIN)
                take(terminal);
            ssize_t sent = p.revents & POLLOUT ? write(terminal, piece + at, n - at) : 0;
            at += sent > 0 ? (size_t)sent : 0;
            if (p.revents & POLLHUP)
                return false;
        }
    }
    return file && fclose(file) == 0;
}

static bool send_all(int terminal, const char *text)
{
    struct winsize size = {0};
    int number;
    if (sscanf(text, "size:%hux%hu", &size.ws_col, &size.ws_row) == 2)
        return ioctl(terminal, TIOCSWINSZ, &size) == 0;
    if (sscanf(text, "signal:%d", &number) == 1)
        return kill(child, number) == 0;
    if (strncmp(text, "file:", 5) == 0)
        return send_file(terminal, text + 5);
    size_t n = strlen(text);
    ssize_t sent = write(terminal, text, n);
    return sent == (ssize_t)n;
}

/* Types what is due; how many of the pairs are left. */
static char **type(int terminal, char **pairs)
{
    char *found;
    while (strcmp(pairs[0], "--") != 0 && (found = strstr(shown + from, pairs[0]))) {
        from = (size_t)(found - shown) + strlen(pairs[0]);
        if (!send_all(terminal, pairs[1]))
            break;
        pairs += 2;
    }
    return pairs;
}

static bool ended;

/* Reads some of what is shown. */
static void take(int terminal)
{
    ssize_t n = read(terminal, shown + length, SHOWN - length);
    ended = n == 0 || (n < 0 && errno != EINTR);
    if (n <= 0)
        return;
    fwrite(shown + length, 1, (size_t)n, stdout);
    fflush(stdout);
    length += (size_t)n;
    shown[length] = '\0';
}

static void play(int terminal, char **pairs)
{
    while (!ended) {
        pairs = type(terminal, pairs);
        take(terminal);
    }
}

int main(int argc, char **argv)
{
    int terminal, status, program = 1;
    while (program < argc && strcmp(argv[program], "--") != 0)
        program++;
    if (program + 1 >= argc) {
        fputs("usage: pty [EXPECT SEND]... -- PROGRAM [ARG...]\n", stderr);
        return 2;
    }
    alarm(90);
    child = forkpty(&terminal, NULL, NULL, &(struct winsize){.ws_row = 24, .ws_col = 80});
    if (child < 0) {
        perror("pty");
        return 2;
    }
    if (child == 0) {
        signal(SIGINT, SIG_DFL); /* a shell's background jobs have them ignored */
        signal(SIGQUIT, SIG_DFL);
        execvp(argv[program + 1], argv + program + 1);
        _exit(127);
    }
    play(terminal, argv + 1);
    close(terminal);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
