/* The scheduler: one run queue, one trampoline. No tasklet resumes another, so the C
** stack does not grow with their number. */
#ifndef CORE_SCHED_H
#define CORE_SCHED_H

#include "core/tasklet.h"

/* Put a tasklet that is in no queue at the end or at the front of the run queue; one of a
** paused group waits among the held instead. */
static inline void sched_append(struct runtime *rt, struct tasklet *t)
{
    t->state = TASKLET_READY;
    list_push_back(t->held ? &rt->held : &rt->ready, &t->link);
    rt->ready_count += !t->held;
}

static inline void sched_prepend(struct runtime *rt, struct tasklet *t)
{
    t->state = TASKLET_READY;
    if (t->held)
        list_push_back(&rt->held, &t->link);
    else
        list_push_front(&rt->ready, &t->link);
    rt->ready_count += !t->held;
}

/* Takes a ready tasklet out; it is then paused. */
static inline void sched_remove(struct runtime *rt, struct tasklet *t)
{
    t->state = TASKLET_PAUSED;
    list_remove(&t->link);
    rt->ready_count -= !t->held;
}

/* After the schedule callback or the trace has been set. */
void sched_observe(struct runtime *rt);

/* Runs a ready tasklet, now, until it waits, gives way or ends. */
void sched_run_one(struct runtime *rt, struct tasklet *t);

/* Takes a tasklet that is paused out of neap.run, if it is in there: those whose run began
** later go on too, at the end of the queue. */
void sched_leave_run(struct runtime *rt, struct tasklet *t);

/* Runs turns until nothing is left that could still do something, or rt->stop is set: then
** clears it and returns true. One turn: due timers, the run queue, the reactor. */
bool sched_run(struct runtime *rt);

/* When a step ends, before the queue is empty: after so many resumes (0: any number), or
** when the real clock shows `until`. */
struct step {
    int resumes;
    double until;
};

/* One turn of a host that draws frames: takes in what other threads posted, fires the timers
** that are due, looks at the reactor without waiting, runs the queue, at least one tasklet,
** and looks once more. A timer set in here is not due before the next step. True: more is
** ready. */
bool sched_step(struct runtime *rt, const struct step *step);

/* Takes in what other threads have posted. */
void sched_take_in(struct runtime *rt);

/* Whether something could still happen: a ready tasklet, a timer, a wait that the world
** outside can end. */
bool sched_busy(const struct runtime *rt);

#endif
