/* A bank of oscillators at whole multiples of one frequency.

   Phase is an unsigned 32-bit integer, one cycle to the full range: it wraps by itself and never drifts. The step runs
   linearly from frame to frame in integers, so every machine has the same phase at every sample. Within a sample,
   partial k + 1 is partial k turned by the fundamental's angle: one complex product, whose error grows only linearly
   with k. Several samples are turned side by side. */
#ifndef PC_HARMONICS_H
#define PC_HARMONICS_H
#include "pc_math.h"

/* Samples worked on together: enough to hide the latency of a product chain, few enough to stay in registers. */
#if defined(__AVX512F__)
enum { PC_SAMPLES = 16 };
#elif defined(__AVX__)
enum { PC_SAMPLES = 8 };
#elif defined(__ARM_NEON) || defined(__aarch64__) || defined(__wasm_simd128__) || defined(__SSE2__)
enum { PC_SAMPLES = 4 };
#else
enum { PC_SAMPLES = 4 };
#endif

#if defined(__GNUC__)
typedef float pc_samples __attribute__((vector_size(PC_SAMPLES * 4), aligned(4), may_alias));
#define PC_AT(v, i) (v)[i]
#endif

/* sine and cosine of a phase: the angle is folded to an eighth of a cycle either side of zero, where short
   polynomials are good to 1e-7. */
PC_INLINE void pc_sine_cosine(uint32_t phase, float *sine, float *cosine)
{
    const uint32_t quarter = (phase + 0x20000000u) >> 30;
    const float x = (float)(int32_t)(phase - (quarter << 30)) * 1.46291808e-9f; /* 2 pi / 2^32 */
    const float s = x * x;
    const float sin_x = x + x * s * (-1.66666546e-1f + s * (8.33216087e-3f - s * 1.95152959e-4f));
    const float cos_x = 1.0f - 0.5f * s + s * s * (4.16666457e-2f + s * (-1.38873163e-3f + s * 2.44331571e-5f));
    const float a = quarter & 1u ? cos_x : sin_x;
    const float b = quarter & 1u ? sin_x : cos_x;
    *sine = quarter & 2u ? -a : a;
    *cosine = (quarter + 1u) & 2u ? -b : b;
}

/* Largest partial of which the step stays below half a cycle. */
PC_INLINE int pc_audible(uint32_t step, int partials)
{
    const uint32_t limit = step > 0u ? 0x7FFFFFFFu / step : (uint32_t)partials;
    return limit < (uint32_t)partials ? (int)limit : partials;
}

#if defined(__GNUC__)
/* PC_SAMPLES samples from their phases; `low` partials sound in all of them, up to `high` in some. */
PC_INLINE pc_samples pc_partials(const uint32_t *phase, const uint32_t *step, const float *now, const float *before,
                                 pc_samples ramp, int partials)
{
    pc_samples sine1, cosine1;
    int low = partials, high = 0;
    for (int i = 0; i < PC_SAMPLES; i++) {
        float sine, cosine;
        pc_sine_cosine(phase[i], &sine, &cosine);
        PC_AT(sine1, i) = sine;
        PC_AT(cosine1, i) = cosine;
        const int audible = pc_audible(step[i], partials);
        low = audible < low ? audible : low;
        high = audible > high ? audible : high;
    }
    pc_samples sine = sine1, cosine = cosine1, old_sum = sine1 * 0.0f, change = old_sum;
    for (int k = 0; k < low; k++) {
        old_sum += sine * before[k];
        change += sine * (now[k] - before[k]);
        const pc_samples next = sine * cosine1 + cosine * sine1;
        cosine = cosine * cosine1 - sine * sine1;
        sine = next;
    }
    /* A glide crosses half the sample rate inside this group: the last partials fall silent one sample after another. */
    for (int k = low; k < high; k++) {
        for (int i = 0; i < PC_SAMPLES; i++) {
            if (k < pc_audible(step[i], partials)) {
                PC_AT(old_sum, i) += PC_AT(sine, i) * before[k];
                PC_AT(change, i) += PC_AT(sine, i) * (now[k] - before[k]);
            }
        }
        const pc_samples next = sine * cosine1 + cosine * sine1;
        cosine = cosine * cosine1 - sine * sine1;
        sine = next;
    }
    return old_sum + ramp * change;
}
#else
PC_INLINE float pc_partial_sum(uint32_t phase, uint32_t step, const float *now, const float *before, float ramp,
                               int partials)
{
    float sine1, cosine1, old_sum = 0.0f, change = 0.0f;
    pc_sine_cosine(phase, &sine1, &cosine1);
    float sine = sine1, cosine = cosine1;
    const int audible = pc_audible(step, partials);
    for (int k = 0; k < audible; k++) {
        old_sum += sine * before[k];
        change += sine * (now[k] - before[k]);
        const float next = sine * cosine1 + cosine * sine1;
        cosine = cosine * cosine1 - sine * sine1;
        sine = next;
    }
    return old_sum + ramp * change;
}
#endif

/* One frame: f0 and amplitudes run from `before` to `now` along `ramp` (rising half of a Hann window).
   cycle is 2^32 / sample rate; f0_before is 0 after a reset. */
PC_KERNEL void pc_harmonics(float *audio, uint32_t *phase, float f0, float f0_before, const float *now,
                            const float *before, int partials, const float *ramp, int hop, float cycle)
{
    const int32_t goal = (int32_t)(f0 * cycle);
    const int32_t past = (int32_t)(f0_before * cycle);
    const int32_t start = past > 0 ? past : goal;
    const int32_t slope = (goal - start) / hop;
    uint32_t step = (uint32_t)start, at = *phase;
#if defined(__GNUC__)
    for (int n = 0; n < hop; n += PC_SAMPLES) {
        uint32_t phases[PC_SAMPLES], steps[PC_SAMPLES];
        pc_samples mix;
        float made[PC_SAMPLES];
        const int count = hop - n < PC_SAMPLES ? hop - n : PC_SAMPLES;
        for (int i = 0; i < PC_SAMPLES; i++) {
            if (i < count) {
                at += step;
                steps[i] = step;
                step += (uint32_t)slope;
            } else {
                steps[i] = steps[i - 1];
            }
            phases[i] = at;
            PC_AT(mix, i) = i < count ? ramp[n + i] : 0.0f;
        }
        *(pc_samples *)made = pc_partials(phases, steps, now, before, mix, partials);
        for (int i = 0; i < count; i++) audio[n + i] = made[i];
    }
#else
    for (int n = 0; n < hop; n++) {
        at += step;
        audio[n] = pc_partial_sum(at, step, now, before, ramp[n], partials);
        step += (uint32_t)slope;
    }
#endif
    *phase = at;
}

#endif
