/* Counts what asks for memory while an engine works: these stand in place of the C library's own. */
#include "rig.h"
#include <stdalign.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { HEAP_BYTES = 1 << 22, CALLS = 200, FLOATS = 1 << 12, STATE_BYTES = 1 << 20 };

static long asked;
static alignas(64) char heap[HEAP_BYTES];
static size_t used;
static alignas(64) char state[STATE_BYTES];
static float in[FLOATS], out[FLOATS];

void *malloc(size_t bytes);
void *calloc(size_t count, size_t bytes);
void *realloc(void *old, size_t bytes);
void free(void *memory);
void *aligned_alloc(size_t alignment, size_t bytes);
int posix_memalign(void **memory, size_t alignment, size_t bytes);

/* Never given back; the length lies before each piece. */
void *malloc(size_t bytes)
{
    asked++;
    if (used + bytes + 128 > HEAP_BYTES) return NULL;
    char *piece = heap + used + 64;
    memcpy(piece - sizeof bytes, &bytes, sizeof bytes);
    used += (bytes + 127) / 64 * 64;
    return piece;
}

void *calloc(size_t count, size_t bytes)
{
    void *piece = malloc(count * bytes);
    return piece ? memset(piece, 0, count * bytes) : NULL;
}

void *realloc(void *old, size_t bytes)
{
    size_t had = 0;
    if (old) memcpy(&had, (char *)old - sizeof had, sizeof had);
    void *piece = malloc(bytes);
    return piece && old ? memcpy(piece, old, had < bytes ? had : bytes) : piece;
}

void free(void *memory)
{
    if (memory) asked++;
}

void *aligned_alloc(size_t alignment, size_t bytes) { return alignment <= 64 ? malloc(bytes) : NULL; }

int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    *memory = aligned_alloc(alignment, bytes);
    return *memory == NULL;
}

int main(void)
{
    for (int i = 0; i < rig_count; i++) {
        const rig_engine *e = &rig_engines[i];
        unsigned seed = 1;
        if (e->bytes > STATE_BYTES || e->inputs > FLOATS || e->outputs > FLOATS) return 1;
        const long before = asked;
        e->init(state);
        for (int call = 0; call < CALLS; call++) {
            rig_noise(e, in, &seed);
            e->call(state, in, out);
        }
        printf("%s %ld\n", e->name, asked - before);
    }
    return 0;
}
