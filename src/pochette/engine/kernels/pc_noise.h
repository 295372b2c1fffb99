/* White noise from a counter, and its filtering by an impulse response that changes every frame.

   The generator hashes the sample's number; its Python twin is pochette.layers.generator. Every machine draws the same
   bits. */
#ifndef PC_NOISE_H
#define PC_NOISE_H
#include "pc_math.h"

/* Uniform in [-1, 1), exact in float. */
PC_INLINE float pc_noise(uint32_t n)
{
    n ^= n >> 16;
    n *= 0x7FEB352Du;
    n ^= n >> 15;
    n *= 0x846CA68Bu;
    n ^= n >> 16;
    return (float)(n >> 8) * 1.1920928955078125e-7f - 1.0f;
}

PC_KERNEL void pc_white_noise(float *audio, uint32_t *counter, int samples)
{
    for (int i = 0; i < samples; i++) audio[i] = pc_noise(*counter + (uint32_t)i);
    *counter += (uint32_t)samples;
}

enum { PC_NOISE_OUTPUTS = 8 };

/* One frame. The frame's noise stands between zeros, so that 8 outputs at a time are sums of products without cases:
   out[n] = sum over j of response[j] * noise[n - j]. The last taps - 1 outputs are the new tail.
   scratch: hop + 3 * taps + 8 floats. */
PC_KERNEL void pc_filtered_noise(float *audio, float *tail, uint32_t *counter, const float *response, int taps,
                                 int hop, float *scratch)
{
    float *noise = scratch; /* taps - 1 zeros, hop samples, taps + 7 zeros */
    float *out = scratch + hop + 2 * taps + 8;
    const int length = hop + taps - 1;
    for (int i = 0; i < taps - 1; i++) noise[i] = 0.0f;
    for (int i = 0; i < hop; i++) noise[taps - 1 + i] = pc_noise(*counter + (uint32_t)i);
    for (int i = 0; i < taps + 7; i++) noise[taps - 1 + hop + i] = 0.0f;
    *counter += (uint32_t)hop;
    for (int n = 0; n < length; n += PC_NOISE_OUTPUTS) {
        float sum[PC_NOISE_OUTPUTS] = {0.0f};
        /* response[j] meets noise[n + i - j]; outside [first, last] every factor is one of the zeros */
        const int first = n - hop + 1 > 0 ? n - hop + 1 : 0;
        const int last = n + PC_NOISE_OUTPUTS < taps ? n + PC_NOISE_OUTPUTS : taps;
        const float *x = noise + (taps - 1) + n;
        for (int j = first; j < last; j++) {
            const float r = response[j];
            for (int i = 0; i < PC_NOISE_OUTPUTS; i++) sum[i] += r * x[i - j];
        }
        for (int i = 0; i < PC_NOISE_OUTPUTS && n + i < length; i++) {
            const float earlier = n + i < taps - 1 ? tail[n + i] : 0.0f;
            if (n + i < hop) audio[n + i] = sum[i] + earlier;
            else out[n + i - hop] = sum[i] + earlier;
        }
    }
    for (int i = 0; i < taps - 1; i++) tail[i] = out[i];
}

#endif
