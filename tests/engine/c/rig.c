/* What every test program does with an engine of the table. */
#define _POSIX_C_SOURCE 200809L
#include "rig.h"
#include <time.h>

void rig_noise(const rig_engine *e, float *in, unsigned *seed)
{
    for (int i = 0; i < e->inputs; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        in[i] = e->low[i] + (e->high[i] - e->low[i]) * (float)(*seed >> 8) / 16777216.0f;
    }
}

long rig_bytes(int number) { return rig_engines[number].bytes; }

void rig_init(int number, void *state) { rig_engines[number].init(state); }

void rig_play(int number, void *state, const float *in, float *out, int calls)
{
    const rig_engine *e = &rig_engines[number];
    for (int i = 0; i < calls; i++) e->call(state, in + (long)i * e->inputs, out + (long)i * e->outputs);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The processor time of each call. */
void rig_times(int number, void *state, const float *in, float *out, int calls, double *seconds)
{
    const rig_engine *e = &rig_engines[number];
    for (int i = 0; i < calls; i++) {
        const double before = now();
        e->call(state, in + (long)i * e->inputs, out);
        seconds[i] = now() - before;
    }
}
