/* A small game: some hundreds of creatures on a plain, each a tasklet of brains.lua.
**
**     game [--frames N] [--shot FILE.bmp] [--seed N] [--script FILE] [--input "FRAME KEY ..."]
**
** Space pauses, + and - change the pace, R loads the script again (saving it does too), a
** click puts a prey there, Escape ends. With --frames every frame is a 60th of a second, so
** that a seed always gives the same pictures; --shot writes the last one, and --input acts for
** a player: "60 Space 90 + 120 Click" (in the middle). */
#include "neap.h"

#include <SDL.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "lauxlib.h"

enum { WIDTH = 960, HEIGHT = 640, CREATURES = 512, GRAPH = 240, TEXT = 160 };

enum kind { PREY, PREDATOR, KINDS };
static const char *const kinds[] = {"prey", "predator", NULL};

struct creature {
    uint64_t id; /* 0: a free place. Its references, its group, its number for life */
    neap_task task;
    enum kind kind;
    float x, y, vx, vy, energy;
    float broken; /* > 0: seconds for which the one with an error is still shown */
    int starved;
};

struct game {
    neap *N;
    SDL_Window *window;
    SDL_Renderer *renderer;
    struct creature creatures[CREATURES];
    int count[KINDS], errors, frame, frames, paused, over; /* frames: to play; 0: on and on */
    uint64_t next_id;
    double scale;
    const char *script, *input; /* input: what is left of it */
    time_t saved;               /* when the script was, that is loaded */
    char message[TEXT];
    float step_ms[GRAPH], gc_ms[GRAPH];
};

static void say(struct game *g, const char *what, const char *text)
{
    snprintf(g->message, sizeof g->message, "%s%s", what, text);
    fprintf(stderr, "%s\n", g->message);
}

/* ---- the engine's objects ---- */

static struct creature *find(struct game *g, uint64_t id)
{
    struct creature *c = &g->creatures[id % CREATURES];
    return id && c->id == id ? c : NULL;
}

/* A free place, by an id that no other creature ever had. */
static struct creature *take_place(struct game *g)
{
    for (int i = 0; i < CREATURES; i++) {
        uint64_t id = ++g->next_id;
        if (!g->creatures[id % CREATURES].id) {
            struct creature *c = &g->creatures[id % CREATURES];
            *c = (struct creature){.id = id};
            return c;
        }
    }
    return NULL;
}

static void bury(struct game *g, struct creature *c)
{
    neap_revoke(g->N, kinds[c->kind], c->id);
    g->count[c->kind]--;
    c->id = 0;
}

/* Its tasklet has ended: it was eaten, has starved, or its script has an error. */
static void on_end(neap *N, neap_task t, int ok, void *ud)
{
    struct game *g = ud;
    for (int i = 0; i < CREATURES; i++) {
        struct creature *c = &g->creatures[i];
        if (!c->id || c->task.id != t.id)
            continue;
        if (ok || c->starved || g->over) {
            bury(g, c);
            return;
        }
        const char *text = lua_tostring(neap_lua(N), -1);
        char who[40];
        snprintf(who, sizeof who, "%s %d: ", kinds[c->kind], (int)c->id);
        say(g, who, text ? text : "an error that is no text");
        g->errors++;
        c->broken = 3;
        c->vx = c->vy = 0;
    }
}

/* Puts one on the plain and starts its life. */
static struct creature *make(struct game *g, enum kind kind, float x, float y)
{
    struct creature *c = take_place(g);
    lua_State *L = neap_lua(g->N);
    if (!c)
        return NULL;
    c->kind = kind;
    c->x = x;
    c->y = y;
    c->energy = 8;
    lua_getglobal(L, "live");
    lua_pushstring(L, kinds[kind]);
    neap_push_ref(L, kinds[kind], c->id);
    c->task = neap_spawn(g->N, 2);
    if (neap_then(g->N, c->task, on_end, g) != NEAP_OK) {
        c->id = 0;
        return NULL;
    }
    neap_group(g->N, c->task, c->id);
    g->count[kind]++;
    return c;
}

