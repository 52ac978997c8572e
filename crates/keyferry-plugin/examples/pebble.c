/*
 * A plugin in C, as small as one can be: a cloud without any pairs. `list` finds none, nothing else is there.
 *
 *     cc -std=c11 -shared -fPIC -I include -o libkeyferry_pebble.so examples/pebble.c
 */
#include <stdlib.h>
#include <string.h>

#include "keyferry_plugin.h"

KEYFERRY_MANIFEST(
    "{\"name\":\"pebble\",\"version\":\"0.1.0\",\"title\":\"A cloud without pairs\","
    "\"hosts\":[\"keys.pebble.example\"],\"region\":\"optional\",\"headers\":[],"
    "\"operations\":{\"list\":{}},"
    "\"names\":{\"min_length\":1,\"max_length\":64,\"starts_with_letter\":false,\"punctuation\":\"-\"},"
    "\"algorithms\":{\"create\":[],\"import\":[]},\"credentials\":{},\"fingerprints\":[\"sha256\"]}");

static const char no_pairs[] = "{\"done\":{\"outcome\":{\"pairs\":[]}}}";
static const char unsupported[] =
    "{\"fail\":{\"error\":{\"kind\":\"unsupported\",\"message\":\"this plugin can only list\"}}}";

/* The operation is an object of one key: {"operation":{"list":{...}}, ...}. A real plugin parses JSON. */
static int asks_for(const uint8_t *request, size_t length, const char *text) {
    size_t wanted = strlen(text);
    for (size_t i = 0; i + wanted <= length; i++)
        if (memcmp(request + i, text, wanted) == 0) return 1;
    return 0;
}

static keyferry_buffer step(const uint8_t *request, size_t length) {
    /* Refers to the manifest, so that no linker drops it. */
    int listed = keyferry_manifest.magic[0] == 'K' && asks_for(request, length, "\"operation\":{\"list\":");
    const char *answer = listed ? no_pairs : unsupported;
    keyferry_buffer buffer = {malloc(strlen(answer)), strlen(answer)};
    if (buffer.data == NULL)
        buffer.length = 0;
    else
        memcpy(buffer.data, answer, buffer.length);
    return buffer;
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
