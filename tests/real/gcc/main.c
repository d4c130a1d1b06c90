/* A small expression language: reads programs, runs them, prints what they say. */
#include "calc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_all(FILE *in)
{
    size_t length = 0, room = 16;
    char *text = malloc(room);
    for (int c; text && (c = fgetc(in)) != EOF;) {
        if (length + 2 > room)
            text = realloc(text, room += room / 2);
        text[length++] = (char)c;
    }
    if (text)
        text[length] = '\0';
    return text;
}

int main(void)
{
    char *text = read_all(stdin);
    if (!text)
        return 2;
    struct table *names = table_new();
    int failures = 0, line = 0;
    for (char *at = text; *at;) {
        char *end = strchr(at, '\n');
        if (end)
            *end = '\0';
        line++;
        struct parser parser = {.at = at};
        struct node *tree = parse(&parser);
        if (parser.error) {
            printf("%d: error: %s\n", line, parser.error);
            failures++;
        } else if (tree) {
            printf("%d: %.10g\n", line, evaluate(tree, names));
        }
        node_free(tree);
        if (!end)
            break;
        at = end + 1;
    }
    printf("%zu names, %d errors\n", table_size(names), failures);
    table_free(names);
    free(text);
    return 0;
}
