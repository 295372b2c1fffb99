/* Brings a Cortex-M up from reset and lets it speak to the host through semihosting: no C library, no vendor's code.
   On a real board semihosting needs a debugger attached; without one the first request is a hard fault. */
#include <stdint.h>

int main(void);
int harness_write(const void *bytes, int size);
void start_reset(void);
int start_semihost(int operation, const void *arguments);

/* Set by the linker script. */
extern uint32_t start_stack_top[], start_data[], start_data_end[], start_data_image[], start_bss[], start_bss_end[];

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_EXIT_EXTENDED = 0x20, MODE_WRITE_BINARY = 5 };
enum { STOPPED_APPLICATION_EXIT = 0x20026, FAULT_STATUS = 70 };

#define CPACR ((volatile uint32_t *)0xE000ED88u)

/* Operation and arguments arrive in r0 and r1 and the answer leaves in r0, just as the debugger wants them. */
__asm__(".syntax unified\n"
        ".thumb\n"
        ".text\n"
        ".global start_semihost\n"
        ".type start_semihost, %function\n"
        "start_semihost:\n"
        "    bkpt 0xab\n"
        "    bx lr\n");

static void finish(int status)
{
    const uintptr_t arguments[2] = {STOPPED_APPLICATION_EXIT, (uintptr_t)status};
    for (;;) start_semihost(SYS_EXIT_EXTENDED, arguments);
}

static void fault(void) { finish(FAULT_STATUS); }

int harness_write(const void *bytes, int size)
{
    static int handle = -1;
    if (handle < 0) {
        const uintptr_t console[3] = {(uintptr_t) ":tt", MODE_WRITE_BINARY, 3};
        handle = start_semihost(SYS_OPEN, console);
    }
    const uintptr_t arguments[3] = {(uintptr_t)handle, (uintptr_t)bytes, (uintptr_t)size};
    return start_semihost(SYS_WRITE, arguments); /* the number of bytes not written */
}

void start_reset(void)
{
    /* The floating-point unit is off after reset, and even the copying below may be compiled to use it. */
    *CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    /* Where the program runs from RAM the two are one place, and copying it onto itself changes nothing. */
    for (uint32_t *to = start_data, *from = start_data_image; to < start_data_end;) *to++ = *from++;
    for (uint32_t *to = start_bss; to < start_bss_end;) *to++ = 0;
    finish(main());
}

/* What the processor reads at reset: the stack, then where to begin, then the handlers of faults. */
struct vectors {
    uint32_t *stack_top;
    void (*handlers[15])(void);
};
extern const struct vectors start_vectors;
__attribute__((section(".vectors"), used)) const struct vectors start_vectors = {
    start_stack_top, {start_reset, fault, fault, fault, fault, fault}};
