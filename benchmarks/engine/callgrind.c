/* A program that only calls a network, for an instrument that counts instructions: `program CALLS`. */
#include <stdlib.h>

long bench_bytes(void);
void bench_reset(void *s);
void bench_call(void *s, const float *in, float *out);

int main(int count, char **words)
{
    const long calls = count > 1 ? atol(words[1]) : 1;
    float *in = malloc(sizeof(float) * IN_FLOATS), *out = malloc(sizeof(float) * OUT_FLOATS);
    void *state = aligned_alloc(64, ((size_t)bench_bytes() + 63) / 64 * 64);
    unsigned seed = 1;
    if (!in || !out || !state)
        return 1;
    bench_reset(state);
    for (long i = 0; i < calls; i++) {
        for (int j = 0; j < IN_FLOATS; j++)
            in[j] = (float)(int)((seed = seed * 1664525u + 1013904223u) >> 16) / 65536.0f - 0.5f;
        bench_call(state, in, out);
    }
    return out[0] != out[0];
}
