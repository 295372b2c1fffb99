/* What one core of this machine can do at best: its clock, multiply-adds a second, and weights read a second.

       cc -O3 -march=native -ffp-contract=fast limit.c -o limit && ./limit [BYTES ...]

   prints JSON; sets of weights of the sizes asked for are read besides those of a sweep. Every figure is the best of several tries, since what else a machine does only ever slows it. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TRIES 15
#define LARGEST ((size_t)64 << 20)

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Keeps results from being thrown away unused. */
static volatile float sink;

/* A number that the compiler does not know, so that it cannot find two of the sums below to be the same. */
static float opaque(float value)
{
    volatile float kept = value;
    return kept;
}

/* Additions that wait for one another take one cycle each, on every core worth the question. */
static double clock_hz(void)
{
    double best = 0;
    for (int try = 0; try < TRIES; try++) {
        uint64_t x = 0, one = 1;
        const long loops = 1000000;
        const double start = now();
        for (long i = 0; i < loops; i++) {
#define ADD x += one; __asm__ volatile("" : "+r"(x), "+r"(one));
            ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
        }
        const double rate = 16.0 * (double)loops / (now() - start);
        best = rate > best ? rate : best;
    }
    return best;
}

/* One of each for vectors of 16, 32 and 64 bytes. A product and sum of vectors is one fused operation, if the compiler
   was allowed to fuse. Twelve accumulators are enough to keep two units of four or five cycles' latency busy. */
#define FOR_WIDTH(NAME, BYTES)                                                                                         \
    typedef float NAME __attribute__((vector_size(BYTES), aligned(BYTES)));                                            \
    static double NAME##_macs(void)                                                                                    \
    {                                                                                                                  \
        double best = 0;                                                                                               \
        for (int try = 0; try < TRIES; try++) {                                                                        \
            const NAME zero = {0}, x = zero + opaque(0.999f), y = zero + opaque(0.001f);                               \
            NAME a = zero + opaque(1), b = zero + opaque(2), c = zero + opaque(3), d = zero + opaque(4);               \
            NAME e = zero + opaque(5), f = zero + opaque(6), g = zero + opaque(7), h = zero + opaque(8);               \
            NAME k = zero + opaque(9), l = zero + opaque(10), m = zero + opaque(11), n = zero + opaque(12);            \
            const long loops = 400000;                                                                                 \
            const double start = now();                                                                                \
            for (long i = 0; i < loops; i++) {                                                                         \
                a = a * x + y, b = b * x + y, c = c * x + y, d = d * x + y;                                            \
                e = e * x + y, f = f * x + y, g = g * x + y, h = h * x + y;                                            \
                k = k * x + y, l = l * x + y, m = m * x + y, n = n * x + y;                                            \
            }                                                                                                          \
            const double rate = 12.0 * BYTES / 4 * (double)loops / (now() - start);                                    \
            a = ((a + b) + (c + d)) + ((e + f) + (g + h)) + ((k + l) + (m + n));                                       \
            sink = a[0];                                                                                               \
            best = rate > best ? rate : best;                                                                          \
        }                                                                                                              \
        return best;                                                                                                   \
    }                                                                                                                  \
    static double NAME##_bytes(const float *p, size_t bytes)                                                           \
    {                                                                                                                  \
        double best = 0;                                                                                               \
        const size_t rounds = (8u << 20) / bytes + 1, lanes = BYTES / 4;                                               \
        for (int try = 0; try < TRIES; try++) {                                                                        \
            NAME zero = {0}, x = zero + 1e-6f;                                                                         \
            NAME a = zero, b = zero, c = zero, d = zero, e = zero, f = zero, g = zero, h = zero;                       \
            const double start = now();                                                                                \
            for (size_t round = 0; round < rounds; round++)                                                            \
                for (const NAME *q = (const NAME *)p; q < (const NAME *)(p + bytes / 4); q += 8) {                     \
                    a += q[0] * x, b += q[1] * x, c += q[2] * x, d += q[3] * x;                                        \
                    e += q[4] * x, f += q[5] * x, g += q[6] * x, h += q[7] * x;                                        \
                }                                                                                                      \
            const double rate = (double)bytes * (double)rounds / (now() - start);                                      \
            a = ((a + b) + (c + d)) + ((e + f) + (g + h));                                                             \
            sink = a[lanes - 1];                                                                                       \
            best = rate > best ? rate : best;                                                                          \
        }                                                                                                              \
        return best;                                                                                                   \
    }

FOR_WIDTH(four, 16)
#ifdef __AVX__
FOR_WIDTH(eight, 32)
#endif
#ifdef __AVX512F__
FOR_WIDTH(sixteen, 64)
#endif

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static double macs(void)
{
    double best = four_macs();
#ifdef __AVX__
    best = larger(best, eight_macs());
#endif
#ifdef __AVX512F__
    best = larger(best, sixteen_macs());
#endif
    return best;
}

static double bytes_a_second(const float *p, size_t bytes)
{
    double best = four_bytes(p, bytes);
#ifdef __AVX__
    best = larger(best, eight_bytes(p, bytes));
#endif
#ifdef __AVX512F__
    best = larger(best, sixteen_bytes(p, bytes));
#endif
    return best;
}

/* One pair of the list; all sizes are whole unrolled rounds of the widest vectors. */
static void tell(const float *p, size_t bytes, const char *before)
{
    bytes = (bytes + 511) / 512 * 512;
    bytes = bytes < 512 ? 512 : bytes > LARGEST ? LARGEST : bytes;
    printf("%s[%zu, %.6g]", before, bytes, bytes_a_second(p, bytes));
}

int main(int count, char **words)
{
    float *p = aligned_alloc(4096, LARGEST);
    if (!p)
        return 1;
    for (size_t i = 0; i < LARGEST / 4; i++)
        p[i] = 1e-3f;
    printf("{\"clock_hz\": %.6g, \"macs_per_second\": %.6g, \"reads\": [", clock_hz(), macs());
    for (size_t base = 4096; base < LARGEST; base *= 2)
        for (size_t part = 4; part < 8; part++)
            tell(p, base / 4 * part, base == 4096 && part == 4 ? "" : ", ");
    for (int i = 1; i < count; i++)
        tell(p, (size_t)strtoul(words[i], NULL, 10), ", ");
    printf("]}\n");
    free(p);
    return 0;
}