/* ---- what scripts call: engine.* ---- */

static struct game *game_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* The creature of the reference at 1, of whatever kind; raises if it is gone. */
static struct creature *check(lua_State *L)
{
    const char *name = luaL_tolstring(L, 1, NULL);
    enum kind kind = strncmp(name, "predator", 8) == 0 ? PREDATOR : PREY;
    lua_pop(L, 1);
    return find(game_of(L), neap_check_ref(L, 1, kinds[kind]));
}

static int engine_make(lua_State *L)
{
    struct game *g = game_of(L);
    enum kind kind = (enum kind)luaL_checkoption(L, 1, NULL, kinds);
    float x = (float)luaL_checknumber(L, 2), y = (float)luaL_checknumber(L, 3);
    lua_pushboolean(L, make(g, kind, x, y) != NULL);
    return 1;
}

static int engine_steer(lua_State *L)
{
    struct creature *c = check(L);
    c->vx = (float)luaL_checknumber(L, 2);
    c->vy = (float)luaL_checknumber(L, 3);
    return 0;
}

static int engine_feed(lua_State *L)
{
    struct creature *c = check(L);
    c->energy += (float)luaL_checknumber(L, 2);
    return 0;
}

static int engine_energy(lua_State *L)
{
    lua_pushnumber(L, (double)check(L)->energy);
    return 1;
}

static int engine_place(lua_State *L)
{
    struct creature *c = check(L);
    lua_pushnumber(L, (double)c->x);
    lua_pushnumber(L, (double)c->y);
    return 2;
}

static int engine_count(lua_State *L)
{
    lua_pushinteger(L, game_of(L)->count[luaL_checkoption(L, 1, NULL, kinds)]);
    return 1;
}

/* nearest(me, kind, within): a reference, dx, dy, distance; or nothing */
static int engine_nearest(lua_State *L)
{
    struct game *g = game_of(L);
    struct creature *me = check(L), *best = NULL;
    enum kind kind = (enum kind)luaL_checkoption(L, 2, NULL, kinds);
    float least = (float)luaL_checknumber(L, 3);
    for (int i = 0; i < CREATURES; i++) {
        struct creature *c = &g->creatures[i];
        float d = c->id && c != me && c->kind == kind && c->broken <= 0
                      ? hypotf(c->x - me->x, c->y - me->y)
                      : HUGE_VALF;
        if (d < least) {
            least = d;
            best = c;
        }
    }
    if (!best)
        return 0;
    neap_push_ref(L, kinds[kind], best->id);
    lua_pushnumber(L, (double)(best->x - me->x));
    lua_pushnumber(L, (double)(best->y - me->y));
    lua_pushnumber(L, (double)least);
    return 4;
}

static void bind_engine(struct game *g, lua_State *L)
{
    static const luaL_Reg functions[] = {{"make", engine_make},       {"steer", engine_steer},
                                         {"feed", engine_feed},       {"place", engine_place},
                                         {"nearest", engine_nearest}, {"energy", engine_energy},
                                         {"count", engine_count},     {NULL, NULL}};
    luaL_newlibtable(L, functions);
    lua_pushlightuserdata(L, g);
    luaL_setfuncs(L, functions, 1);
    lua_setglobal(L, "engine");
}

/* ---- the script ---- */

static void on_write(void *ud, const char *s, size_t n)
{
    (void)ud;
    fwrite(s, 1, n, stdout);
}

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    struct game *g = ud;
    (void)t, (void)trace;
    g->errors++;
    say(g, "script: ", message);
}

/* require "brains" is the script on the command line. */
static int on_load(void *ud, lua_State *L, const char *name)
{
    struct game *g = ud;
    if (strcmp(name, "brains") != 0)
        return 0;
    return luaL_loadfile(L, g->script) == LUA_OK ? 1 : -1;
}

static time_t saved_at(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 ? s.st_mtime : 0;
}

