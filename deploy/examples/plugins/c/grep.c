// An example of a plugin: keeps the records whose value contains a text, and can mark or reject them. README.md in the
// directory above says what its settings are; `transform.h` is generated from the contract in wit/.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "transform.h"

typedef exports_weir_plugin_step_batch_t batch_t;
typedef exports_weir_plugin_step_outcome_t outcome_t;
typedef exports_weir_plugin_step_reject_t reject_t;

enum { KEY_END, VALUE_END, HEADERS_END, FLAGS, INDEX_WIDTH };
enum { OFFSET, TIMESTAMP, META_WIDTH };
enum { VALUE_NULL = 2 };

// A text of the configuration; `ptr` is null where it is not set.
typedef struct {
    uint8_t *ptr;
    size_t len;
} text_t;

enum { NEEDLE, MARK, REJECT, RETRY, SETTINGS };
static const char *const NAMES[SETTINGS] = {"needle", "mark", "reject", "retry"};
static text_t settings[SETTINGS];

static void *allocate(size_t bytes) {
    void *at = malloc(bytes ? bytes : 1);
    // The host starts a fresh instance and tries again with fewer records.
    if (!at) abort();
    return at;
}

// The configuration: a JSON object whose values are texts.

typedef struct {
    const uint8_t *at, *end;
} json_t;

static void skip_spaces(json_t *json) {
    while (json->at < json->end && strchr(" \t\r\n", *json->at)) json->at++;
}

static bool take(json_t *json, char c) {
    skip_spaces(json);
    if (json->at == json->end || *json->at != c) return false;
    json->at++;
    return true;
}

static bool read_hex(json_t *json, uint32_t *out) {
    uint32_t number = 0;
    if (json->end - json->at < 4) return false;
    for (int n = 0; n < 4; n++) {
        uint8_t c = *json->at++;
        uint32_t digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 16;
        if (digit == 16) return false;
        number = number * 16 + digit;
    }
    *out = number;
    return true;
}

static size_t write_utf8(uint8_t *out, uint32_t c) {
    if (c < 0x80) return out[0] = (uint8_t)c, 1;
    if (c < 0x800) return out[0] = (uint8_t)(0xc0 | c >> 6), out[1] = (uint8_t)(0x80 | (c & 63)), 2;
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12), out[1] = (uint8_t)(0x80 | (c >> 6 & 63)), out[2] = (uint8_t)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18), out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 63)), out[3] = (uint8_t)(0x80 | (c & 63));
    return 4;
}

// What stands behind a backslash.
static bool read_escape(json_t *json, text_t *text) {
    static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
    if (json->at == json->end) return false;
    uint8_t c = *json->at++;
    const char *known = c ? strchr(FROM, c) : NULL;
    if (known) return text->ptr[text->len++] = (uint8_t)TO[known - FROM], true;
    uint32_t high, low;
    if (c != 'u' || !read_hex(json, &high)) return false;
    if (high >= 0xd800 && high < 0xdc00) {
        if (json->end - json->at < 2 || json->at[0] != '\\' || json->at[1] != 'u') return false;
        json->at += 2;
        if (!read_hex(json, &low) || low < 0xdc00 || low >= 0xe000) return false;
        high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    }
    text->len += write_utf8(text->ptr + text->len, high);
    return true;
}

// A string. An escape is never shorter than what it stands for, so the text fits where the rest of the JSON would.
static bool read_text(json_t *json, text_t *text) {
    if (!take(json, '"')) return false;
    *text = (text_t){allocate((size_t)(json->end - json->at)), 0};
    while (json->at < json->end && *json->at != '"') {
        uint8_t c = *json->at++;
        if (c != '\\') text->ptr[text->len++] = c;
        else if (!read_escape(json, text)) break;
    }
    if (take(json, '"')) return true;
    free(text->ptr);
    return false;
}

static bool refuse(exports_weir_plugin_step_config_error_t *err, const text_t *path, const char *message) {
    if (path) transform_string_dup_n(&err->path, (const char *)path->ptr, path->len);
    else transform_string_dup(&err->path, "");
    transform_string_dup(&err->message, message);
    return false;
}

// A name and its text. False: `err` says what is wrong.
static bool read_setting(json_t *json, exports_weir_plugin_step_config_error_t *err) {
    text_t name;
    if (!read_text(json, &name) || !take(json, ':')) return refuse(err, NULL, "expected a JSON object");
    text_t *setting = NULL;
    for (int n = 0; n < SETTINGS; n++) {
        if (name.len == strlen(NAMES[n]) && !memcmp(name.ptr, NAMES[n], name.len)) setting = &settings[n];
    }
    bool is_fine = false;
    if (!setting) refuse(err, &name, "unknown setting, expected needle, mark, reject or retry");
    else if (!read_text(json, setting)) refuse(err, &name, "expected a text");
    else if (!setting->len) refuse(err, &name, "expected a text, got an empty one");
    else is_fine = true;
    free(name.ptr);
    return is_fine;
}

static bool read_config(json_t *json, exports_weir_plugin_step_config_error_t *err) {
    if (!take(json, '{')) return refuse(err, NULL, "expected a JSON object");
    if (!take(json, '}')) {
        do {
            if (!read_setting(json, err)) return false;
        } while (take(json, ','));
        if (!take(json, '}')) return refuse(err, NULL, "expected a JSON object");
    }
    return settings[NEEDLE].ptr || refuse(err, NULL, "missing setting needle: what a value has to contain");
}

