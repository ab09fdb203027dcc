/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a program must not do, and the documented answer to each. Nothing here may crash or be seen by a sanitizer.
 */
#define _XOPEN_SOURCE 700
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uvsim.h>

static int failures;

static void answer(int line, const char *what, int got, int expected)
{
    if (got == expected)
        return;
    printf("misuse.c:%d: %s: %d (%s), expected %d (%s)\n", line, what, got, uvsim_strerror(got), expected,
           uvsim_strerror(expected));
    __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
}

#define ANSWER(expected, what) answer(__LINE__, #what, what, expected)

static uvsim_machine *new_machine(void)
{
    uvsim_machine *machine = NULL;
    ANSWER(UVSIM_OK, uvsim_machine_create("storage \"4GiB\"; cpus 4; seed 1", 0, &machine));
    return machine;
}

static uvsim_cpu *new_cpu(uvsim_machine *machine, uint16_t number)
{
    uvsim_cpu *cpu = NULL;
    ANSWER(UVSIM_OK, uvsim_cpu_start(machine, number, &cpu));
    return cpu;
}

/* Memory that is no handle, at an address that could be one. */
static uint64_t not_a_handle[64];

static void null_pointers(void)
{
    uvsim_machine *machine = new_machine();
    uvsim_cpu *cpu = new_cpu(machine, 0);

    ANSWER(UVSIM_E_NULL, uvsim_machine_create(NULL, 0, NULL));
    ANSWER(UVSIM_E_NULL, uvsim_machine_destroy(NULL));
    ANSWER(UVSIM_E_NULL, uvsim_cpu_start(NULL, 0, &cpu));
    ANSWER(UVSIM_E_NULL, uvsim_cpu_start(machine, 1, NULL));
    ANSWER(UVSIM_E_NULL, uvsim_cpu_stop(NULL));
    ANSWER(UVSIM_E_NULL, uvsim_uvc(NULL, 0, 0, NULL));
    ANSWER(UVSIM_E_NULL, uvsim_load(cpu, 0, NULL, 8, NULL));
    ANSWER(UVSIM_E_NULL, uvsim_store(cpu, 0, NULL, 8, NULL));
    ANSWER(UVSIM_OK, uvsim_load(cpu, 0, NULL, 0, NULL));
    ANSWER(UVSIM_E_NULL, uvsim_channel_read(machine, 0, NULL, 8));
    ANSWER(UVSIM_OK, uvsim_cpu_stop(cpu));
    ANSWER(UVSIM_OK, uvsim_machine_destroy(machine));
}

static void handles(void)
{
    uvsim_machine *machine = new_machine(), *other = new_machine();
    uvsim_cpu *cpu = new_cpu(machine, 0), *again = NULL;
    uint64_t value = 0;

    /* Of the wrong kind, forged, or no handle at all. */
    ANSWER(UVSIM_E_HANDLE, uvsim_cpu_stop((uvsim_cpu *)machine));
    ANSWER(UVSIM_E_HANDLE, uvsim_machine_destroy((uvsim_machine *)cpu));
    ANSWER(UVSIM_E_HANDLE, uvsim_load((uvsim_cpu *)machine, 0, &value, 8, NULL));
    ANSWER(UVSIM_E_HANDLE, uvsim_cpu_stop((uvsim_cpu *)not_a_handle));
    ANSWER(UVSIM_E_HANDLE, uvsim_machine_destroy((uvsim_machine *)not_a_handle));
    ANSWER(UVSIM_E_HANDLE, uvsim_machine_destroy((uvsim_machine *)(uintptr_t)8));
    ANSWER(UVSIM_E_HANDLE, uvsim_machine_destroy((uvsim_machine *)UINTPTR_MAX));

    /* A machine with started CPUs cannot go; a CPU cannot start twice. */
    ANSWER(UVSIM_E_OPERATING, uvsim_machine_destroy(machine));
    ANSWER(UVSIM_E_OPERATING, uvsim_cpu_start(machine, 0, &again));
    ANSWER(UVSIM_E_ARGUMENT, uvsim_cpu_start(machine, 4, &again));

    /* After the end, and again. */
    ANSWER(UVSIM_OK, uvsim_cpu_stop(cpu));
    ANSWER(UVSIM_E_DESTROYED, uvsim_cpu_stop(cpu));
    ANSWER(UVSIM_E_DESTROYED, uvsim_load(cpu, 0, &value, 8, NULL));
    again = new_cpu(machine, 0);
    ANSWER(UVSIM_E_DESTROYED, uvsim_cpu_stop(cpu));
    ANSWER(UVSIM_OK, uvsim_cpu_stop(again));
    ANSWER(UVSIM_OK, uvsim_machine_destroy(machine));
    ANSWER(UVSIM_E_DESTROYED, uvsim_machine_destroy(machine));
    ANSWER(UVSIM_E_DESTROYED, uvsim_cpu_start(machine, 0, &again));
    ANSWER(UVSIM_OK, uvsim_machine_destroy(other));
}

