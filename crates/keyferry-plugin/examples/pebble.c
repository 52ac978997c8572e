/*
 * A plugin in C, against the header alone: a cloud that lists its pairs as plain text, `NAME FINGERPRINT` a line, to who
 * shows a token, and that can do nothing else.
 *
 *     cc -std=c11 -shared -fPIC -I include -o libkeyferry_pebble.so examples/pebble.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keyferry_plugin.h"

KEYFERRY_MANIFEST(
    "{\"name\":\"pebble\",\"version\":\"0.1.0\",\"title\":\"A cloud that lists its pairs as text\","
    "\"hosts\":[\"keys.pebble.example\"],\"region\":\"optional\",\"headers\":[\"x-pebble-token\"],"
    "\"operations\":{\"list\":{\"calls\":[{\"method\":\"GET\",\"path\":\"/keys\"}]}},"
    "\"names\":{\"min_length\":1,\"max_length\":64,\"starts_with_letter\":false,\"punctuation\":\"-\"},"
    "\"algorithms\":{\"create\":[],\"import\":[]},"
    "\"credentials\":{\"token\":{\"class\":\"bearer\",\"places\":[\"header:x-pebble-token\"]}},"
    "\"fingerprints\":[\"sha256\"]}");

/* Text from `at` up to, not including, `end`. Of JSON: one value. `at` is null where there is none. */
typedef struct text {
    const char *at, *end;
} text;

static const char *skip_space(const char *at, const char *end) {
    while (at < end && strchr(" \t\r\n", *at) != NULL && *at != '\0') at++;
    return at;
}

/* The end of the JSON value that begins at `at`, null where there is none. Depth is counted, not recursed into. */
static const char *skip_value(const char *at, const char *end) {
    int depth = 0;
    for (; at < end; at++) {
        if (*at == '"') {
            for (at++; at < end && *at != '"'; at++)
                if (*at == '\\') at++;
            if (at >= end) return NULL;
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']') {
            if (depth == 0) return at;
            depth--;
        } else if (*at == ',' || *at == ':') {
            if (depth == 0) return at;
            continue;
        } else {
            continue;
        }
        if (depth == 0) return at + 1;
    }
    return depth == 0 ? end : NULL;
}

/* A member of a JSON object. Names are compared as they are written: those of the contract need no escapes. */
static text member(text object, const char *name) {
    const text none = {NULL, NULL};
    if (object.at == NULL) return none;
    const char *at = skip_space(object.at, object.end), *end = object.end;
    if (at >= end || *at != '{') return none;
    for (at = skip_space(at + 1, end); at < end && *at == '"'; at = skip_space(at + 1, end)) {
        const char *name_end = skip_value(at, end);
        if (name_end == NULL) return none;
        int wanted = (size_t)(name_end - at) == strlen(name) + 2 && memcmp(at + 1, name, strlen(name)) == 0;
        at = skip_space(name_end, end);
        if (at >= end || *at != ':') return none;
        at = skip_space(at + 1, end);
        const char *value_end = skip_value(at, end);
        if (value_end == NULL) return none;
        if (wanted) return (text){at, value_end};
        at = skip_space(value_end, end);
        if (at >= end || *at != ',') return none;
    }
    return none;
}

static int is_object(text value) { return value.at != NULL && value.at < value.end && *value.at == '{'; }

static int is_string(text value) { return value.at != NULL && value.end - value.at >= 2 && *value.at == '"'; }

static keyferry_buffer answer(const char *words) {
    keyferry_buffer buffer = {malloc(strlen(words)), strlen(words)};
    if (buffer.data == NULL)
        buffer.length = 0;
    else
        memcpy(buffer.data, words, buffer.length);
    return buffer;
}

static keyferry_buffer fail(const char *kind, const char *message) {
    char words[400];
    snprintf(words, sizeof words, "{\"fail\":{\"error\":{\"kind\":\"%s\",\"message\":\"%s\"}}}", kind, message);
    return answer(words);
}

