/* Names and their values: open addressing, doubled when three quarters full. */
#include "calc.h"

#include <stdlib.h>
#include <string.h>

struct slot {
    char *name;
    double *value;
};

struct table {
    struct slot *slots;
    size_t room, used;
};

struct table *table_new(void)
{
    struct table *table = calloc(1, sizeof *table);
    table->room = 4;
    table->slots = calloc(table->room, sizeof *table->slots);
    return table;
}

static size_t place(const struct table *table, const char *name)
{
    size_t hash = 5381;
    for (const char *c = name; *c; c++)
        hash = hash * 33 + (unsigned char)*c;
    size_t at = hash % table->room;
    while (table->slots[at].name && strcmp(table->slots[at].name, name) != 0)
        at = (at + 1) % table->room;
    return at;
}

double *table_at(struct table *table, const char *name)
{
    size_t at = place(table, name);
    if (table->slots[at].name)
        return table->slots[at].value;
    if ((table->used + 1) * 4 > table->room * 3) {
        struct slot *old = table->slots;
        size_t room = table->room;
        table->room *= 2;
        table->slots = calloc(table->room, sizeof *table->slots);
        for (size_t i = 0; i < room; i++)
            if (old[i].name)
                table->slots[place(table, old[i].name)] = old[i];
        free(old);
        at = place(table, name);
    }
    table->used++;
    table->slots[at].name = strdup(name);
    table->slots[at].value = calloc(1, sizeof(double));
    return table->slots[at].value;
}

size_t table_size(const struct table *table)
{
    return table->used;
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->room; i++) {
        free(table->slots[i].name);
        free(table->slots[i].value);
    }
    free(table->slots);
    free(table);
}
