/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A fuzz target: a page-table and swap manager of its own, with few frames and just as many swap slots as it needs,
 * driven by the bytes of the input. The model says no when the manager is wrong; and every byte that the guest reads
 * is compared with what it wrote.
 *
 *   clang -g -fsanitize=fuzzer,address fuzz_swap.c $(pkg-config --cflags --libs uvsim)     libFuzzer
 *   gcc -DSTAND_ALONE fuzz_swap.c $(pkg-config --cflags --libs uvsim)                      without it:
 *       ./a.out FILE...                 runs the files
 *       ./a.out --random N [SEED]       runs N random inputs and prints how many a second
 *
 * -DPLANTED makes a manager with a mistake, to see that it is found.
 */
#define _XOPEN_SOURCE 700
#include "hv.h"
#include <time.h>

enum { MANAGED = 16, FIRST_PAGE = 64, RESIDENT = 6, SLOTS = MANAGED, NONE = -1 };

/* The manager, all of it: so a copy is a snapshot. Pages 0 and 1 of the guest stay where hv.h has put them. */
struct manager {
    int frame[MANAGED], slot[MANAGED];      /* of a page, or NONE */
    int page[RESIDENT];                     /* in a frame, or NONE */
    bool slot_used[SLOTS], shared[MANAGED];
    unsigned hand;
    uint8_t swap[SLOTS][UV_PAGE];
    uint64_t expected[MANAGED];
};

static struct host host;
static struct guest guest;
static struct manager manager, at_start;

static void broken(const char *what)
{
    printf("the manager is wrong: %s\n", what);
    fflush(stdout);
    abort();
}

static uint64_t entry_of(int page) { return guest.pages_table + 8u * (unsigned)(FIRST_PAGE + page); }

static void evict(struct manager *m, int page)
{
    uint64_t frame = host.frames[m->frame[page]].address;
    uvsim_interruption it;
    int slot = NONE;

    must(&host, uvsim_ipte(host.cpu, guest.pages_table, (uint64_t)(FIRST_PAGE + page) * UV_PAGE, &it), &it, "IPTE");
    call_frame(&host, UV_CONV_FROM_SEC, frame, "export");
#ifdef PLANTED
    slot = m->slot[page];                   /* it was free since the page came in, and may be another page's */
#endif
    for (int i = 0; slot == NONE && i < SLOTS; i++)
        if (!m->slot_used[i])
            slot = i;
    if (slot == NONE)
        broken("no slot is free");
    m->slot_used[slot] = true;
    peek(&host, frame, m->swap[slot], UV_PAGE, "reading an exported page");
    m->page[m->frame[page]] = NONE;
    m->frame[page] = NONE;
    m->slot[page] = slot;
}

/* Brings a page in; its frame is the next one that is free, or has its turn. */
static void bring_in(struct manager *m, int page)
{
    int frame = NONE;

    for (int i = 0; i < RESIDENT; i++)
        if (m->page[i] == NONE)
            frame = i;
    if (frame == NONE) {
        frame = (int)(m->hand++ % RESIDENT);
        evict(m, m->page[frame]);
    }
    m->page[frame] = page;
    m->frame[page] = frame;
    if (m->slot[page] != NONE) {
        put(&host, host.frames[frame].address, m->swap[m->slot[page]], UV_PAGE, "filling a frame from swap");
        m->slot_used[m->slot[page]] = false;
#ifndef PLANTED
        m->slot[page] = NONE;
#endif
    }
    put_entry(&host, entry_of(page), host.frames[frame].address);
    call_page(&host, UV_CONV_TO_SEC, FIRST_PAGE + page, "import");
}

struct action {
    enum { STORE, LOAD, SHARE, UNSHARE } what;
    int page;
    uint64_t value;
};

static int act(uvsim_cpu *cpu, void *user)
{
    struct action *a = user;
    uint64_t at = (uint64_t)(FIRST_PAGE + a->page) * UV_PAGE;
    struct uv_share block = { .header = UV_HEADER(block, a->what == SHARE ? UV_SHARE : UV_UNSHARE), .paddr = uv64(at) };
    int rc;

    if (a->what == STORE)
        return uvsim_guest_store(cpu, at, &a->value, sizeof a->value, NULL);
    if (a->what == LOAD)
        return uvsim_guest_load(cpu, at, &a->value, sizeof a->value, NULL);
    rc = uvsim_guest_store(cpu, 0x1e00, &block, sizeof block, NULL);
    return rc ? rc : uvsim_guest_uvc(cpu, 0, 0x1e00, NULL);
}

