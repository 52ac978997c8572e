/* Prints what the header says, one `name value` a line, for the test beside it to compare. */
#include <stdio.h>

#include "keyferry_plugin.h"

KEYFERRY_MANIFEST("{\"name\":\"layout\"}");

#define NUMBER(name, value) printf("%s %llu\n", name, (unsigned long long)(value))
#define FIELD(type, field) NUMBER(#type "." #field, offsetof(type, field))

int main(void) {
    const unsigned char *manifest = (const unsigned char *)&keyferry_manifest;
    NUMBER("KEYFERRY_ABI_MAJOR", KEYFERRY_ABI_MAJOR);
    NUMBER("KEYFERRY_ABI_MINOR", KEYFERRY_ABI_MINOR);
    NUMBER("KEYFERRY_TABLE_MAGIC", KEYFERRY_TABLE_MAGIC);
    NUMBER("KEYFERRY_MANIFEST_HEADER_LENGTH", KEYFERRY_MANIFEST_HEADER_LENGTH);
    NUMBER("KEYFERRY_MANIFEST_MAX_LENGTH", KEYFERRY_MANIFEST_MAX_LENGTH);
    printf("KEYFERRY_MANIFEST_MAGIC %s\n", KEYFERRY_MANIFEST_MAGIC);
    printf("KEYFERRY_ELF_SECTION %s\n", KEYFERRY_ELF_SECTION);
    printf("KEYFERRY_MACHO_SEGMENT %s\n", KEYFERRY_MACHO_SEGMENT);
    printf("KEYFERRY_MACHO_SECTION %s\n", KEYFERRY_MACHO_SECTION);
    NUMBER("sizeof keyferry_buffer", sizeof(keyferry_buffer));
    FIELD(keyferry_buffer, data);
    FIELD(keyferry_buffer, length);
    NUMBER("sizeof keyferry_plugin_table", sizeof(keyferry_plugin_table));
    FIELD(keyferry_plugin_table, magic);
    FIELD(keyferry_plugin_table, major);
    FIELD(keyferry_plugin_table, minor);
    FIELD(keyferry_plugin_table, size);
    FIELD(keyferry_plugin_table, step);
    FIELD(keyferry_plugin_table, free);
    printf("keyferry_manifest ");
    for (size_t i = 0; i < sizeof(keyferry_manifest); i++) printf("%02x", manifest[i]);
    printf("\n");
    return 0;
}