/* The first step: the request. The account's own endpoint goes before the vendor's. */
static keyferry_buffer ask(text endpoint) {
    char words[1000];
    int own = is_string(endpoint) && endpoint.end - endpoint.at < 300;
    int length = own ? (int)(endpoint.end - endpoint.at) : 0;
    snprintf(words, sizeof words,
             "{\"http\":{\"request\":{\"method\":\"GET\",\"origin\":%.*s,\"path\":\"/keys\","
             "\"headers\":[[\"x-pebble-token\",{\"secret\":\"token\"}]]}}}",
             own ? length : 29, own ? endpoint.at : "\"https://keys.pebble.example\"");
    return answer(words);
}

static int is_of(char c, const char *punctuation) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr(punctuation, c) != NULL);
}

/* The second step: the lines of the body, which is a JSON string here, so a line's end is written `\n`. */
static keyferry_buffer read_pairs(text body) {
    const char *strange = "the answer is not lines of a name and a fingerprint";
    if (!is_string(body)) return fail("internal", strange);
    const char *at = body.at + 1, *end = body.end - 1;
    /* `a b\n` is five characters here and becomes thirty. */
    size_t room = (size_t)(end - at) * 8 + 100, length;
    char *words = malloc(room);
    if (words == NULL) return fail("internal", "out of memory");
    length = (size_t)sprintf(words, "{\"done\":{\"outcome\":{\"pairs\":[");
    for (int first = 1; at < end; first = 0) {
        text name = {at, at}, fingerprint;
        while (name.end < end && is_of(*name.end, "-")) name.end++;
        fingerprint.at = fingerprint.end = name.end < end ? name.end + 1 : end;
        while (fingerprint.end < end && is_of(*fingerprint.end, ":+/=")) fingerprint.end++;
        int ends = end - fingerprint.end >= 2 && memcmp(fingerprint.end, "\\n", 2) == 0;
        if (name.end == name.at || name.end - name.at > 64 || name.end >= end || *name.end != ' ' ||
            fingerprint.end == fingerprint.at || !ends) {
            free(words);
            return fail("internal", strange);
        }
        length += (size_t)sprintf(words + length, "%s{\"name\":\"%.*s\",\"fingerprint\":\"%.*s\"}", first ? "" : ",",
                                  (int)(name.end - name.at), name.at, (int)(fingerprint.end - fingerprint.at),
                                  fingerprint.at);
        at = fingerprint.end + 2;
    }
    length += (size_t)sprintf(words + length, "]}}}");
    return (keyferry_buffer){(uint8_t *)words, length};
}

static keyferry_buffer step(const uint8_t *request, size_t length) {
    /* Refers to the manifest, so that no linker drops it. */
    if (keyferry_manifest.magic[0] != 'K') return fail("internal", "no manifest");
    text all = {(const char *)request, (const char *)request + length};
    text operation = member(all, "operation"), reply = member(all, "reply");
    if (!is_object(operation)) return fail("internal", "the request is not understood");
    if (member(operation, "list").at == NULL) return fail("unsupported", "this plugin can only list");
    if (!is_object(reply)) return ask(member(member(all, "context"), "endpoint"));
    if (member(reply, "transport_error").at != NULL) return fail("unavailable", "no answer came");

    text response = member(reply, "response"), number = member(response, "status");
    int status = 0;
    for (; number.at != NULL && number.at < number.end && *number.at >= '0' && *number.at <= '9' && status < 1000; number.at++)
        status = status * 10 + (*number.at - '0');
    if (status == 200) return read_pairs(member(response, "body"));
    if (status == 401 || status == 403) return fail("unauthorized", "the token was refused");
    if (status == 429) return fail("throttled", "too many requests");
    if (status >= 500) return fail("unavailable", "the provider failed");
    return fail("internal", "the answer has a status that is not understood");
}

static void release(keyferry_buffer buffer) { free(buffer.data); }

const keyferry_plugin_table keyferry_plugin = {
    .magic = KEYFERRY_TABLE_MAGIC,
    .major = KEYFERRY_ABI_MAJOR,
    .minor = KEYFERRY_ABI_MINOR,
    .size = sizeof(keyferry_plugin_table),
    .step = step,
    .free = release,
};
