/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A host that boots a protected guest, pages it under memory pressure, does I/O for it, and ends it. The hypervisor
 * is in hv.h; here are the guest, played by a callback, and the report.
 */
#include "hv.h"

enum { FIRST = 32, PAGES = 128, ROUNDS = 3, BOUNCE = 20, BLOCK = 0x1e00 };

/* The guest's program: where it is, and what it expects. Every action that ends with an exit is tried again. */
struct program {
    enum { WRITE, VERIFY, FILL, SHARE, SEND, EMPTY, RECEIVE, COMPARE, UNSHARE, AGAIN, DONE } at;
    unsigned page, round, mistakes;
    bool done;
};

static uint64_t pattern(unsigned page, unsigned round) { return page * 0x9e3779b97f4a7c15ull + round; }

/* Pages in another order each round: some near, some far. */
static uint64_t place(const struct program *p) { return (FIRST + p->page * (p->round * 2 + 1) % PAGES) * UV_PAGE; }

static int share(uvsim_cpu *cpu, unsigned command, uint64_t page)
{
    struct uv_share block = { .header = UV_HEADER(block, command), .paddr = uv64(page) };
    int rc = uvsim_guest_store(cpu, BLOCK, &block, sizeof block, NULL);
    return rc ? rc : uvsim_guest_uvc(cpu, 0, BLOCK, NULL);
}

static int request(uvsim_cpu *cpu, uint64_t write, uint64_t page)
{
    int rc = uvsim_guest_set_general(cpu, 1, write);
    rc = rc ? rc : uvsim_guest_set_general(cpu, 2, page);
    return rc ? rc : uvsim_guest_diagnose(cpu, 0x500, 0, 2, NULL);
}

static int step(uvsim_cpu *cpu, struct program *p)
{
    const uint64_t bounce = BOUNCE * UV_PAGE;
    uint64_t value = 0;
    int rc;

    switch (p->at) {
    case WRITE:
        value = pattern((unsigned)(place(p) / UV_PAGE), p->round);
        return uvsim_guest_store(cpu, place(p) + 8 * p->round, &value, sizeof value, NULL);
    case VERIFY:
    case AGAIN:
        rc = uvsim_guest_load(cpu, place(p) + 8 * p->round, &value, sizeof value, NULL);
        p->mistakes += rc == UVSIM_OK && value != pattern((unsigned)(place(p) / UV_PAGE), p->round);
        return rc;
    case FILL:
        return uvsim_guest_store(cpu, bounce, "hello, disk", 12, NULL);
    case SHARE:
        return share(cpu, UV_SHARE, bounce);
    case SEND:
    case RECEIVE:
        return request(cpu, p->at == RECEIVE, bounce);
    case EMPTY:
        return uvsim_guest_store(cpu, bounce, "...........", 12, NULL);
    case COMPARE: {
        char text[12] = "";
        rc = uvsim_guest_load(cpu, bounce, text, sizeof text, NULL);
        p->mistakes += rc == UVSIM_OK && strcmp(text, "hello, disk") != 0;
        return rc;
    }
    case UNSHARE:
        return share(cpu, UV_UNSHARE, bounce);
    case DONE:
        break;
    }
    p->done = true;
    return UVSIM_OK;
}

static int play(uvsim_cpu *cpu, void *user)
{
    struct program *p = user;

    while (!p->done) {
        bool asks = p->at == SEND || p->at == RECEIVE;
        bool pages = p->at == WRITE || p->at == VERIFY || p->at == AGAIN;
        int rc = step(cpu, p);
        /* DIAGNOSE is over when it has left. */
        if (rc != UVSIM_OK && !(asks && rc == UVSIM_EXIT))
            return rc;
        if (pages && ++p->page < PAGES)
            continue;
        p->page = 0;
        if (pages && ++p->round < ROUNDS)
            continue;
        p->round = 0;
        p->at++;
        if (rc != UVSIM_OK)
            return rc;
    }
    return UVSIM_OK;
}

int main(void)
{
    static struct host h;
    static struct guest g;
    static uint8_t image[4 * UV_PAGE] = "the kernel of the guest";
    struct program p = { 0 };

    host_start(&h, "storage \"4GiB\"; cpus 1; seed 2026");
    guest_create(&h, &g);
    guest_load(&h, &g, image, sizeof image);
    guest_run(&h, &g, play, &p, &p.done);
    guest_end(&h, &g, false);
    host_stop(&h);

    printf("a guest with %d pages in %d frames: %u faults, %u cheap ones, %u pages in, %u out, %u requests\n",
           PAGES, GUEST_FRAMES, h.faults, h.cheap_faults, h.in, h.out, h.requests);
    if (p.mistakes || h.out < PAGES || strcmp((char *)h.disk, "hello, disk") != 0) {
        printf("the guest has lost data: %u mistakes\n", p.mistakes);
        return 1;
    }
    puts("all data of the guest have survived");
    return 0;
}