static void reload(struct game *g)
{
    const char *why;
    g->saved = saved_at(g->script);
    if (neap_reload(g->N, "brains") == NEAP_OK) {
        say(g, "loaded again: ", g->script);
        return;
    }
    neap_error(g->N, &why);
    say(g, "not loaded: ", why);
}

static int open_script(struct game *g, uint64_t seed)
{
    static const char start[] = "local brains = require 'brains'\n"
                                "function live(kind, me) return brains[kind](me) end\n";
    const char *why;
    neap_config c = {.size = sizeof c,
                     .ud = g,
                     .write = on_write,
                     .fail = on_fail,
                     .load = on_load,
                     .seed = seed,
                     .mem_limit = 64 << 20};
    g->N = neap_new(&c, &why);
    if (!g->N) {
        fprintf(stderr, "game: %s\n", why);
        return -1;
    }
    lua_State *L = neap_lua(g->N);
    bind_engine(g, L);
    g->saved = saved_at(g->script);
    if (luaL_loadstring(L, start) == LUA_OK && neap_call(g->N, 0, 0) == NEAP_OK)
        return 0;
    fprintf(stderr, "game: %s\n", lua_tostring(L, -1));
    return -1;
}

/* ---- a frame ---- */

static float inside(float v, float *speed, float size)
{
    if (v < 0 || v > size)
        *speed = -*speed;
    return v < 0 ? 0 : v > size ? size : v;
}

static void move(struct game *g, float dt)
{
    for (int i = 0; i < CREATURES; i++) {
        struct creature *c = &g->creatures[i];
        if (!c->id)
            continue;
        c->x = inside(c->x + c->vx * dt, &c->vx, WIDTH);
        c->y = inside(c->y + c->vy * dt, &c->vy, HEIGHT - 90);
        c->energy -= dt * (c->kind == PREDATOR ? 0.9f : 0.3f);
        if (c->broken > 0 && (c->broken -= dt) <= 0) {
            bury(g, c);
        } else if (c->energy < 0 && !c->broken) {
            c->starved = 1;
            neap_kill_group(g->N, c->id);
        }
    }
}

static void fill(struct game *g, float x, float y, float w, float h, uint32_t rgb)
{
    SDL_FRect r = {x, y, w, h};
    SDL_SetRenderDrawColor(g->renderer, (Uint8)(rgb >> 16), (Uint8)(rgb >> 8), (Uint8)rgb, 255);
    SDL_RenderFillRectF(g->renderer, &r);
}

/* Letters of 3 by 5: each row an octal digit. */
static void draw_text(struct game *g, float x, float y, uint32_t rgb, const char *s)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:-+/()'_#=?%![]";
    static const char rows[][6] = {
        "25755", "65656", "34443", "65556", "74647", "74644", "34553", "55755", "72227",
        "11152", "55655", "44447", "57755", "65555", "25552", "65644", "25563", "65655",
        "34216", "72222", "55557", "55552", "55775", "55255", "55222", "71247", "75557",
        "26227", "61247", "61216", "55711", "74616", "34757", "71222", "75757", "75716",
        "00002", "00024", "02020", "00700", "02720", "11244", "12221", "42224", "22000",
        "00007", "57575", "07070", "61202", "51245", "22202", "64446", "31113"};
    for (; *s; s++, x += 8) {
        const char *at = strchr(letters, SDL_toupper(*s));
        for (int row = 0; at && row < 5; row++)
            for (int column = 0; column < 3; column++)
                if ((rows[at - letters][row] - '0') & (4 >> column))
                    fill(g, x + 2 * (float)column, y + 2 * (float)row, 2, 2, rgb);
    }
}

static void draw_creatures(struct game *g)
{
    for (int i = 0; i < CREATURES; i++) {
        struct creature *c = &g->creatures[i];
        if (!c->id)
            continue;
        float size = c->kind == PREDATOR ? 9 : 6;
        uint32_t colour = c->kind == PREDATOR ? 0xe05040 : 0x60c060;
        if (c->broken > 0) {
            fill(g, c->x - 12, c->y - 12, 24, 24, 0xffffff);
            colour = 0xff00ff;
            size = 18;
        }
        fill(g, c->x - size / 2, c->y - size / 2, size, size, colour);
    }
}

