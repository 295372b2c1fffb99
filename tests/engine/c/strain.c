/* For sanitisers: every engine in memory of exactly its size, at an address that suits no vector; all inputs there are,
   not only sane ones; and two instances of each in two threads. Says "done" if both threads made the same. */
#include "rig.h"
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALLS = 120 };

static const float strange[] = {NAN, INFINITY, -INFINITY, 1e38f, -1e38f, 1e30f, 3e9f, 1e-40f};

typedef struct {
    const rig_engine *engine;
    char *sound;
} job;

/* Memory that ends where the engine's does, a float behind where vectors would like it to begin. */
static char *room(size_t bytes)
{
    char *piece = malloc(bytes + 4);
    if (piece == NULL) exit(2);
    return piece + 4;
}

static void *play(void *given)
{
    job *mine = given;
    const rig_engine *e = mine->engine;
    const size_t in_bytes = (size_t)e->inputs * sizeof(float), out_bytes = (size_t)e->outputs * sizeof(float);
    char *state = room((size_t)e->bytes), *in = room(in_bytes), *out = room(out_bytes);
    unsigned seed = 7;
    mine->sound = malloc(CALLS * out_bytes);
    if (mine->sound == NULL) exit(2);
    e->init(state);
    for (int call = 0; call < CALLS; call++) {
        float *values = (float *)(void *)in;
        rig_noise(e, values, &seed);
        if (call % 10 == 5)
            for (int i = 0; i < e->inputs; i++) {
                values[i] = strange[(seed >> 16) % 8u];
                seed = seed * 1664525u + 1013904223u;
            }
        e->call(state, values, (float *)(void *)out);
        memcpy(mine->sound + (size_t)call * out_bytes, out, out_bytes);
    }
    free(state - 4);
    free(in - 4);
    free(out - 4);
    return NULL;
}

int main(void)
{
    for (int i = 0; i < rig_count; i++) {
        job jobs[2] = {{&rig_engines[i], NULL}, {&rig_engines[i], NULL}};
        pthread_t other;
        if (pthread_create(&other, NULL, play, &jobs[1]) != 0) return 2;
        play(&jobs[0]);
        pthread_join(other, NULL);
        const size_t bytes = CALLS * (size_t)rig_engines[i].outputs * sizeof(float);
        if (memcmp(jobs[0].sound, jobs[1].sound, bytes) != 0) {
            printf("%s differs\n", rig_engines[i].name);
            return 1;
        }
        free(jobs[0].sound);
        free(jobs[1].sound);
    }
    printf("done\n");
    return 0;
}