static void arguments(void)
{
    uvsim_machine *machine = NULL;
    uvsim_cpu *cpu;

    ANSWER(UVSIM_E_CONFIG, uvsim_machine_create("storage 17", 0, &machine));
    ANSWER(UVSIM_E_CONFIG, uvsim_machine_create("frobnicate 1", 0, &machine));
    ANSWER(UVSIM_E_CONFIG, uvsim_machine_create("{{{", 0, &machine));
    ANSWER(UVSIM_E_ARGUMENT, uvsim_machine_create("cpus 1\xff", 0, &machine));
    ANSWER(UVSIM_E_ARGUMENT, uvsim_machine_create(NULL, 0x80000000u, &machine));
    if (machine != NULL)
        answer(__LINE__, "a machine that was not made", 1, 0);
    machine = new_machine();
    cpu = new_cpu(machine, 0);
    /* What the machine can answer is not misuse. */
    uint64_t value;
    uvsim_interruption it = { 0 };
    ANSWER(UVSIM_INTERRUPTED, uvsim_load(cpu, UINT64_MAX - 3, &value, 8, &it));
    answer(__LINE__, "addressing", it.code, 5);
    ANSWER(UVSIM_INTERRUPTED, uvsim_uvc(cpu, 0, 4, &it));
    answer(__LINE__, "specification", it.code, 6);
    ANSWER(UVSIM_E_NO_SNAPSHOT, uvsim_restore(cpu));
    ANSWER(UVSIM_E_NOT_IN_SIE, uvsim_guest_load(cpu, 0, &value, 8, NULL));
    ANSWER(UVSIM_OK, uvsim_cpu_stop(cpu));
    ANSWER(UVSIM_OK, uvsim_machine_destroy(machine));
    for (int error = -64; error < 64; error++)
        if (uvsim_strerror(error) == NULL || uvsim_strerror(error)[0] == '\0')
            answer(__LINE__, "strerror", error, 0);
}

/* A CPU belongs to the thread that started it; machines and other CPUs may be used at the same time. */

static void *use_of_another_thread(void *cpu)
{
    uint64_t value = 0;
    ANSWER(UVSIM_E_THREAD, uvsim_load(cpu, 0, &value, 8, NULL));
    ANSWER(UVSIM_E_THREAD, uvsim_store(cpu, 0, &value, 8, NULL));
    ANSWER(UVSIM_E_THREAD, uvsim_uvc(cpu, 0, 0, NULL));
    ANSWER(UVSIM_E_THREAD, uvsim_cpu_stop(cpu));
    return NULL;
}

struct worker {
    pthread_t thread;
    uvsim_machine *machine;
    uvsim_cpu **leaked;
    uint16_t number;
};

static void *work(void *user)
{
    struct worker *w = user;
    uint64_t value = 0;

    for (int round = 0; round < 50; round++) {
        uvsim_cpu *cpu = new_cpu(w->machine, w->number);
        for (uint64_t i = 0; i < 40; i++) {
            uint64_t at = 0x100000 + 0x1000 * (uint64_t)w->number;
            ANSWER(UVSIM_OK, uvsim_store(cpu, at, &i, 8, NULL));
            ANSWER(UVSIM_OK, uvsim_load(cpu, at, &value, 8, NULL));
            answer(__LINE__, "what was stored", (int)value, (int)i);
        }
        ANSWER(UVSIM_E_OPERATING, uvsim_machine_destroy(w->machine));
        /* Anybody may look at it; nobody else may use it. */
        __atomic_store_n(w->leaked, cpu, __ATOMIC_RELEASE);
        ANSWER(UVSIM_OK, uvsim_cpu_stop(cpu));
    }
    return NULL;
}

/* Uses what other threads have, or have had. */
static void *disturb(void *user)
{
    struct worker *w = user;
    uint64_t value;

    for (int round = 0; round < 2000; round++) {
        uvsim_cpu *cpu = __atomic_load_n(w->leaked, __ATOMIC_ACQUIRE);
        int rc = cpu ? uvsim_load(cpu, 0, &value, 8, NULL) : UVSIM_E_THREAD;
        if (rc != UVSIM_E_THREAD && rc != UVSIM_E_DESTROYED)
            answer(__LINE__, "a CPU of another thread", rc, UVSIM_E_THREAD);
    }
    return NULL;
}