/* A bar for each of the last frames, script and on it the collector: 16 ms are 60 high. */
static void draw_graph(struct game *g)
{
    float bottom = HEIGHT - 8, ms = 60.0f / 16;
    fill(g, 8, bottom - 60, GRAPH * 2, 60, 0x101418);
    for (int i = 0; i < GRAPH; i++) {
        int at = (g->frame + 1 + i) % GRAPH;
        float step = fminf(g->step_ms[at] * ms, 60), gc = fminf(g->gc_ms[at] * ms, 60 - step);
        fill(g, 8 + 2 * (float)i, bottom - step, 2, step, 0x50a0ff);
        fill(g, 8 + 2 * (float)i, bottom - step - gc, 2, gc, 0xffc040);
    }
    draw_text(g, 12, bottom - 58, 0x808890, "16 ms");
}

static void draw(struct game *g)
{
    neap_stats s = {.size = sizeof s};
    char line[TEXT];
    neap_get_stats(g->N, &s);
    fill(g, 0, 0, WIDTH, HEIGHT, 0x182018);
    draw_creatures(g);
    fill(g, 0, HEIGHT - 90, WIDTH, 90, 0x202428);
    draw_graph(g);
    snprintf(line, sizeof line, "tasklets %zu  timers %zu  prey %d  predators %d", s.tasks,
             s.timers, g->count[PREY], g->count[PREDATOR]);
    draw_text(g, 500, HEIGHT - 82, 0xe0e0e0, line);
    snprintf(line, sizeof line, "step %.2f ms  gc %.2f ms, longest %.2f",
             (double)s.script_ns * 1e-6, (double)s.gc_ns * 1e-6, (double)s.gc_max_ns * 1e-6);
    draw_text(g, 500, HEIGHT - 64, 0xe0e0e0, line);
    snprintf(line, sizeof line, "time %.1f  pace %.2f%s  errors %d  %zu KiB", neap_now(g->N),
             g->scale, g->paused ? " (paused)" : "", g->errors, s.mem / 1024);
    draw_text(g, 500, HEIGHT - 46, 0xe0e0e0, line);
    draw_text(g, 12, 8, 0xff80ff, g->message);
}

static void shoot(struct game *g, const char *path)
{
    SDL_Surface *s =
        SDL_CreateRGBSurfaceWithFormat(0, WIDTH, HEIGHT, 24, SDL_PIXELFORMAT_BGR24);
    SDL_RenderReadPixels(g->renderer, NULL, SDL_PIXELFORMAT_BGR24, s->pixels, s->pitch);
    if (SDL_SaveBMP(s, path) < 0)
        fprintf(stderr, "game: %s\n", SDL_GetError());
    SDL_FreeSurface(s);
}

static void set_pace(struct game *g, double scale)
{
    g->scale = scale < 0.125 ? 0.125 : scale > 8 ? 8 : scale;
    neap_scale(g->N, g->paused ? 0 : g->scale);
}

/* Puts what --input has for this frame into SDL's queue. */
static void act(struct game *g)
{
    int at, length;
    char name[16];
    while (g->input && sscanf(g->input, "%d %15s%n", &at, name, &length) == 2 &&
           at <= g->frame) {
        SDL_Event e = {.type = SDL_KEYDOWN};
        e.key.keysym.sym = SDL_GetKeyFromName(name);
        if (strcmp(name, "Click") == 0) {
            e.type = SDL_MOUSEBUTTONDOWN;
            e.button.x = WIDTH / 2;
            e.button.y = HEIGHT / 2;
        }
        SDL_PushEvent(&e);
        g->input += length;
    }
}

