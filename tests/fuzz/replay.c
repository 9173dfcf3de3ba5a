/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for libFuzzer where there is none: runs a fuzz target once over every file of a corpus,
 * and over every prefix of the short ones. Each input lies in memory of exactly its size, so that
 * AddressSanitizer sees a read past the end.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define INPUT_MAX (1 << 20)
/* Inputs up to this long are tried cut at every byte as well. */
#define CUT_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    if (!copy)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static int run_file(const char *directory, const char *name)
{
    cleanup_free char *path = NULL;
    cleanup_free uint8_t *data = malloc(INPUT_MAX);
    cleanup_file FILE *file = NULL;
    size_t size;

    if (!data || asprintf(&path, "%s/%s", directory, name) < 0)
        return -1;
    file = fopen(path, "rbe");
    if (!file) {
        perror(path);
        return -1;
    }
    size = fread(data, 1, INPUT_MAX, file);
    for (size_t cut = size <= CUT_MAX ? 0 : size; cut <= size; cut++)
        run_copy(data, cut);
    return 0;
}

int main(int argc, char **argv)
{
    DIR *directory = argc == 2 ? opendir(argv[1]) : NULL;
    struct dirent *entry;
    unsigned count = 0;
    int failed = 0;

    if (!directory) {
        fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
        return 2;
    }
    while ((entry = readdir(directory))) {
        if (entry->d_name[0] == '.')
            continue;
        failed |= run_file(argv[1], entry->d_name);
        count++;
    }
    closedir(directory);
    printf("%u inputs\n", count);
    return failed || count == 0;
}
