#include "base/slots.h"

static struct slot *slot_of(const struct slots *s, uint64_t id)
{
    uint32_t index = (uint32_t)id - 1;
    if ((uint32_t)id == 0 || index >= s->count)
        return NULL;
    struct slot *slot = &s->slots[index];
    return slot->generation == id >> 32 ? slot : NULL;
}

uint64_t slots_add(struct slots *s, struct memory *m, void *item)
{
    uint32_t index;
    if (s->first_free) {
        index = s->first_free - 1;
        s->first_free = s->slots[index].next;
        if (!s->first_free)
            s->last_free = 0;
    } else {
        if (s->count == s->cap) {
            void *p = memory_grow(m, s->slots, &s->cap, s->count + 1, sizeof *s->slots);
            if (!p)
                return 0;
            s->slots = p;
        }
        index = s->count++;
        s->slots[index] = (struct slot){0};
    }
    struct slot *slot = &s->slots[index];
    slot->item = item;
    slot->generation++;
    slot->next = 0;
    slot->last_word = 0;
    return (uint64_t)slot->generation << 32 | (index + 1);
}

void *slots_find(const struct slots *s, uint64_t id, int *last_word)
{
    struct slot *slot = slot_of(s, id);
    if (last_word)
        *last_word = slot ? slot->last_word : 0;
    return slot ? slot->item : NULL;
}

void slots_drop(struct slots *s, uint64_t id, int last_word)
{
    struct slot *slot = slot_of(s, id);
    if (!slot || !slot->item)
        return;
    slot->item = NULL;
    slot->last_word = last_word;
    uint32_t index = (uint32_t)id;
    if (s->last_free)
        s->slots[s->last_free - 1].next = index;
    else
        s->first_free = index;
    s->last_free = index;
}

void slots_free(struct slots *s, struct memory *m)
{
    memory_free(m, s->slots, s->cap * sizeof *s->slots);
    *s = (struct slots){0};
}