static void threads(void)
{
    uvsim_machine *machine = new_machine();
    uvsim_cpu *cpu = new_cpu(machine, 3), *leaked = NULL;
    struct worker workers[3], disturber = { .leaked = &leaked };
    pthread_t other;

    pthread_create(&other, NULL, use_of_another_thread, cpu);
    pthread_join(other, NULL);
    for (uint16_t i = 0; i < 3; i++) {
        workers[i] = (struct worker){ .machine = machine, .leaked = &leaked, .number = i };
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    pthread_create(&other, NULL, disturb, &disturber);
    for (int i = 0; i < 3; i++)
        pthread_join(workers[i].thread, NULL);
    pthread_join(other, NULL);
    ANSWER(UVSIM_OK, uvsim_cpu_stop(cpu));
    ANSWER(UVSIM_OK, uvsim_machine_destroy(machine));
}

static void *destroy(void *machine)
{
    return (void *)(intptr_t)uvsim_machine_destroy(machine);
}

/* Of several that destroy a machine at a time, one does. */
static void destroyed_by_many(void)
{
    for (int round = 0; round < 20; round++) {
        uvsim_machine *machine = new_machine();
        pthread_t threads[4];
        int done = 0;

        for (int i = 0; i < 4; i++)
            pthread_create(&threads[i], NULL, destroy, machine);
        for (int i = 0; i < 4; i++) {
            void *rc;
            pthread_join(threads[i], &rc);
            done += (intptr_t)rc == UVSIM_OK;
            if ((intptr_t)rc != UVSIM_OK)
                answer(__LINE__, "destroyed by another", (int)(intptr_t)rc, UVSIM_E_DESTROYED);
        }
        answer(__LINE__, "destroyed once", done, 1);
    }
}

/* A thread that ends stops its CPUs. */
static void *start_and_leave(void *machine)
{
    return new_cpu(machine, 0);
}

static void thread_gone(void)
{
    uvsim_machine *machine = new_machine();
    pthread_t thread;
    void *cpu;

    pthread_create(&thread, NULL, start_and_leave, machine);
    pthread_join(thread, &cpu);
    ANSWER(UVSIM_E_DESTROYED, uvsim_cpu_stop(cpu));
    ANSWER(UVSIM_OK, uvsim_cpu_stop(new_cpu(machine, 0)));
    ANSWER(UVSIM_OK, uvsim_machine_destroy(machine));
}

/* Callbacks. An event is told when the call that has caused it is over: the callback may call in, or never return. */

struct listener {
    uvsim_machine *machine;
    uvsim_cpu *cpu;
    int events, depth;
    jmp_buf *out;
};

static const uint8_t qui[] = { 0x01, 0x20, 0x00, 0x01 };

static void listen(void *user, const uvsim_event *event)
{
    struct listener *l = user;
    uint64_t value = 0;

    (void)event;
    l->events++;
    if (l->out != NULL)
        longjmp(*l->out, 1);
    ANSWER(UVSIM_OK, uvsim_load(l->cpu, 0, &value, 8, NULL));
    if (l->depth++ == 0)
        ANSWER(UVSIM_OK, uvsim_uvc(l->cpu, 0, 0x10000, NULL));
    ANSWER(UVSIM_E_OPERATING, uvsim_machine_destroy(l->machine));
}

static void events(void)
{
    struct listener l = { .machine = new_machine() };
    jmp_buf out;

    l.cpu = new_cpu(l.machine, 0);
    ANSWER(UVSIM_OK, uvsim_store(l.cpu, 0x10000, qui, sizeof qui, NULL));
    ANSWER(UVSIM_OK, uvsim_on_event(l.machine, listen, &l));
    ANSWER(UVSIM_OK, uvsim_uvc(l.cpu, 0, 0x10000, NULL));
    answer(__LINE__, "events", l.events, 2);
    l.out = &out;
    if (setjmp(out) == 0) {
        uvsim_uvc(l.cpu, 0, 0x10000, NULL);
        answer(__LINE__, "a callback that leaves", 0, 1);
    }
    ANSWER(UVSIM_OK, uvsim_on_event(l.machine, NULL, NULL));
    ANSWER(UVSIM_OK, uvsim_uvc(l.cpu, 0, 0x10000, NULL));
    answer(__LINE__, "events", l.events, 3);
    ANSWER(UVSIM_OK, uvsim_cpu_stop(l.cpu));
    ANSWER(UVSIM_OK, uvsim_machine_destroy(l.machine));
}

int main(void)
{
    null_pointers();
    handles();
    arguments();
    threads();
    destroyed_by_many();
    thread_gone();
    events();
    if (failures != 0)
        return 1;
    puts("every misuse has its answer");
    return 0;
}
