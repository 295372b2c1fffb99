/* Vectors of floats, as wide as the processor's registers: GCC's and Clang's vector extension, one float elsewhere.

   Every kernel is written once, for vectors of PC_WIDTH floats. On a processor without vector registers (Cortex-M) the
   width is 1 and the same text is plain C with as many independent sums as there are registers to hold them. */
#ifndef PC_SIMD_H
#define PC_SIMD_H
#include "pc_math.h"

/* The widest vector for which memory was laid out: buffers are filled up to multiples of it. */
#ifndef PC_MAX_WIDTH
#define PC_MAX_WIDTH 16
#endif

/* PC_SUMS: sums that a kernel keeps in registers at once. */
#if defined(__GNUC__) && defined(__AVX512F__) && PC_MAX_WIDTH >= 16
#define PC_WIDTH 16
#define PC_SUMS 24
#elif defined(__GNUC__) && defined(__AVX__) && PC_MAX_WIDTH >= 8
#define PC_WIDTH 8
#define PC_SUMS 12
#elif defined(__GNUC__) && defined(__aarch64__) && PC_MAX_WIDTH >= 4
#define PC_WIDTH 4
#define PC_SUMS 24
#elif defined(__GNUC__) && (defined(__SSE2__) || defined(__ARM_NEON) || defined(__wasm_simd128__)) && PC_MAX_WIDTH >= 4
#define PC_WIDTH 4
#define PC_SUMS 12
#elif defined(__GNUC__) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2) && PC_MAX_WIDTH >= 4
/* Helium has eight registers; fewer sums than this a kernel cannot do with (four gates and an input, in pairs). */
#define PC_WIDTH 4
#define PC_SUMS 12
#else
#define PC_WIDTH 1
#define PC_SUMS 20
#endif

#if defined(__clang__)
#define PC_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define PC_UNROLL _Pragma("GCC unroll 64")
#else
#define PC_UNROLL
#endif

/* Four numbers that stand side by side, each to be a factor of a whole vector. Where an instruction takes one lane of a
   register as that factor they are loaded together, elsewhere one by one. */
#if PC_WIDTH == 4 && defined(__aarch64__)
#define PC_FOUR(name, p) const pc_v name = pc_load(p)
#else
#define PC_FOUR(name, p) const float *const name = (p)
#endif

/* Where single floats are loaded, an address must stay near what is loaded: small offsets are part of the instruction,
   large ones cost one of their own. The compiler is kept from measuring all addresses from one far point. */
#if PC_WIDTH == 1 && defined(__GNUC__)
#define PC_NEAR(pointer) __asm__("" : "+r"(pointer))
#else
#define PC_NEAR(pointer) (void)(pointer)
#endif

/* What is loaded for several uses stays in its register: GCC would read it from memory each time, at -Os because that
   is shorter, at -O3 because its registers run out before it has to; and a vector of 64 bytes seldom lies in one line of
   the cache. */
#if PC_WIDTH >= 8 && defined(__GNUC__) && !defined(__clang__)
#define PC_HELD(vector) __asm__("" : "+v"(vector))
#else
#define PC_HELD(vector) (void)(vector)
#endif

/* Clang, left alone, moves work to where registers run out. PC_PUT_BY: a vector is made here and kept in memory, not put
   off until after the next loop or held through it, whose sums need the registers. PC_AFTER: what is loaded next by this
   pointer is loaded after this sum, not beside it. PC_BY_FOUR: as many turns of a loop in one, which GCC does by itself
   where it helps. */
#if PC_WIDTH == 8 && defined(__clang__)
#define PC_PUT_BY(vector) __asm__ volatile("" : "+m"(vector))
#define PC_AFTER(pointer, vector) __asm__("" : "+r"(pointer) : "x"(vector))
#define PC_BY_FOUR _Pragma("clang loop unroll_count(4)")
#else
#define PC_PUT_BY(vector) (void)(vector)
#define PC_AFTER(pointer, vector) (void)(pointer)
#define PC_BY_FOUR
#endif

#if PC_WIDTH > 1
/* Less strictly aligned than its size, and allowed to alias the floats it is loaded from. */
typedef float pc_v __attribute__((vector_size(PC_WIDTH * 4), aligned(4), may_alias));
typedef int32_t pc_i __attribute__((vector_size(PC_WIDTH * 4), aligned(4), may_alias));

