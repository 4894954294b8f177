/* start.c COMMAND [ARG...]: runs it 100 times and prints the CPU time of one run,
** start to end, the middle one of all. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>

enum { RUNS = 100 };

static int ascending(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double run_ms(char **command)
{
    extern char **environ;
    struct rusage use;
    pid_t pid;
    int status;
    if (posix_spawnp(&pid, command[0], NULL, NULL, command, environ) != 0 ||
        wait4(pid, &status, 0, &use) < 0 || status != 0)
        exit(1);
    return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e3 +
           (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e3;
}

int main(int argc, char **argv)
{
    double ms[RUNS];
    if (argc < 2)
        return 2;
    for (int i = 0; i < RUNS; i++)
        ms[i] = run_ms(argv + 1);
    qsort(ms, RUNS, sizeof *ms, ascending);
    printf("start %.3f ms\n", ms[RUNS / 2]);
    return 0;
}
