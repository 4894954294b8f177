/* The same seed, the same inputs, counted steps: the same events, twice, over 24 hours of game
** time. Saving is left to the game: what a script wants to keep it puts in a table of its own. */
#include "embed/check.h"

enum { HOUR = 3600, FRAMES_A_HOUR = 200 };

struct log {
    uint64_t hash; /* FNV-1a of all that was printed */
    size_t lines;
};

static void on_write(void *ud, const char *s, size_t n)
{
    struct log *log = ud;
    for (size_t i = 0; i < n; i++) {
        log->hash = (log->hash ^ (unsigned char)s[i]) * 1099511628211u;
        log->lines += s[i] == '\n';
    }
}

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    (void)ud, (void)t;
    fprintf(stderr, "replay: %s\n%s\n", message, trace);
    exit(1);
}

/* Traders that sleep, meet over channels, wait with timeouts, start and kill each other. */
static const char script[] =
    "local market, news, random = channel(), channel(4), math.random\n"
    "local alive = {}\n"
    "local function log(...) print(('%.3f'):format(neap.now()), ...) end\n"
    "local function trader(i)\n"
    "    while random() > 0.002 do\n"
    "        sleep(random() * 900)\n"
    "        local what = random(5)\n"
    "        if what == 1 then market:send(i, random(100))\n"
    "        elseif what == 2 then log(i, 'buys', market:receive(random() * 600))\n"
    "        elseif what == 3 then log(i, 'hears', select(2, news:try_receive()))\n"
    "        elseif what == 4 then log(i, neap.select({ market, news }, 60))\n"
    "        else news:try_send(i) end\n"
    "    end\n"
    "    log(i, 'leaves')\n"
    "    alive[i] = spawn(trader, i)\n"
    "end\n"
    "for i = 1, 60 do alive[i] = spawn(trader, i) end\n"
    "while true do\n"
    "    sleep(1000)\n"
    "    local i = random(60)\n"
    "    alive[i]:kill()\n"
    "    alive[i] = spawn(trader, i)\n"
    "    log('killed', i)\n"
    "end\n";

static struct log play(uint64_t seed, int hours, int chunk)
{
    struct log log = {.hash = 14695981039346656037u};
    neap_config c = {
        .size = sizeof c, .ud = &log, .write = on_write, .fail = on_fail, .seed = seed};
    neap *N = neap_new(&c, NULL);
    CHECK(N);
    CHECK(neap_text(N, script, strlen(script), "=replay").id);
    for (int i = 0; i < hours * FRAMES_A_HOUR; i++) {
        CHECK(neap_step_n(N, (double)HOUR / FRAMES_A_HOUR, chunk) >= 0);
        if (i % 7 == 0) /* the collector's pace is no input */
            neap_gc(N, seed % 2 ? 1000 : 100000);
        if (i % 1000 == 500) {
            neap_value v = {.type = NEAP_INT, .u.i = i};
            CHECK(neap_send(N, neap_channel(N, "input", 0), &v, 1) == NEAP_OK);
        }
    }
    CHECK(neap_now(N) > hours * HOUR - 1 && neap_now(N) < hours * HOUR + 1);
    neap_free(N);
    return log;
}

int main(int argc, char **argv)
{
    int hours = argc > 1 ? atoi(argv[1]) : 24;
    struct log a = play(42, hours, 10), b = play(42, hours, 10), other = play(43, hours, 10);
    CHECK(a.lines > (size_t)hours * 100);
    CHECK(a.lines == b.lines && a.hash == b.hash);
    CHECK(other.hash != a.hash);
    printf("%zu\n", a.lines);
    return 0;
}
