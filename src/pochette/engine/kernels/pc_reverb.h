/* A room: direct convolution of past and present with a long response, the dry sound added. */
#ifndef PC_REVERB_H
#define PC_REVERB_H
#include "pc_math.h"

/* history: the last `taps` dry samples, oldest first; response[j] is the room's tap j + 1. scratch: samples + taps. */
PC_KERNEL void pc_reverb(float *wet, float *history_after, const float *dry, const float *response,
                         const float *history, int taps, int samples, float *scratch)
{
    pc_copy(scratch, history, taps);
    pc_copy(scratch + taps, dry, samples);
    for (int n = 0; n < samples; n++) {
        const float *past = scratch + taps - 1 + n;
        float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
        int j = 0;
        for (; j + 4 <= taps; j += 4) {
            a += response[j] * past[-j];
            b += response[j + 1] * past[-j - 1];
            c += response[j + 2] * past[-j - 2];
            d += response[j + 3] * past[-j - 3];
        }
        for (; j < taps; j++) a += response[j] * past[-j];
        wet[n] = dry[n] + ((a + b) + (c + d));
    }
    pc_copy(history_after, scratch + samples, taps);
}

#endif
