/* What a C compiler expects of any machine, for those without a C library: it turns loops that clear or copy memory
   into calls of these two. They must be compiled with -fno-builtin, or they would become calls of themselves. */
#include <stddef.h>

void *memset(void *destination, int value, size_t bytes);
void *memcpy(void *restrict destination, const void *restrict source, size_t bytes);

void *memset(void *destination, int value, size_t bytes)
{
    unsigned char *to = destination;
    while (bytes--) *to++ = (unsigned char)value;
    return destination;
}

void *memcpy(void *restrict destination, const void *restrict source, size_t bytes)
{
    unsigned char *to = destination;
    const unsigned char *from = source;
    while (bytes--) *to++ = *from++;
    return destination;
}

#if defined(__arm__)
/* The same by the names of Arm's binary interface; the digit promises an alignment, which is not needed here. */
#define PC_CLEARS(name)                                                                                                \
    void name(void *destination, size_t bytes);                                                                        \
    void name(void *destination, size_t bytes)                                                                         \
    {                                                                                                                  \
        memset(destination, 0, bytes);                                                                                 \
    }
#define PC_COPIES(name)                                                                                                \
    void name(void *restrict destination, const void *restrict source, size_t bytes);                                  \
    void name(void *restrict destination, const void *restrict source, size_t bytes)                                   \
    {                                                                                                                  \
        memcpy(destination, source, bytes);                                                                            \
    }
PC_CLEARS(__aeabi_memclr)
PC_CLEARS(__aeabi_memclr4)
PC_CLEARS(__aeabi_memclr8)
PC_COPIES(__aeabi_memcpy)
PC_COPIES(__aeabi_memcpy4)
PC_COPIES(__aeabi_memcpy8)
#endif

#if defined(__arm__) && !defined(__ARM_FEATURE_IDIV)
/* Whole-number division on processors that cannot divide (Cortex-A8 and older), by the names that Arm's binary interface
   gives it: one bit of the quotient at a time. Engines divide once or twice a call, never for every sample. */
unsigned __aeabi_uidiv(unsigned numerator, unsigned denominator);
unsigned long long __aeabi_uidivmod(unsigned numerator, unsigned denominator);
int __aeabi_idiv(int numerator, int denominator);
unsigned long long __aeabi_idivmod(int numerator, int denominator);

/* The quotient in the lower half, which is the first register, and the remainder in the upper. */
unsigned long long __aeabi_uidivmod(unsigned numerator, unsigned denominator)
{
    unsigned quotient = 0, remainder = 0;
    int bit;
    for (bit = 31; bit >= 0; bit--) {
        const unsigned carried = remainder >> 31;
        remainder = remainder << 1 | (numerator >> bit & 1U);
        if (carried || remainder >= denominator) {
            remainder -= denominator;
            quotient |= 1U << bit;
        }
    }
    return (unsigned long long)remainder << 32 | quotient;
}

unsigned __aeabi_uidiv(unsigned numerator, unsigned denominator)
{
    return (unsigned)__aeabi_uidivmod(numerator, denominator);
}

unsigned long long __aeabi_idivmod(int numerator, int denominator)
{
    const unsigned n = numerator < 0 ? 0U - (unsigned)numerator : (unsigned)numerator;
    const unsigned d = denominator < 0 ? 0U - (unsigned)denominator : (unsigned)denominator;
    const unsigned long long both = __aeabi_uidivmod(n, d);
    unsigned quotient = (unsigned)both, remainder = (unsigned)(both >> 32);
    if ((numerator < 0) != (denominator < 0)) quotient = 0U - quotient;
    if (numerator < 0) remainder = 0U - remainder;
    return (unsigned long long)remainder << 32 | quotient;
}

int __aeabi_idiv(int numerator, int denominator)
{
    return (int)(unsigned)__aeabi_idivmod(numerator, denominator);
}
#endif