bool exports_weir_plugin_step_init(transform_string_t *config, exports_weir_plugin_step_context_t *context,
                                   exports_weir_plugin_step_description_t *ret,
                                   exports_weir_plugin_step_config_error_t *err) {
    json_t json = {config->ptr, config->ptr + config->len};
    bool is_fine = read_config(&json, err);
    transform_string_free(config);
    exports_weir_plugin_step_context_free(context);
    *ret = (exports_weir_plugin_step_description_t){{NULL, 0}, false};
    return is_fine;
}

// A batch.

static uint32_t column(const batch_t *batch, size_t record, int which) {
    return batch->index.ptr[record * INDEX_WIDTH + which];
}

static uint32_t begin_of(const batch_t *batch, size_t record) {
    return record ? column(batch, record - 1, HEADERS_END) : 0;
}

static bool contains(const batch_t *batch, size_t record, int setting) {
    uint32_t from = column(batch, record, KEY_END), to = column(batch, record, VALUE_END);
    const text_t *text = &settings[setting];
    return text->ptr && memmem(batch->data.ptr + from, to - from, text->ptr, text->len);
}

static reject_t reject(size_t record, int setting) {
    static const char BEFORE[] = "the value contains \"", BETWEEN[] = "\", which `", AFTER[] = "` names";
    const char *name = NAMES[setting];
    size_t len = sizeof BEFORE + settings[setting].len + sizeof BETWEEN + strlen(name) + sizeof AFTER - 3;
    reject_t reject = {(uint32_t)record, {allocate(len), len}, setting == RETRY};
    char *at = mempcpy(reject.reason.ptr, BEFORE, sizeof BEFORE - 1);
    at = mempcpy(at, settings[setting].ptr, settings[setting].len);
    at = mempcpy(at, BETWEEN, sizeof BETWEEN - 1);
    at = mempcpy(at, name, strlen(name));
    memcpy(at, AFTER, sizeof AFTER - 1);
    return reject;
}

static uint8_t *write_number(uint8_t *at, size_t number) {
    for (int n = 0; n < 4; n++) *at++ = (uint8_t)(number >> 8 * n);
    return at;
}

// New records: those that were kept, each with one more header.
static void mark(const batch_t *batch, const transform_list_u32_t *kept, exports_weir_plugin_step_replacement_t *ret) {
    size_t header = 4 + settings[MARK].len + 4 + settings[NEEDLE].len;
    ret->origin = *kept;
    ret->records.index = (transform_list_u32_t){allocate(kept->len * INDEX_WIDTH * 4), kept->len * INDEX_WIDTH};
    ret->records.meta = (transform_list_s64_t){allocate(kept->len * META_WIDTH * 8), kept->len * META_WIDTH};
    uint8_t *data = allocate(batch->data.len + kept->len * header), *at = data;
    for (size_t n = 0; n < kept->len; n++) {
        size_t record = kept->ptr[n];
        uint32_t begin = begin_of(batch, record), moved = (uint32_t)(at - data) - begin;
        at = mempcpy(at, batch->data.ptr + begin, column(batch, record, HEADERS_END) - begin);
        at = mempcpy(write_number(at, settings[MARK].len), settings[MARK].ptr, settings[MARK].len);
        at = mempcpy(write_number(at, settings[NEEDLE].len), settings[NEEDLE].ptr, settings[NEEDLE].len);
        uint32_t *index = ret->records.index.ptr + n * INDEX_WIDTH;
        index[KEY_END] = column(batch, record, KEY_END) + moved;
        index[VALUE_END] = column(batch, record, VALUE_END) + moved;
        index[HEADERS_END] = (uint32_t)(at - data);
        index[FLAGS] = column(batch, record, FLAGS);
        memcpy(ret->records.meta.ptr + n * META_WIDTH, batch->meta.ptr + record * META_WIDTH, META_WIDTH * 8);
    }
    ret->records.data = (transform_list_u8_t){data, (size_t)(at - data)};
}

void exports_weir_plugin_step_process(uint32_t input, batch_t *batch, outcome_t *ret) {
    size_t records = batch->index.len / INDEX_WIDTH;
    transform_list_u32_t kept = {allocate(records * 4), 0};
    exports_weir_plugin_step_list_reject_t rejects = {allocate(records * sizeof(reject_t)), 0};
    for (size_t n = 0; n < records; n++) {
        if (column(batch, n, FLAGS) & VALUE_NULL) continue;
        if (contains(batch, n, REJECT)) rejects.ptr[rejects.len++] = reject(n, REJECT);
        else if (contains(batch, n, RETRY)) rejects.ptr[rejects.len++] = reject(n, RETRY);
        else if (contains(batch, n, NEEDLE)) kept.ptr[kept.len++] = (uint32_t)n;
    }
    ret->rejects = rejects;
    if (settings[MARK].ptr && kept.len) {
        ret->answer.tag = EXPORTS_WEIR_PLUGIN_STEP_ANSWER_REPLACED;
        mark(batch, &kept, &ret->answer.val.replaced);
    } else if (kept.len + rejects.len == records) {
        ret->answer.tag = EXPORTS_WEIR_PLUGIN_STEP_ANSWER_UNCHANGED;
        free(kept.ptr);
    } else {
        ret->answer.tag = EXPORTS_WEIR_PLUGIN_STEP_ANSWER_SELECT;
        ret->answer.val.select = kept;
    }
    // An empty list owns nothing that the bindings would free.
    if (!rejects.len) free(rejects.ptr);
    exports_weir_plugin_step_batch_free(batch);
}
