/* Elementary functions and vectors for every engine: C99, no library, the same results on every machine to rounding.

   Vectors are GCC's and Clang's vector extension where there is one: a compiler without vector registers splits them
   into scalars, which is the unrolled loop one would write by hand. Other compilers get plain loops. */
#ifndef PC_MATH_H
#define PC_MATH_H
#include <stdint.h>

#if defined(__GNUC__)
#define PC_INLINE static inline __attribute__((always_inline, unused))
#define PC_KERNEL static __attribute__((unused))
/* What is called from so many places that a compiler would take minutes over putting it into each. */
#define PC_SHARED static __attribute__((noinline, unused))
/* GCC looks up what lies at a constant address in a list of weights, from the list's start each time, and takes longer
   over that than over all else: of this pointer it is not told where it points to. Thumb has no register to spare for
   it, and would pay 4 % more instructions. */
#if defined(__thumb__)
#define PC_UNSEEN(pointer) (void)(pointer)
#else
#define PC_UNSEEN(pointer) __asm__("" : "+r"(pointer))
#endif
#else
#define PC_INLINE static inline
#define PC_KERNEL static
#define PC_SHARED static
#define PC_UNSEEN(pointer) (void)(pointer)
#endif

PC_INLINE float pc_max(float a, float b) { return a > b ? a : b; }
PC_INLINE float pc_leaky(float x, float slope) { return x > 0.0f ? x : slope * x; }

/* NaN fails both comparisons and comes out as low. */
PC_INLINE float pc_clamp(float x, float low, float high) { return x >= low ? (x <= high ? x : high) : low; }

PC_INLINE float pc_bits_to_float(uint32_t bits)
{
    union { uint32_t u; float f; } both;
    both.u = bits;
    return both.f;
}

PC_INLINE uint32_t pc_float_to_bits(float x)
{
    union { uint32_t u; float f; } both;
    both.f = x;
    return both.u;
}

/* e^x: 2^n times a polynomial on [-ln2/2, ln2/2]; relative error 2e-7. Saturates instead of overflowing. */
PC_INLINE float pc_exp(float x)
{
    x = pc_clamp(x, -87.0f, 88.0f);
    /* to the nearest whole number, by cutting off the fraction of what is positive */
    const float n = (float)(int32_t)(x * 1.44269504f + 127.5f) - 127.0f;
    /* ln 2 in two parts, so that the remainder keeps its low bits */
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * pc_bits_to_float((uint32_t)(n + 127.0f) << 23);
}

/* Natural logarithm of a positive number: exponent plus a polynomial of the mantissa on [sqrt(1/2), sqrt(2)). */
PC_INLINE float pc_log(float x)
{
    const uint32_t bits = pc_float_to_bits(x > 1.17549435e-38f ? x : 1.17549435e-38f);
    int n = (int)(bits >> 23) - 126;
    float m = pc_bits_to_float((bits & 0x007FFFFFu) | 0x3F000000u);
    if (m < 0.707106781f) {
        n -= 1;
        m += m;
    }
    m -= 1.0f;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    const float square = m * m;
    float y = p * m * square;
    y += -2.12194440e-4f * (float)n;
    y += -0.5f * square;
    return m + y + 0.693359375f * (float)n;
}

PC_INLINE float pc_log2(float x) { return pc_log(x) * 1.44269504f; }

/* tanh: x P(x^2) / Q(x^2) on [-8, 8], beyond which float32 cannot tell it from 1. Of degree 3 and 4, fitted so
   that the largest absolute error is least: 1.5e-7 before rounding, 4.3e-7 after it. */
#define PC_TANH_P1 0.129249558f
#define PC_TANH_P2 0.00295026181f
#define PC_TANH_P3 1.14205332e-05f
#define PC_TANH_Q1 0.462581843f
#define PC_TANH_Q2 0.0238124244f
#define PC_TANH_Q3 0.000238563152f
#define PC_TANH_Q4 2.4567791e-07f
PC_INLINE float pc_tanh(float x)
{
    x = pc_clamp(x, -8.0f, 8.0f);
    const float s = x * x;
    const float p = ((PC_TANH_P3 * s + PC_TANH_P2) * s + PC_TANH_P1) * s + 1.0f;
    const float q = (((PC_TANH_Q4 * s + PC_TANH_Q3) * s + PC_TANH_Q2) * s + PC_TANH_Q1) * s + 1.0f;
    return x * p / q;
}

/* The logistic function by tanh: absolute error 3e-7, for gates. */
PC_INLINE float pc_gate(float x) { return 0.5f * pc_tanh(0.5f * x) + 0.5f; }

/* By exp rather than tanh: its small values keep their relative precision, which a power of them needs. */
PC_INLINE float pc_sigmoid(float x) { return 1.0f / (1.0f + pc_exp(-x)); }

