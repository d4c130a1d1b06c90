/* Recursive descent: expr = term {(+|-) term}, term = factor {(*|/) factor}. */
#include "calc.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static struct node *expression(struct parser *parser);

static struct node *make(enum kind kind, struct node *left, struct node *right)
{
    struct node *node = calloc(1, sizeof *node);
    if (node) {
        node->kind = kind;
        node->left = left;
        node->right = right;
    }
    return node;
}

void node_free(struct node *node)
{
    if (!node)
        return;
    node_free(node->left);
    node_free(node->right);
    free(node->name);
    free(node);
}

static void skip(struct parser *parser)
{
    while (isspace((unsigned char)*parser->at))
        parser->at++;
}

static int take(struct parser *parser, char c)
{
    skip(parser);
    if (*parser->at != c)
        return 0;
    parser->at++;
    return 1;
}

static struct node *factor(struct parser *parser)
{
    skip(parser);
    if (take(parser, '-'))
        return make(NEGATE, factor(parser), NULL);
    if (take(parser, '(')) {
        struct node *inside = expression(parser);
        if (!take(parser, ')') && !parser->error)
            parser->error = "expected )";
        return inside;
    }
    if (isdigit((unsigned char)*parser->at)) {
        char *end;
        struct node *node = make(NUMBER, NULL, NULL);
        node->number = strtod(parser->at, &end);
        parser->at = end;
        return node;
    }
    if (isalpha((unsigned char)*parser->at)) {
        const char *start = parser->at;
        while (isalnum((unsigned char)*parser->at))
            parser->at++;
        struct node *node = make(NAME, NULL, NULL);
        node->name = strndup(start, (size_t)(parser->at - start));
        if (take(parser, '(')) {
            node->kind = CALL;
            node->left = expression(parser);
            if (!take(parser, ')') && !parser->error)
                parser->error = "expected ) after the argument";
        }
        return node;
    }
    if (!parser->error)
        parser->error = "expected a number, a name or (";
    return NULL;
}

static struct node *term(struct parser *parser)
{
    struct node *left = factor(parser);
    for (;;) {
        if (take(parser, '*'))
            left = make(MULTIPLY, left, factor(parser));
        else if (take(parser, '/'))
            left = make(DIVIDE, left, factor(parser));
        else
            return left;
    }
}

static struct node *expression(struct parser *parser)
{
    struct node *left = term(parser);
    if (left && left->kind == NAME && take(parser, '='))
        return make(ASSIGN, left, expression(parser));
    for (;;) {
        if (take(parser, '+'))
            left = make(ADD, left, term(parser));
        else if (take(parser, '-'))
            left = make(SUBTRACT, left, term(parser));
        else
            return left;
    }
}

struct node *parse(struct parser *parser)
{
    skip(parser);
    if (!*parser->at)
        return NULL;
    struct node *tree = expression(parser);
    skip(parser);
    if (*parser->at && !parser->error)
        parser->error = "something follows the expression";
    return tree;
}
