/* What a C compiler expects of any machine, for those without a C library: it turns loops that clear or copy memory
   into calls of these two. They must be compiled with -fno-builtin, or they would become calls of themselves. */
#include <stddef.h>

void *memset(void *destination, int value, size_t bytes);
void *memcpy(void *restrict destination, const void *restrict source, size_t bytes);

void *memset(void *destination, int value, size_t bytes)
{
    unsigned char *to = destination;
    while (bytes--) *to++ = (unsigned char)value;
    return destination;
}

void *memcpy(void *restrict destination, const void *restrict source, size_t bytes)
{
    unsigned char *to = destination;
    const unsigned char *from = source;
    while (bytes--) *to++ = *from++;
    return destination;
}
