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
#include "../../examples/hv.h"

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
    ANSWER(UVSIM_E_NULL, uvsim_channel_read(machine, 0, NULL, 8, NULL));
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

/* A guest is a callback: it may call in, for other CPUs and for guest actions, and may never return. */

struct play {
    struct host *h;
    jmp_buf *out;
    bool done;
    int times;
};

static int guest_that_calls_in(uvsim_cpu *cpu, void *user)
{
    struct play *p = user;
    uint64_t value;
    uvsim_exit exit;

    p->times++;
    ANSWER(UVSIM_E_IN_SIE, uvsim_load(cpu, 0, &value, 8, NULL));
    ANSWER(UVSIM_E_IN_SIE, uvsim_uvc(cpu, 0, p->h->block, NULL));
    ANSWER(UVSIM_E_IN_SIE, uvsim_set_primary(cpu, 0));
    ANSWER(UVSIM_E_IN_SIE, uvsim_sie(cpu, p->h->guest->description, guest_that_calls_in, p, &exit));
    ANSWER(UVSIM_E_OPERATING, uvsim_machine_destroy(p->h->machine));
    ANSWER(UVSIM_E_NULL, uvsim_guest_load(cpu, 0x1e00, NULL, 8, NULL));
    ANSWER(UVSIM_OK, uvsim_guest_load(cpu, 0x1e00, &value, 8, NULL));
    if (p->out != NULL)
        longjmp(*p->out, 1);
    p->done = true;
    return UVSIM_OK;
}

/* Ends the stay in SIE itself, and the CPU. */
static int guest_that_ends_all(uvsim_cpu *cpu, void *user)
{
    struct play *p = user;
    uvsim_exit exit;

    p->done = true;
    ANSWER(UVSIM_OK, uvsim_sie_leave(cpu, &exit));
    ANSWER(UVSIM_E_NOT_IN_SIE, uvsim_sie_leave(cpu, &exit));
    ANSWER(UVSIM_OK, uvsim_cpu_stop(cpu));
    ANSWER(UVSIM_E_DESTROYED, uvsim_cpu_stop(cpu));
    return UVSIM_OK;
}

static void guests(void)
{
    static struct host h;
    static struct guest g;
    static uint8_t image[UV_PAGE] = "the kernel of the guest";
    struct play p = { .h = &h };
    uvsim_exit exit;
    jmp_buf out;

    host_start(&h, "storage \"4GiB\"; cpus 1; seed 3");
    guest_create(&h, &g);
    guest_load(&h, &g, image, sizeof image);
    guest_run(&h, &g, guest_that_calls_in, &p, &p.done);
    answer(__LINE__, "the guest has been played", p.times, 1);

    p.out = &out;
    if (setjmp(out) == 0) {
        uvsim_sie(h.cpu, g.description, guest_that_calls_in, &p, &exit);
        answer(__LINE__, "a guest that never returns", 0, 1);
    }
    ANSWER(UVSIM_E_IN_SIE, uvsim_store(h.cpu, h.block, image, 8, NULL));
    ANSWER(UVSIM_OK, uvsim_sie_leave(h.cpu, &exit));
    ANSWER(UVSIM_E_NOT_IN_SIE, uvsim_sie_leave(h.cpu, &exit));
    ANSWER(UVSIM_OK, uvsim_store(h.cpu, h.block, image, 8, NULL));
    ANSWER(UVSIM_E_NULL, uvsim_sie(h.cpu, g.description, NULL, NULL, &exit));

    p.out = NULL;
    ANSWER(UVSIM_E_DESTROYED, uvsim_sie(h.cpu, g.description, guest_that_ends_all, &p, &exit));
    ANSWER(UVSIM_OK, uvsim_machine_destroy(h.machine));
}

/* A translator is asked in the middle of a walk. */

struct translator {
    uvsim_machine *machine;
    uvsim_cpu *cpu;
    jmp_buf *out;
    int times;
};

static int translate(void *user, uint64_t asce, uint64_t address, uvsim_mapping *mapping)
{
    struct translator *t = user;
    uint64_t value;

    (void)asce;
    t->times++;
    ANSWER(UVSIM_E_REENTERED, uvsim_load(t->cpu, 0, &value, 8, NULL));
    ANSWER(UVSIM_E_REENTERED, uvsim_cpu_stop(t->cpu));
    ANSWER(UVSIM_E_REENTERED, uvsim_machine_destroy(t->machine));
    ANSWER(UVSIM_E_REENTERED, uvsim_clock_advance(t->machine, 1));
    if (t->out != NULL)
        longjmp(*t->out, 1);
    mapping->absolute = address & ~0xfffull;
    return UVSIM_OK;
}

static void translators(void)
{
    const uint64_t asce = 0x5000 | 0x100;
    struct translator t = { .machine = new_machine() };
    uvsim_machine *other = new_machine();
    uint64_t value;
    jmp_buf out;

    t.cpu = new_cpu(t.machine, 0);
    ANSWER(UVSIM_OK, uvsim_set_translator(t.machine, asce, translate, &t));
    ANSWER(UVSIM_OK, uvsim_set_home(t.cpu, asce));
    ANSWER(UVSIM_OK, uvsim_set_translation(t.cpu, 1));
    ANSWER(UVSIM_OK, uvsim_load(t.cpu, 0x7008, &value, 8, NULL));
    answer(__LINE__, "the translator has been asked", t.times > 0, 1);
    t.out = &out;
    if (setjmp(out) == 0) {
        uvsim_load(t.cpu, 0x9008, &value, 8, NULL);
        answer(__LINE__, "a translator that never returns", 0, 1);
    }
    /* The walk is still in the middle: this machine is of no use any more, others are. */
    ANSWER(UVSIM_E_REENTERED, uvsim_load(t.cpu, 0x7008, &value, 8, NULL));
    ANSWER(UVSIM_E_REENTERED, uvsim_cpu_stop(t.cpu));
    ANSWER(UVSIM_E_REENTERED, uvsim_clock_advance(t.machine, 1));
    ANSWER(UVSIM_E_REENTERED, uvsim_machine_destroy(t.machine));
    ANSWER(UVSIM_OK, uvsim_clock_advance(other, 1));
    ANSWER(UVSIM_OK, uvsim_machine_destroy(other));
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
    guests();
    translators();
    if (failures != 0)
        return 1;
    puts("every misuse has its answer");
    return 0;
}