PC_INLINE pc_v pc_load(const float *p) { return *(const pc_v *)p; }
PC_INLINE void pc_store(float *p, pc_v x) { *(pc_v *)p = x; }
PC_INLINE pc_v pc_splat(float x) { return x - (pc_v){0}; }
/* where c (all bits of a lane set or none) a, elsewhere b */
PC_INLINE pc_v pc_pick(pc_i c, pc_v a, pc_v b) { return (pc_v)(((pc_i)a & c) | ((pc_i)b & ~c)); }
PC_INLINE pc_i pc_to_int(pc_v x) { return __builtin_convertvector(x, pc_i); }
PC_INLINE pc_v pc_to_float(pc_i x) { return __builtin_convertvector(x, pc_v); }
PC_INLINE pc_v pc_as_float(pc_i x) { return (pc_v)x; }
PC_INLINE pc_i pc_as_int(pc_v x) { return (pc_i)x; }

/* a > b ? a : b and a < b ? a : b, lane by lane; NaN in a gives b. Clang sees the one instruction in it, GCC is told. */
#if defined(__clang__) || !defined(__x86_64__)
PC_INLINE pc_v pc_vmax(pc_v a, pc_v b) { return pc_pick(a > b, a, b); }
PC_INLINE pc_v pc_vmin(pc_v a, pc_v b) { return pc_pick(a < b, a, b); }
#elif PC_WIDTH == 16
PC_INLINE pc_v pc_vmax(pc_v a, pc_v b) { return __builtin_ia32_maxps512_mask(a, b, a, -1, 4); }
PC_INLINE pc_v pc_vmin(pc_v a, pc_v b) { return __builtin_ia32_minps512_mask(a, b, a, -1, 4); }
#elif PC_WIDTH == 8
PC_INLINE pc_v pc_vmax(pc_v a, pc_v b) { return __builtin_ia32_maxps256(a, b); }
PC_INLINE pc_v pc_vmin(pc_v a, pc_v b) { return __builtin_ia32_minps256(a, b); }
#else
PC_INLINE pc_v pc_vmax(pc_v a, pc_v b) { return __builtin_ia32_maxps(a, b); }
PC_INLINE pc_v pc_vmin(pc_v a, pc_v b) { return __builtin_ia32_minps(a, b); }
#endif
#else
typedef float pc_v;
typedef int32_t pc_i;

PC_INLINE pc_v pc_load(const float *p) { return *p; }
PC_INLINE void pc_store(float *p, pc_v x) { *p = x; }
PC_INLINE pc_v pc_splat(float x) { return x; }
PC_INLINE pc_v pc_pick(pc_i c, pc_v a, pc_v b) { return c ? a : b; }
PC_INLINE pc_i pc_to_int(pc_v x) { return (pc_i)x; }
PC_INLINE pc_v pc_to_float(pc_i x) { return (pc_v)x; }
PC_INLINE pc_v pc_as_float(pc_i x) { return pc_bits_to_float((uint32_t)x); }
PC_INLINE pc_i pc_as_int(pc_v x) { return (pc_i)pc_float_to_bits(x); }
PC_INLINE pc_v pc_vmax(pc_v a, pc_v b) { return a > b ? a : b; }
PC_INLINE pc_v pc_vmin(pc_v a, pc_v b) { return a < b ? a : b; }
#endif

/* The vector twins of pc_math.h: the same operations in the same order, so the same numbers. NaN comes out finite. */
PC_INLINE pc_v pc_vclamp(pc_v x, float low, float high) { return pc_vmin(pc_vmax(x, pc_splat(low)), pc_splat(high)); }

/* tanh as a fraction: what is returned, over `*under`, which is 1 to 200. */
PC_INLINE pc_v pc_vtanh_over(pc_v x, pc_v *under)
{
    x = pc_vclamp(x, -8.0f, 8.0f);
    const pc_v s = x * x;
    *under = (((PC_TANH_Q4 * s + PC_TANH_Q3) * s + PC_TANH_Q2) * s + PC_TANH_Q1) * s + 1.0f;
    return x * (((PC_TANH_P3 * s + PC_TANH_P2) * s + PC_TANH_P1) * s + 1.0f);
}
PC_INLINE pc_v pc_vtanh(pc_v x)
{
    pc_v under;
    const pc_v over = pc_vtanh_over(x, &under);
    return over / under;
}

/* The logistic function by tanh: absolute error 3e-7, for gates. */
PC_INLINE pc_v pc_vgate(pc_v x)
{
#if PC_WIDTH == 8 && !defined(PC_STRICT)
    /* additions have units of their own, and products wait for theirs */
    pc_v under;
    const pc_v over = pc_vtanh_over(0.5f * x, &under);
    return (over + under) / (under + under);
#else
    return 0.5f * pc_vtanh(0.5f * x) + 0.5f;
#endif
}

/* gate(x) tanh(y). With vectors of 8 one division serves both; rounded otherwise, so not where all are to agree. */
PC_INLINE pc_v pc_vgated_tanh(pc_v x, pc_v y)
{
#if PC_WIDTH == 8 && !defined(PC_STRICT)
    pc_v gate_under, under;
    const pc_v gate_over = pc_vtanh_over(0.5f * x, &gate_under), over = pc_vtanh_over(y, &under);
    return (gate_over + gate_under) * over / ((gate_under + gate_under) * under);
#else
    return pc_vgate(x) * pc_vtanh(y);
#endif
}

