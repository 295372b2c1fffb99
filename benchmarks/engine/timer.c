/* Calls a network many times and tells how long it took: the same loop for every engine and runtime with a C interface.

   The input walks through a test signal and begins again at its end, so that branches and values vary as in use. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

typedef void (*network_call)(void *context, const float *in, float *out);

double timer_run(network_call call, void *context, const float *in, long in_floats, long steps, float *out,
                 long out_stride, long calls, int flush);

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* What tells this thread's arithmetic to take numbers too small to be normal for 0, on x86; nothing elsewhere. */
#if defined(__SSE__)
#define MODE() _mm_getcsr()
#define SET_MODE(mode) _mm_setcsr(mode)
#else
#define MODE() 0u
#define SET_MODE(mode) (void)(mode)
#endif

/* Seconds that the calls took. With an out_stride of 0 every call writes to the same place. flush: whether the thread
   has been told to, as hosts of audio tell theirs. */
double timer_run(network_call call, void *context, const float *in, long in_floats, long steps, float *out,
                 long out_stride, long calls, int flush)
{
    long step = 0;
    const unsigned before = MODE();
    SET_MODE(flush ? before | 0x8040u : before & ~0x8040u);
    const double start = now();
    for (long i = 0; i < calls; i++) {
        call(context, in + step * in_floats, out);
        out += out_stride;
        if (++step == steps)
            step = 0;
    }
    const double took = now() - start;
    SET_MODE(before);
    return took;
}