/* Lets the guest do one thing, and answers its faults. */
static void perform(struct manager *m, struct action *a)
{
    uvsim_exit exit;
    for (int tries = 0; tries < 4; tries++) {
        int rc = uvsim_sie(host.cpu, guest.description, act, a, &exit);
        if (rc == UVSIM_OK)
            return;
        if (rc != UVSIM_EXIT)
            must(&host, rc, NULL, "SIE");
        if (exit.kind != UVSIM_EXIT_INTERRUPTION || (exit.interruption.code & ~1u) != 0x10)
            broken("an exit that no page explains");
        if (m->frame[a->page] != NONE)
            broken("a page that is there is missing");
        bring_in(m, a->page);
    }
    broken("the guest makes no progress");
}

static void run(struct manager *m, const uint8_t *data, size_t size)
{
    for (; size >= 3; data += 3, size -= 3) {
        int page = data[1] % MANAGED;
        struct action a = { .page = page, .value = data[2] };

        switch (data[0] % 6) {
        case 0:
            perform(m, &a);
            m->expected[page] = a.value;
            break;
        case 1:
            a.what = LOAD;
            perform(m, &a);
            if (a.value != m->expected[page])
                broken("the guest reads what it has not written");
            break;
        case 2:
        case 3:
            a.what = data[0] % 6 == 2 ? SHARE : UNSHARE;
            perform(m, &a);
            m->shared[page] = a.what == SHARE;
            break;
        case 4:
            if (m->frame[page] != NONE)
                evict(m, page);
            break;
        case 5:                             /* a device writes, if the guest lets it */
            if (m->frame[page] == NONE || !m->shared[page])
                break;
            must(&host, uvsim_channel_write(host.machine, host.frames[m->frame[page]].address, &a.value,
                                            sizeof a.value, NULL), NULL, "a device writes");
            m->expected[page] = a.value;
        }
    }
}

static int wait_for_it(uvsim_cpu *cpu, void *user)
{
    uint64_t value = 0;
    int rc = uvsim_guest_store(cpu, 0x1e00, &value, sizeof value, NULL);
    *(bool *)user = rc == UVSIM_OK;
    return rc;
}

static void boot(void)
{
    static uint8_t image[UV_PAGE] = "the kernel of the guest";
    bool there = false;

    host_start(&host, "storage \"4GiB\"; cpus 1; seed 7");
    host.fuzzed = true;
    guest_create(&host, &guest);
    guest_load(&host, &guest, image, sizeof image);
    guest_run(&host, &guest, wait_for_it, &there, &there);
    memset(&manager, 0, sizeof manager);
    for (int i = 0; i < RESIDENT; i++) {
        /* The manager has frames of its own; those of hv.h keep what the boot needed. */
        host.frames[i].address = take(&host, UV_PAGE, UV_PAGE);
        manager.page[i] = NONE;
    }
    for (int i = 0; i < MANAGED; i++)
        manager.frame[i] = manager.slot[i] = NONE;
    at_start = manager;
    must(&host, uvsim_snapshot(host.cpu), NULL, "snapshot");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (host.machine == NULL)
        boot();
    else
        must(&host, uvsim_restore(host.cpu), NULL, "restore");
    manager = at_start;
    run(&manager, data, size);
    return 0;
}

#ifdef STAND_ALONE
static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run_random(unsigned long count, unsigned long seed)
{
    unsigned short state[3] = { (unsigned short)seed, (unsigned short)(seed >> 16), (unsigned short)(seed >> 32) };
    uint8_t data[192];
    double start;

    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    start = seconds();
    for (unsigned long n = 0; n < count; n++) {
        size_t size = 3 + (size_t)nrand48(state) % (sizeof data - 2);
        for (size_t i = 0; i < size; i++)
            data[i] = (uint8_t)(nrand48(state) >> 8);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%lu random inputs, seed %lu: %.0f executions/s\n", count, seed, (double)count / (seconds() - start));
}

static int run_file(const char *name)
{
    static uint8_t data[1 << 20];
    FILE *file = fopen(name, "rb");
    if (file == NULL) {
        perror(name);
        return 1;
    }
    LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof data, file));
    fclose(file);
    return 0;
}

int main(int argc, char **argv)
{
    int failed = 0;

    if (argc >= 3 && strcmp(argv[1], "--random") == 0) {
        run_random(strtoul(argv[2], NULL, 0), argc > 3 ? strtoul(argv[3], NULL, 0) : 1);
    } else if (argc > 1) {
        for (int i = 1; i < argc; i++)
            failed |= run_file(argv[i]);
    } else {
        fprintf(stderr, "usage: %s FILE... | --random N [SEED]\n", argv[0]);
        return 2;
    }
    if (host.machine != NULL)
        host_stop(&host);
    return failed;
}
#endif
