/* Walks the tree. */
#include "calc.h"

#include <math.h>
#include <string.h>

static double call(const char *name, double x)
{
    static const struct {
        const char *name;
        double (*function)(double);
    } known[] = {
        {"sqrt", sqrt}, {"sin", sin}, {"cos", cos}, {"floor", floor}, {"exp", exp}, {"log", log},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].function(x);
    return NAN;
}

double evaluate(const struct node *node, struct table *names)
{
    if (!node)
        return NAN;
    switch (node->kind) {
    case NUMBER:
        return node->number;
    case NAME:
        return *table_at(names, node->name);
    case ASSIGN:
        return *table_at(names, node->left->name) = evaluate(node->right, names);
    case ADD:
        return evaluate(node->left, names) + evaluate(node->right, names);
    case SUBTRACT:
        return evaluate(node->left, names) - evaluate(node->right, names);
    case MULTIPLY:
        return evaluate(node->left, names) * evaluate(node->right, names);
    case DIVIDE:
        return evaluate(node->left, names) / evaluate(node->right, names);
    case NEGATE:
        return -evaluate(node->left, names);
    case CALL:
        return call(node->name, evaluate(node->left, names));
    }
    return NAN;
}
