/*
 * keyferry_plugin.h - what a keyferry plugin exports, in C.
 *
 * A plugin is a shared library that exports one symbol, `keyferry_plugin`, which is a static table, and holds a
 * manifest in a section of its own, which keyferry reads from the file before any code of the library runs.
 *
 * Messages are JSON in UTF-8, without a terminating zero: `step` is given a request and returns a step. Their fields
 * are described in the Rust documentation of keyferry-plugin, module `contract`. A plugin ignores fields that it
 * does not know, and answers operations that it does not know with
 *     {"fail":{"error":{"kind":"unsupported","message":"..."}}}
 *
 * Ownership:
 *     memory                       allocated by   freed by
 *     the request given to step    keyferry       keyferry, after step returned; keep no pointer into it
 *     the buffer returned by step  the plugin     the plugin, when keyferry calls free with it, exactly once
 *     the table and the manifest   the library    nobody: a library is never unloaded
 *
 * keyferry calls from one thread at a time. Neither function may unwind (a C++ exception, a longjmp) into keyferry.
 */
#ifndef KEYFERRY_PLUGIN_H
#define KEYFERRY_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this file. keyferry refuses another major; a newer minor only adds. */
#define KEYFERRY_ABI_MAJOR 1
#define KEYFERRY_ABI_MINOR 0

/* "keyferry" in ASCII, the first letter as the most significant byte. */
#define KEYFERRY_TABLE_MAGIC UINT64_C(0x6b65796665727279)

/* Bytes. `data` may be null only where `length` is 0. */
typedef struct keyferry_buffer {
    uint8_t *data;
    size_t length;
} keyferry_buffer;

/* The type of the symbol `keyferry_plugin`. A newer minor adds fields at the end. */
typedef struct keyferry_plugin_table {
    uint64_t magic; /* KEYFERRY_TABLE_MAGIC */
    uint16_t major; /* KEYFERRY_ABI_MAJOR */
    uint16_t minor; /* KEYFERRY_ABI_MINOR */
    uint32_t size;  /* sizeof(keyferry_plugin_table) */
    /* Answers one request. The same request gets the same answer: no clock, no network, no files. */
    keyferry_buffer (*step)(const uint8_t *request, size_t length);
    /* Frees what step returned. */
    void (*free)(keyferry_buffer buffer);
} keyferry_plugin_table;

#if defined(__GNUC__)
#define KEYFERRY_EXPORT __attribute__((visibility("default")))
#else
#define KEYFERRY_EXPORT
#endif

/* Define it once: const keyferry_plugin_table keyferry_plugin = { ... }; */
extern KEYFERRY_EXPORT const keyferry_plugin_table keyferry_plugin;

/* The manifest: magic, major, minor, length (little-endian), then `length` bytes of JSON; zeros may follow. */
#define KEYFERRY_MANIFEST_MAGIC "KEYFERRY"
#define KEYFERRY_MANIFEST_HEADER_LENGTH 16
#define KEYFERRY_MANIFEST_MAX_LENGTH 262144
#define KEYFERRY_ELF_SECTION ".keyferry"
#define KEYFERRY_MACHO_SEGMENT "__DATA"
#define KEYFERRY_MACHO_SECTION "__keyferry"

#if defined(__APPLE__)
#define KEYFERRY_IN_SECTION __attribute__((used, section(KEYFERRY_MACHO_SEGMENT "," KEYFERRY_MACHO_SECTION)))
#else
#define KEYFERRY_IN_SECTION __attribute__((used, section(KEYFERRY_ELF_SECTION)))
#endif

/*
 * Puts the manifest, a string literal of JSON, into its section: KEYFERRY_MANIFEST("{...}");
 * Under a linker that drops unreferenced sections (--gc-sections), refer to `keyferry_manifest` from step.
 */
#define KEYFERRY_MANIFEST(json)                                                                          \
    extern const struct keyferry_manifest_record {                                                       \
        uint8_t magic[8], major[2], minor[2], length[4];                                                 \
        char text[sizeof(json)];                                                                         \
    } keyferry_manifest;                                                                                 \
    KEYFERRY_IN_SECTION const struct keyferry_manifest_record keyferry_manifest = {                      \
        {'K', 'E', 'Y', 'F', 'E', 'R', 'R', 'Y'},                                                        \
        {KEYFERRY_ABI_MAJOR & 0xff, KEYFERRY_ABI_MAJOR >> 8},                                            \
        {KEYFERRY_ABI_MINOR & 0xff, KEYFERRY_ABI_MINOR >> 8},                                            \
        {(sizeof(json) - 1) & 0xff, (sizeof(json) - 1) >> 8 & 0xff, (sizeof(json) - 1) >> 16 & 0xff, 0}, \
        json,                                                                                            \
    }

#ifdef __cplusplus
}
#endif

#endif
