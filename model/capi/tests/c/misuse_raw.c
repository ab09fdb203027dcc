/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The same for plain accesses to the host view: callbacks that call in, refuse, or never return, and pointers that lead
 * nowhere.
 */
#include "../../examples/uv_blocks.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <uvsim.h>

static int failures;

static void answer(int line, const char *what, long long got, long long expected)
{
    if (got == expected)
        return;
    printf("misuse_raw.c:%d: %s: %lld, expected %lld\n", line, what, got, expected);
    failures++;
}

#define ANSWER(expected, what) answer(__LINE__, #what, what, expected)

static uvsim_machine *machine;
static uvsim_cpu *cpu;
static volatile int asked;

/* A machine whose base storage, at 2 GiB, is secure. */
static void start(void)
{
    struct uv_qui qui = { .header = UV_HEADER(qui, UV_QUI) };
    struct uv_init init = { .header = UV_HEADER(init, UV_INIT), .stor_origin = uv64(2ull << 30) };

    ANSWER(UVSIM_OK, uvsim_machine_create("storage \"4GiB\"; cpus 2", UVSIM_HOST_VIEW, &machine));
    ANSWER(UVSIM_OK, uvsim_cpu_start(machine, 0, &cpu));
    ANSWER(UVSIM_OK, uvsim_store(cpu, 0x10000, &qui, sizeof qui, NULL));
    ANSWER(UVSIM_OK, uvsim_uvc(cpu, 0, 0x10000, NULL));
    ANSWER(UVSIM_OK, uvsim_load(cpu, 0x10000, &qui, sizeof qui, NULL));
    init.stor_len = qui.uv_base_stor_len;
    ANSWER(UVSIM_OK, uvsim_store(cpu, 0x10000, &init, sizeof init, NULL));
    ANSWER(UVSIM_OK, uvsim_uvc(cpu, 0, 0x10000, NULL));
}

static int deliver(void *user, const uvsim_fault *fault)
{
    (void)user;
    asked++;
    ANSWER(0x3d, fault->interruption.code);
    ANSWER(2ll << 30, (long long)(fault->absolute & ~0xfffull));
    /* The thread is in the middle of nothing as far as the library is concerned: its CPU can be used. */
    uint64_t value;
    ANSWER(UVSIM_OK, uvsim_load(fault->cpu, 0, &value, sizeof value, NULL));
    ANSWER(UVSIM_E_OPERATING, uvsim_machine_destroy(fault->machine));
    return UVSIM_DELIVER;
}

static int never_return(void *user, const uvsim_fault *fault)
{
    (void)fault;
    asked++;
    longjmp(*(jmp_buf *)user, 1);
}

static int nonsense(void *user, const uvsim_fault *fault)
{
    (void)user;
    (void)fault;
    asked++;
    return 4711;
}

/* One touch of a secure frame, that is delivered. */
static void touch(volatile uint64_t *secure)
{
    uvsim_landing landing;

    if (UVSIM_TRY(&landing)) {
        *secure = 1;
        uvsim_landing_pop(&landing);
        answer(__LINE__, "a store to a secure frame", 0, 1);
    } else {
        ANSWER(0x3d, landing.interruption.code);
    }
    ANSWER(UVSIM_E_ARGUMENT, uvsim_landing_pop(&landing));
}

static void callbacks(void)
{
    volatile uint64_t *secure = uvsim_va(machine, 2ull << 30);
    jmp_buf out;

    touch(secure);
    ANSWER(UVSIM_OK, uvsim_on_secure_access(machine, deliver, NULL));
    touch(secure);
    ANSWER(1, asked);
    ANSWER(UVSIM_OK, uvsim_on_secure_access(machine, nonsense, NULL));
    touch(secure);
    ANSWER(2, asked);
    ANSWER(UVSIM_OK, uvsim_on_secure_access(machine, never_return, &out));
    for (volatile int round = 0; round < 50; round++)
        if (setjmp(out) == 0) {
            *secure = 1;
            answer(__LINE__, "a callback that never returns", 0, 1);
        }
    ANSWER(52, asked);
    ANSWER(UVSIM_OK, uvsim_on_secure_access(machine, NULL, NULL));
    touch(secure);
    ANSWER(52, asked);
}