/* 1 / sqrt(x) of a positive number: Newton's iteration from the halved exponent. */
PC_INLINE float pc_rsqrt(float x)
{
    float y = pc_bits_to_float(0x5F3759DFu - (pc_float_to_bits(x) >> 1));
    for (int i = 0; i < 4; i++) y *= 1.5f - 0.5f * x * y * y;
    return y;
}

PC_INLINE float pc_sqrt(float x) { return x * pc_rsqrt(x); }

/* For chains of operators: truth is 1 or 0. */
PC_INLINE float pc_min(float a, float b) { return a < b ? a : b; }
PC_INLINE float pc_number(float x) { return x; }
PC_INLINE float pc_choose(float c, float a, float b) { return c != 0.0f ? a : b; }
PC_INLINE float pc_lt(float a, float b) { return a < b ? 1.0f : 0.0f; }
PC_INLINE float pc_le(float a, float b) { return a <= b ? 1.0f : 0.0f; }
PC_INLINE float pc_gt(float a, float b) { return a > b ? 1.0f : 0.0f; }
PC_INLINE float pc_ge(float a, float b) { return a >= b ? 1.0f : 0.0f; }
PC_INLINE float pc_eq(float a, float b) { return a == b ? 1.0f : 0.0f; }
PC_INLINE float pc_ne(float a, float b) { return a != b ? 1.0f : 0.0f; }

/* What may be carried from call to call: NaN, infinities and numbers too small to be normal become 0, huge ones 2^60 with
   their sign. Told by the bits, since fast arithmetic has no NaN. */
PC_INLINE float pc_sane(float x)
{
    const uint32_t bits = pc_float_to_bits(x), size = bits & 0x7FFFFFFFu;
    const uint32_t bounded = size >= 0x5D800000u ? (bits & 0x80000000u) | 0x5D800000u : bits;
    return pc_bits_to_float(size >= 0x7F800000u || size < 0x00800000u ? 0u : bounded);
}

/* Numbers too small to be normal, which layers without biases make of a long fade, take an x86 processor up to a hundred
   times as long. While an engine works they count as 0 there; then the host's own setting is put back. Strict engines
   leave the register alone, since what others round to such numbers must be the same bits here, and so does
   PC_KEEP_MODE. Other processors are not told: what denormals cost there was not measured. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(PC_STRICT) && !defined(PC_KEEP_MODE)
#define PC_FLUSHES 0x8040u
/* Reading the register waits for all arithmetic before it, of the last call too. Whether it is set already, as hosts of
   audio have it, is told sooner by what arithmetic makes of small numbers: the smallest one that is read counts as 0, and
   what is too small to be normal comes out as 0, to the bit. The latter is asked second, since making such a number is
   what takes so long. */
PC_INLINE int pc_flushing(void)
{
    float least = pc_bits_to_float(1), normal = pc_bits_to_float(0x00800000u);
    __asm__("" : "+x"(least), "+x"(normal));
    return least == 0.0f && pc_float_to_bits(0.5f * normal) == 0u;
}
PC_INLINE uint32_t pc_enter(void)
{
    uint32_t was;
    if (pc_flushing()) return PC_FLUSHES;
    __asm__ __volatile__("stmxcsr %0" : "=m"(was) : : "memory");
    if ((was & PC_FLUSHES) != PC_FLUSHES) {
        const uint32_t flushing = was | PC_FLUSHES;
        __asm__ __volatile__("ldmxcsr %0" : : "m"(flushing) : "memory");
    }
    return was;
}
PC_INLINE void pc_leave(uint32_t was)
{
    if ((was & PC_FLUSHES) != PC_FLUSHES) __asm__ __volatile__("ldmxcsr %0" : : "m"(was) : "memory");
}
#else
PC_INLINE uint32_t pc_enter(void) { return 0; }
PC_INLINE void pc_leave(uint32_t was) { (void)was; }
#endif

PC_INLINE void pc_clean(float *to, const float *from, int n)
{
    for (int i = 0; i < n; i++) to[i] = pc_sane(from[i]);
}

PC_INLINE void pc_copy(float *to, const float *from, int n)
{
    for (int i = 0; i < n; i++) to[i] = from[i];
}

/* Four running sums: shorter chains of additions, and less rounding. Where the second loop begins is told outright: GCC
   at -Os would not see that nothing is left of 16 numbers, and warns of what such a loop would read. */
PC_INLINE float pc_sum(const float *x, int n)
{
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
    const int whole = n / 4 * 4;
    for (int i = 0; i < whole; i += 4) {
        a += x[i];
        b += x[i + 1];
        c += x[i + 2];
        d += x[i + 3];
    }
    for (int i = whole; i < n; i++) a += x[i];
    return (a + b) + (c + d);
}

#endif
