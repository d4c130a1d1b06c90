/* Shared by all files of the calculator. */
#ifndef CALC_H
#define CALC_H

#include <stddef.h>

enum kind { NUMBER, NAME, ASSIGN, ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE, CALL };

struct node {
    enum kind kind;
    double number;
    char *name;
    struct node *left, *right;
};

struct parser {
    const char *at;
    const char *error;
};

struct table;

struct node *parse(struct parser *parser);
void node_free(struct node *node);
double evaluate(const struct node *node, struct table *names);

struct table *table_new(void);
double *table_at(struct table *table, const char *name);
size_t table_size(const struct table *table);
void table_free(struct table *table);

#endif
