/* Socket options, by the names that scripts give them. */
#ifndef NET_OPTION_H
#define NET_OPTION_H

#include <stdbool.h>

/* The place of an option in the list of names, -1: there is none. */
int option_find(const char *name);

/* Whether its value is a number, not only true or false. */
bool option_is_number(int option);

/* Sets it; value: 0 or 1, or the number. 0, or -errno. */
int option_set(int fd, int option, double value);

/* Has the kernel ask a silent peer after so many seconds whether it is still there, and give
** it up after about twice as many; 1: at the system's pace, 0: not at all. 0, or -errno. */
int option_keepalive(int fd, double seconds);

#endif
