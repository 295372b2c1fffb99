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

/* Whether this thread's arithmetic takes numbers too small to be normal for 0, before and after; what it was. */
static unsigned flushing(int wanted)
{
#if defined(__SSE__)
    const unsigned was = _mm_getcsr();
    _mm_setcsr(wanted ? was | 0x8040u : was & ~0x8040u);
    return (was & 0x8040u) != 0;
#else
    return (unsigned)wanted;
#endif
}

/* Seconds that the calls took. With an out_stride of 0 every call writes to the same place. flush: whether the thread
   has been told to, as hosts of audio tell theirs. */
double timer_run(network_call call, void *context, const float *in, long in_floats, long steps, float *out,
                 long out_stride, long calls, int flush)
{
    long step = 0;
    const unsigned before = flushing(flush);
    const double start = now();
    for (long i = 0; i < calls; i++) {
        call(context, in + step * in_floats, out);
        out += out_stride;
        if (++step == steps)
            step = 0;
    }
    const double took = now() - start;
    flushing((int)before);
    return took;
}
