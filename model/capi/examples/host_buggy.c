/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The host of hv.h with a mistake in it, chosen by an argument. Each is one line left out, each would go unnoticed
 * for a while in a kernel, and the machine names each. Exit status 3 says that it was caught.
 *
 *   io         a device is given a page that the guest has not shared, without an export before
 *   reuse      frames of a dead guest go to the next one, without having been destroyed
 *   purge      the window through which the host fills frames is moved, without a purge of the old translation
 */
#include "hv.h"

enum { FIRST = 32, PAGES = 64 };

struct program {
    unsigned page;
    bool asks, done;
};

/* Writes to all its pages, two rounds; then, if it `asks`, has one written to the disk. */
static int play(uvsim_cpu *cpu, void *user)
{
    struct program *p = user;

    for (; p->page < 2 * PAGES; p->page++) {
        uint64_t value = p->page;
        int rc = uvsim_guest_store(cpu, (FIRST + p->page % PAGES) * UV_PAGE, &value, sizeof value, NULL);
        if (rc != UVSIM_OK)
            return rc;
    }
    p->done = true;
    if (!p->asks)
        return UVSIM_OK;
    uvsim_guest_set_general(cpu, 1, 0);
    uvsim_guest_set_general(cpu, 2, FIRST * UV_PAGE);
    return uvsim_guest_diagnose(cpu, 0x500, 0, 2, NULL);
}

static void live(struct host *h, struct guest *g, bool asks)
{
    uint8_t image[UV_PAGE] = "the kernel of the guest";
    struct program p = { .asks = asks };

    guest_create(h, g);
    guest_load(h, g, image, sizeof image);
    guest_run(h, g, play, &p, &p.done);
}

int main(int argc, char **argv)
{
    static struct host h;
    static struct guest g;
    const char *bug = argc == 2 ? argv[1] : "";

    h.bugs.io_without_export = strcmp(bug, "io") == 0;
    h.bugs.reuse_without_destroy = strcmp(bug, "reuse") == 0;
    h.bugs.no_purge = strcmp(bug, "purge") == 0;
    if (!h.bugs.io_without_export && !h.bugs.reuse_without_destroy && !h.bugs.no_purge) {
        fprintf(stderr, "usage: %s io|reuse|purge\n", argv[0]);
        return 2;
    }
    host_start(&h, "storage \"4GiB\"; cpus 1; seed 2026");
    live(&h, &g, h.bugs.io_without_export);
    guest_end(&h, &g, true);
    live(&h, &g, false);
    guest_end(&h, &g, true);
    host_stop(&h);
    puts("nothing was caught");
    return 0;
}
