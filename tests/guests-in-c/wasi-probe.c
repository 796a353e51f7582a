// A plugin for the host's tests that uses WASI as any C program does. Its configuration `{"do": ...}` says how:
// `see` answers with a record for the batch, whose value is JSON that says what is to be seen; `sleep` sleeps for ever, `print`
// prints for ever, `exit` exits, `escape` writes terminal codes, `deny` tries to write a file and answers with what came of it.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

#include "transform.h"

extern char **environ;

static char deed[16];
// What randomness gave in `init`, where there is no batch yet.
static unsigned char in_init[8];
static long long time_in_init;

static long long now(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time)) abort();
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long number(const unsigned char *bytes) {
    long long number = 0;
    memcpy(&number, bytes, 6);
    return number;
}

bool exports_weir_plugin_step_init(transform_string_t *config, exports_weir_plugin_step_context_t *context,
                                   exports_weir_plugin_step_description_t *ret,
                                   exports_weir_plugin_step_config_error_t *err) {
    char text[64] = {0};
    memcpy(text, config->ptr, config->len < sizeof text ? config->len : sizeof text - 1);
    if (sscanf(text, "{\"do\":\"%15[a-z]\"}", deed) != 1) {
        transform_string_dup(&err->path, "do");
        transform_string_dup(&err->message, "expected a deed");
        return false;
    }
    if (getentropy(in_init, sizeof in_init)) abort();
    time_in_init = now(CLOCK_REALTIME);
    printf("started to %s\n", deed);
    fflush(stdout);
    transform_string_free(config);
    exports_weir_plugin_step_context_free(context);
    *ret = (exports_weir_plugin_step_description_t){{NULL, 0}, false};
    return true;
}

// The error of opening a file that every machine has, and of making one; 0: it worked.
static int open_error(const char *path, int flags) {
    errno = 0;
    int file = open(path, flags, 0600);
    return file < 0 ? errno : 0;
}

static int see(char *out, size_t room) {
    unsigned char random[8];
    if (getentropy(random, sizeof random)) abort();
    long long wall = now(CLOCK_REALTIME), first = now(CLOCK_MONOTONIC), second = now(CLOCK_MONOTONIC);
    struct timespec hour = {3600, 0};
    if (nanosleep(&hour, NULL)) abort();
    long long slept = now(CLOCK_MONOTONIC) - second;
    __wasi_size_t arguments = 99, bytes = 0;
    if (__wasi_args_sizes_get(&arguments, &bytes)) abort();
    char *home = getenv("PATH");
    int variables = 0;
    while (environ && environ[variables]) variables++;
    char read_from[8];
    ssize_t taken = read(0, read_from, sizeof read_from);
    fprintf(stderr, "seen by %lld\n", wall);
    return snprintf(out, room,
                    "{\"wall\":%lld,\"first\":%lld,\"step\":%lld,\"slept\":%lld,\"random\":%lld,\"random_in_init\":%lld,"
                    "\"time_in_init\":%lld,\"arguments\":%d,\"variables\":%d,\"path\":%s,\"stdin\":%d,\"directory\":%s}",
                    wall, first, second - first, slept, number(random), number(in_init), time_in_init, (int)arguments,
                    variables, home ? "true" : "false", (int)taken, opendir("/") ? "true" : "false");
}

static int deny(char *out, size_t room) {
    struct stat found;
    return snprintf(out, room, "{\"read\":%d,\"write\":%d,\"relative\":%d,\"up\":%d,\"stat\":%d,\"mkdir\":%d}",
                    open_error("/etc/passwd", O_RDONLY), open_error("/tmp/weir-probe", O_CREAT | O_WRONLY),
                    open_error("probe", O_CREAT | O_WRONLY), open_error("../../etc/passwd", O_RDONLY),
                    stat("/", &found), mkdir("/tmp/weir-probe", 0700));
}

static void misbehave(void) {
    struct timespec hour = {3600, 0};
    if (!strcmp(deed, "exit")) exit(3);
    while (!strcmp(deed, "sleep")) nanosleep(&hour, NULL);
    while (!strcmp(deed, "print")) puts("again");
    if (!strcmp(deed, "escape")) {
        printf("\x1b[2Jforged\rline \xff\n");
        printf("no end");
        fflush(stdout);
    }
}

void exports_weir_plugin_step_process(uint32_t input, exports_weir_plugin_step_batch_t *batch,
                                      exports_weir_plugin_step_outcome_t *ret) {
    misbehave();
    char *text = malloc(1024);
    uint32_t *origin = malloc(4), *index = malloc(16);
    int64_t *meta = malloc(16);
    if (!text || !origin || !index || !meta || !batch->meta.len) abort();
    uint32_t length = (uint32_t)(strcmp(deed, "deny") ? see(text, 1024) : deny(text, 1024));
    *origin = 0;
    memcpy(meta, batch->meta.ptr, 16);
    index[0] = 0, index[1] = index[2] = length, index[3] = 1;
    *ret = (exports_weir_plugin_step_outcome_t){0};
    ret->answer.tag = EXPORTS_WEIR_PLUGIN_STEP_ANSWER_REPLACED;
    ret->answer.val.replaced.origin = (transform_list_u32_t){origin, 1};
    ret->answer.val.replaced.records.index = (transform_list_u32_t){index, 4};
    ret->answer.val.replaced.records.meta = (transform_list_s64_t){meta, 2};
    ret->answer.val.replaced.records.data = (transform_list_u8_t){(uint8_t *)text, length};
    exports_weir_plugin_step_batch_free(batch);
}