PC_INLINE pc_v pc_vexp(pc_v x)
{
    x = pc_vclamp(x, -87.0f, 88.0f);
    const pc_v n = pc_to_float(pc_to_int(x * 1.44269504f + 127.5f)) - 127.0f;
    const pc_v r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    pc_v p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * pc_as_float(pc_to_int(n + 127.0f) * 8388608);
}

PC_INLINE pc_v pc_vsigmoid(pc_v x) { return 1.0f / (1.0f + pc_vexp(-x)); }

PC_INLINE pc_v pc_vlog(pc_v x)
{
    const pc_i bits = pc_as_int(pc_vmax(x, pc_splat(1.17549435e-38f)));
    pc_v m = pc_as_float((bits & 0x007FFFFF) | 0x3F000000), n = pc_to_float((bits >> 23) - 126);
    const pc_i small = m < 0.707106781f;
    n = pc_pick(small, n - 1.0f, n);
    m = pc_pick(small, m + m, m) - 1.0f;
    pc_v p = 7.0376836292e-2f * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    const pc_v square = m * m;
    return m + (p * m * square - 2.12194440e-4f * n - 0.5f * square) + 0.693359375f * n;
}
PC_INLINE pc_v pc_vlog2(pc_v x) { return pc_vlog(x) * 1.44269504f; }
PC_INLINE pc_v pc_vrsqrt(pc_v x)
{
    pc_v y = pc_as_float(0x5F3759DF - (pc_as_int(x) >> 1));
    for (int i = 0; i < 4; i++) y *= 1.5f - 0.5f * x * y * y;
    return y;
}
/* The square root as x / sqrt(x): 0 of 0, and NaN below. */
PC_INLINE pc_v pc_vsqrt(pc_v x) { return x * pc_vrsqrt(x); }

/* For chains of operators: truth is 1 or 0. */
PC_INLINE pc_v pc_vnumber(float x) { return pc_splat(x); }
PC_INLINE pc_v pc_vleaky(pc_v x, float slope)
{
    return slope > 0.0f && slope <= 1.0f ? pc_vmax(x, slope * x) : pc_pick(x > 0.0f, x, slope * x);
}
/* A rectifier by its factor of what is below 0: 1 is none, 0 makes 0 of everything below and of what is no number. */
PC_INLINE pc_v pc_vrectified(pc_v x, float slope)
{
    if (slope == 1.0f) return x;
    return slope == 0.0f ? pc_vmax(x, pc_splat(0.0f)) : pc_vleaky(x, slope);
}
PC_INLINE pc_v pc_vchoose(pc_v c, pc_v a, pc_v b) { return pc_pick(c != 0.0f, a, b); }
PC_INLINE pc_v pc_vlt(pc_v a, pc_v b) { return pc_pick(a < b, pc_splat(1.0f), pc_splat(0.0f)); }
PC_INLINE pc_v pc_vle(pc_v a, pc_v b) { return pc_pick(a <= b, pc_splat(1.0f), pc_splat(0.0f)); }
PC_INLINE pc_v pc_vgt(pc_v a, pc_v b) { return pc_pick(a > b, pc_splat(1.0f), pc_splat(0.0f)); }
PC_INLINE pc_v pc_vge(pc_v a, pc_v b) { return pc_pick(a >= b, pc_splat(1.0f), pc_splat(0.0f)); }
PC_INLINE pc_v pc_veq(pc_v a, pc_v b) { return pc_pick(a == b, pc_splat(1.0f), pc_splat(0.0f)); }
PC_INLINE pc_v pc_vne(pc_v a, pc_v b) { return pc_pick(a != b, pc_splat(1.0f), pc_splat(0.0f)); }

/* A vector's first n floats from memory, zeros behind them; and the way back. */
PC_INLINE pc_v pc_load_part(const float *p, int n)
{
    float part[PC_WIDTH] = {0};
    for (int i = 0; i < n; i++) part[i] = p[i];
    return pc_load(part);
}
PC_INLINE void pc_store_part(float *p, pc_v x, int n)
{
    float part[PC_WIDTH];
    pc_store(part, x);
    for (int i = 0; i < n; i++) p[i] = part[i];
}

/* Copy forwards, a vector at a time: the target may lie before the source, not behind it. */
PC_INLINE void pc_move(float *to, const float *from, int n)
{
    int i = 0;
    for (; i + PC_WIDTH <= n; i += PC_WIDTH) pc_store(to + i, pc_load(from + i));
    for (; i < n; i++) to[i] = from[i];
}

#endif