static void copies(void)
{
    uint8_t *storage = uvsim_va(machine, 0);
    uint8_t bytes[64] = "from here";
    uvsim_interruption it = { 0 };

    ANSWER(UVSIM_OK, uvsim_try_copy(cpu, storage + 0x20000, bytes, sizeof bytes, &it));
    ANSWER(0, memcmp(storage + 0x20000, bytes, sizeof bytes));
    ANSWER(UVSIM_INTERRUPTED, uvsim_try_copy(cpu, storage + (2ull << 30), bytes, sizeof bytes, &it));
    ANSWER(0x3d, it.code);
    ANSWER(UVSIM_INTERRUPTED, uvsim_try_copy(NULL, bytes, storage + (2ull << 30), sizeof bytes, NULL));
    ANSWER(UVSIM_E_ARGUMENT, uvsim_try_copy(cpu, NULL, bytes, sizeof bytes, NULL));
    ANSWER(UVSIM_E_ARGUMENT, uvsim_try_copy(cpu, bytes, (void *)(uintptr_t)64, sizeof bytes, NULL));
    ANSWER(UVSIM_E_HANDLE, uvsim_try_copy((uvsim_cpu *)machine, bytes, bytes, sizeof bytes, NULL));
}

/*
 * Touches of a secure frame on several threads, while a view comes and goes on another. Each has a doubleword of its own:
 * ThreadSanitizer does not know that none of the stores is done.
 */
static void *touches(void *number)
{
    for (int round = 0; round < 200; round++)
        touch(uvsim_va(machine, (2ull << 30) + 8 * *(int *)number));
    return NULL;
}

static void threads(void)
{
    pthread_t other[2];
    int numbers[2] = { 0, 1 };
    uvsim_machine *coming;

    for (int i = 0; i < 2; i++)
        ANSWER(0, pthread_create(&other[i], NULL, touches, &numbers[i]));
    for (int round = 0; round < 20; round++) {
        ANSWER(UVSIM_OK, uvsim_machine_create("storage \"64MiB\"", UVSIM_HOST_VIEW, &coming));
        ANSWER(UVSIM_OK, uvsim_machine_destroy(coming));
    }
    for (int i = 0; i < 2; i++)
        ANSWER(0, pthread_join(other[i], NULL));
}

static void views(void)
{
    uvsim_machine *plain = NULL;
    uint64_t absolute = 0;

    ANSWER(UVSIM_OK, uvsim_view_status(machine));
    ANSWER(UVSIM_OK, uvsim_pa(machine, uvsim_va(machine, 0x12345), &absolute));
    ANSWER(0x12345, (long long)absolute);
    ANSWER(UVSIM_E_ARGUMENT, uvsim_pa(machine, &absolute, &absolute));
    ANSWER(1, uvsim_va(machine, 4ull << 30) == NULL);
    ANSWER(1, uvsim_va(NULL, 0) == NULL);
    ANSWER(UVSIM_OK, uvsim_machine_create(NULL, 0, &plain));
    ANSWER(1, uvsim_va(plain, 0) == NULL);
    ANSWER(UVSIM_E_NO_VIEW, uvsim_pa(plain, &absolute, NULL));
    ANSWER(UVSIM_E_NO_VIEW, uvsim_view_status(plain));
    ANSWER(UVSIM_E_NO_VIEW, uvsim_on_secure_access(plain, nonsense, NULL));
    ANSWER(UVSIM_OK, uvsim_machine_destroy(plain));
    ANSWER(UVSIM_E_DESTROYED, uvsim_view_status(plain));
}

int main(void)
{
    start();
    callbacks();
    copies();
    threads();
    views();
    ANSWER(UVSIM_OK, uvsim_cpu_stop(cpu));
    ANSWER(UVSIM_OK, uvsim_machine_destroy(machine));
    if (failures != 0)
        return 1;
    puts("every misuse of pointers has its answer");
    return 0;
}