/* False: it is over. */
static int take_events(struct game *g)
{
    SDL_Event e;
    act(g);
    while (SDL_PollEvent(&e)) {
        if (e.type == SDL_QUIT)
            return 0;
        if (e.type == SDL_MOUSEBUTTONDOWN)
            make(g, PREY, (float)e.button.x, (float)e.button.y);
        if (e.type != SDL_KEYDOWN)
            continue;
        switch (e.key.keysym.sym) {
        case SDLK_ESCAPE:
            return 0;
        case SDLK_SPACE:
            g->paused = !g->paused;
            set_pace(g, g->scale);
            break;
        case SDLK_PLUS:
        case SDLK_EQUALS:
            set_pace(g, g->scale * 2);
            break;
        case SDLK_MINUS:
            set_pace(g, g->scale / 2);
            break;
        case SDLK_r:
            reload(g);
        }
    }
    return 1;
}

static void frame(struct game *g, double dt)
{
    neap_stats s = {.size = sizeof s};
    uint64_t began = SDL_GetPerformanceCounter();
    if (g->frames)
        neap_step_n(g->N, dt, INT_MAX); /* however long that takes */
    else
        neap_step(g->N, dt, 4000000);
    move(g, g->paused ? 0 : (float)(dt * g->scale));
    draw(g);
    double used =
        (double)(SDL_GetPerformanceCounter() - began) / (double)SDL_GetPerformanceFrequency();
    neap_gc(g->N, used < 0.014 ? (int64_t)((0.015 - used) * 1e8) : 0); /* a tenth of the rest */
    neap_get_stats(g->N, &s);
    g->frame++;
    g->step_ms[g->frame % GRAPH] = (float)s.script_ns * 1e-6f;
    g->gc_ms[g->frame % GRAPH] = (float)s.gc_ns * 1e-6f;
    if (g->frame % 15 == 0 && saved_at(g->script) != g->saved)
        reload(g);
    SDL_RenderPresent(g->renderer);
}

/* Frames of a 60th of a second, or as long as they take. */
static void play(struct game *g, const char *shot)
{
    uint64_t last = SDL_GetTicks64();
    while (take_events(g) && (!g->frames || g->frame < g->frames)) {
        uint64_t now = SDL_GetTicks64();
        frame(g, g->frames ? 1.0 / 60 : (double)(now - last) * 1e-3);
        last = now;
        if (!g->frames && SDL_GetTicks64() - now < 16)
            SDL_Delay((Uint32)(16 - (SDL_GetTicks64() - now)));
    }
    if (shot) {
        draw(g);
        shoot(g, shot);
    }
}

static int open_window(struct game *g, int software)
{
    if (SDL_Init(SDL_INIT_VIDEO) < 0)
        return -1;
    g->window = SDL_CreateWindow("neap", SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED,
                                 WIDTH, HEIGHT, 0);
    g->renderer = g->window
                      ? SDL_CreateRenderer(g->window, -1, software ? SDL_RENDERER_SOFTWARE : 0)
                      : NULL;
    return g->renderer ? 0 : -1;
}

int main(int argc, char **argv)
{
    static struct game g = {.script = "scripts/game/brains.lua", .scale = 1};
    const char *shot = NULL;
    uint64_t seed = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--frames") == 0)
            g.frames = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--shot") == 0)
            shot = argv[i + 1];
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--script") == 0)
            g.script = argv[i + 1];
        else if (strcmp(argv[i], "--input") == 0)
            g.input = argv[i + 1];
    }
    if (open_script(&g, seed) < 0)
        return 1;
    if (open_window(&g, g.frames > 0) < 0) {
        fprintf(stderr, "game: %s\n", SDL_GetError());
        return 1;
    }
    for (int i = 0; i < 330; i++)
        make(&g, i % 11 ? PREY : PREDATOR, (float)(i * 7919 % WIDTH),
             (float)(i * 104729 % (HEIGHT - 90)));
    play(&g, shot);
    neap_stats s = {.size = sizeof s};
    neap_get_stats(g.N, &s);
    printf("%d frames, %.2f s, %zu tasklets, %d prey, %d predators, %d errors\n", g.frame,
           neap_now(g.N), s.tasks, g.count[PREY], g.count[PREDATOR], g.errors);
    g.over = 1; /* neap_free ends them all */
    neap_free(g.N);
    SDL_Quit();
    return 0;
}
