/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A small hypervisor for protected guests: what a host has to do, from INIT_UV to the end of a guest, and nothing
 * else. It has a machine of 4 GiB with one CPU, and for the guest far fewer frames than the guest has pages.
 *
 *   address spaces   tables of its own in absolute storage: home space is virtual = real, and one page behind it,
 *                    a window through which it looks at frames; a guest has a segment table and a page table
 *   paging           least recently used goes out. Storage keys tell nothing here, so the older half of the pages
 *                    is unmapped: whoever is touched there takes a cheap fault, and counts as young again
 *   swap             an array of what exports have left in the frames: ciphertext
 *   I/O              a page that the guest has shared is pinned, and the channel reaches it
 *
 * Three lines can be left out, for host_buggy.c: a host is right when all flags of `struct host_bugs` are off.
 */
#ifndef HV_H
#define HV_H

#include "uv_blocks.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uvsim.h>

enum { GUEST_PAGES = 256, IMAGE_AT = 0x10000, GUEST_FRAMES = 24, READ_AHEAD = 2, NOBODY = -1 };
enum { GIB = 1 << 30, TABLE_INVALID = 0x20, PAGE_INVALID = 0x400, LARGE = 0x400, REGION_THIRD = 0x4, PRIVATE = 0x100 };
static const uint64_t WINDOW = 4ull * GIB;

struct host_bugs {
    bool io_without_export, reuse_without_destroy, no_purge;
};

struct guest {
    uint64_t handle, cpu_handle, asce, pages_table, description;
    int frame_of[GUEST_PAGES];            /* index into frames, or NOBODY */
    bool swapped[GUEST_PAGES];
    uint8_t swap[GUEST_PAGES][UV_PAGE];
};

struct frame {
    uint64_t address;
    int page;                             /* NOBODY: it is free */
    bool mapped;
    uint64_t used;
};

struct host {
    uvsim_machine *machine;
    uvsim_cpu *cpu;
    uint64_t free_storage, block, window_table, time;
    struct uv_qui info;
    struct guest *guest;
    struct frame frames[GUEST_FRAMES];
    uint8_t disk[UV_PAGE];
    struct host_bugs bugs;
    char rule[16];                        /* of the last event */
    unsigned faults, cheap_faults, out, in, requests;
    bool fuzzed;                          /* what is caught is a crash */
};

/* What the machine says no to ends the program; `rule` is a line of the tables of the book. */
static _Noreturn void caught(struct host *h, const char *what, const char *how)
{
    printf("caught: %s: %s%s%s\n", what, how, h->rule[0] ? ", rule " : "", h->rule);
    fflush(stdout);
    if (h->fuzzed)
        abort();
    exit(3);
}

/* For an access that was refused there is no event; the state of the frame says which rule it was. */
static const char *rule_of(struct host *h, const uvsim_interruption *it)
{
    uvsim_frame frame;
    if (it->code != 0x3d || uvsim_frame_state(h->machine, it->teid & ~0xfffull, &frame) != UVSIM_OK)
        return "";
    return frame.orphaned ? "T9" : frame.state == UVSIM_FRAME_SECURE ? "T3" : "T2";
}

static void must(struct host *h, int rc, const uvsim_interruption *it, const char *what)
{
    char how[160];

    if (rc == UVSIM_OK)
        return;
    if (rc == UVSIM_INTERRUPTED) {
        snprintf(how, sizeof how, "program interruption 0x%02x, TEID 0x%llx", it->code, (unsigned long long)it->teid);
        snprintf(h->rule, sizeof h->rule, "%s", rule_of(h, it));
    } else {
        snprintf(how, sizeof how, "%s%s%s", uvsim_strerror(rc), rc < 0 ? ": " : "", rc < 0 ? uvsim_last_error() : "");
        snprintf(h->rule, sizeof h->rule, "%s", rc == UVSIM_REFUSED ? "T11" : "");
    }
    caught(h, what, how);
}

static void put(struct host *h, uint64_t at, const void *bytes, size_t length, const char *what)
{
    uvsim_interruption it;
    must(h, uvsim_store(h->cpu, at, bytes, length, &it), &it, what);
}

static void put_entry(struct host *h, uint64_t at, uint64_t entry)
{
    entry = uv64(entry);
    put(h, at, &entry, sizeof entry, "a store into a table");
}

static void peek(struct host *h, uint64_t at, void *bytes, size_t length, const char *what)
{
    uvsim_interruption it;
    must(h, uvsim_load(h->cpu, at, bytes, length, &it), &it, what);
}

static uint64_t take(struct host *h, uint64_t length, uint64_t align)
{
    uint64_t at = (h->free_storage + align - 1) & ~(align - 1);
    h->free_storage = at + length;
    return at;
}

static uint64_t new_table(struct host *h, unsigned length, uint64_t invalid)
{
    uint64_t table = take(h, length, UV_PAGE);
    for (unsigned at = 0; at < length; at += 8)
        put_entry(h, table + at, invalid);
    return table;
}

/* Issues a call with a copy of the block in storage, until it is neither busy nor partially done. */
static void call(struct host *h, void *block, const char *what)
{
    struct uv_header *header = block;
    uint16_t length = uv16(header->len);
    uvsim_interruption it;
    char how[80];
    int cc;

    put(h, h->block, block, length, "storing a control block");
    do
        cc = uvsim_uvc(h->cpu, 0, h->block, &it);
    while (cc == 2 || cc == 3);
    if (cc != 0 && cc != 1)
        must(h, cc, &it, what);
    peek(h, h->block, block, length, "fetching a control block");
    if (uv16(header->rc) == UV_RC_EXECUTED || uv16(header->rc) == UV_RC_MORE_DATA)
        return;
    snprintf(how, sizeof how, "refused with rc 0x%04x, rrc 0x%04x", uv16(header->rc), uv16(header->rrc));
    caught(h, what, how);
}

static void call_page(struct host *h, unsigned command, int page, const char *what)
{
    struct uv_page b = { .header = UV_HEADER(b, command), .guest_handle = uv64(h->guest->handle),
                         .gaddr = uv64((uint64_t)page * UV_PAGE) };
    call(h, &b, what);
}

static void call_frame(struct host *h, unsigned command, uint64_t frame, const char *what)
{
    struct uv_frame b = { .header = UV_HEADER(b, command), .paddr = uv64(frame) };
    call(h, &b, what);
}

static void call_handle(struct host *h, unsigned command, uint64_t handle, const char *what)
{
    struct uv_handle b = { .header = UV_HEADER(b, command), .handle = uv64(handle) };
    call(h, &b, what);
}

/* Lets the window show a frame. */
static uint64_t window_to(struct host *h, uint64_t frame)
{
    uvsim_interruption it;
    if (!h->bugs.no_purge)
        must(h, uvsim_ipte(h->cpu, h->window_table, WINDOW, &it), &it, "IPTE");
    put_entry(h, h->window_table, frame);
    return WINDOW;
}

static void map(struct host *h, struct frame *f)
{
    put_entry(h, h->guest->pages_table + 8u * (unsigned)f->page, f->address);
    f->mapped = true;
}

static void unmap(struct host *h, struct frame *f)
{
    uvsim_interruption it;
    must(h, uvsim_ipte(h->cpu, h->guest->pages_table, (uint64_t)f->page * UV_PAGE, &it), &it, "IPTE");
    f->mapped = false;
}

static void page_out(struct host *h, struct frame *f)
{
    if (f->mapped)
        unmap(h, f);
    call_frame(h, UV_CONV_FROM_SEC, f->address, "export");
    peek(h, f->address, h->guest->swap[f->page], UV_PAGE, "reading an exported page");
    h->guest->swapped[f->page] = true;
    h->guest->frame_of[f->page] = NOBODY;
    f->page = NOBODY;
    h->out++;
}

static struct frame *oldest(struct host *h, bool mapped)
{
    struct frame *found = NULL;
    for (struct frame *f = h->frames; f < h->frames + GUEST_FRAMES; f++)
        if (f->page != NOBODY && f->mapped >= mapped && (!found || f->used < found->used))
            found = f;
    return found;
}

/* A frame for a page, with what swap has for it. */
static struct frame *frame_for(struct host *h, int page)
{
    struct frame *f = h->frames;
    while (f < h->frames + GUEST_FRAMES && f->page != NOBODY)
        f++;
    if (f == h->frames + GUEST_FRAMES)
        page_out(h, f = oldest(h, false));
    f->page = page;
    f->used = ++h->time;
    h->guest->frame_of[page] = (int)(f - h->frames);
    if (h->guest->swapped[page])
        put(h, window_to(h, f->address), h->guest->swap[page], UV_PAGE, "filling a frame from swap");
    h->guest->swapped[page] = false;
    map(h, f);
    return f;
}

/* A guest has touched a page that is not there, or not mapped. */
static void fault(struct host *h, int page)
{
    struct guest *g = h->guest;
    int pages[READ_AHEAD] = { page }, count = 1, mapped = 0;

    if (g->frame_of[page] != NOBODY) {
        struct frame *f = &h->frames[g->frame_of[page]];
        f->used = ++h->time;
        if (!f->mapped)
            map(h, f);
        h->cheap_faults++;
        return;
    }
    h->faults++;
    while (count < READ_AHEAD && page + count < GUEST_PAGES && g->swapped[page + count]) {
        pages[count] = page + count;
        count++;
    }
    for (int i = 0; i < count; i++)
        frame_for(h, pages[i]);
    for (int i = 0; i < count; i++, h->in++)
        call_page(h, UV_CONV_TO_SEC, pages[i], "import");
    for (struct frame *f = h->frames; f < h->frames + GUEST_FRAMES; f++)
        mapped += f->page != NOBODY && f->mapped;
    for (; mapped > GUEST_FRAMES / 2; mapped--)
        unmap(h, oldest(h, true));
}

/* The machine tells which rule has decided. */
static void note(void *user, const uvsim_event *event)
{
    struct host *h = user;
    if (event->kind == UVSIM_EVENT_CALL)
        snprintf(h->rule, sizeof h->rule, "%s", event->rule);
}

/* From nothing to a machine with an Ultravisor. */
static inline void host_start(struct host *h, const char *config)
{
    uint64_t top, segments;
    struct uv_qui qui = { .header = UV_HEADER(qui, UV_QUI) };

    h->free_storage = 1 << 20;
    must(h, uvsim_machine_create(config, 0, &h->machine), NULL, "making a machine");
    must(h, uvsim_on_event(h->machine, note, h), NULL, "listening");
    must(h, uvsim_cpu_start(h->machine, 0, &h->cpu), NULL, "starting CPU 0");
    h->block = take(h, UV_PAGE, UV_PAGE);
    top = new_table(h, UV_PAGE, TABLE_INVALID);
    segments = new_table(h, UV_PAGE, TABLE_INVALID);
    h->window_table = new_table(h, 2048, PAGE_INVALID);
    put_entry(h, top, 0 | LARGE | REGION_THIRD);
    put_entry(h, top + 8, 2ull * GIB | LARGE | REGION_THIRD);
    put_entry(h, top + 16, segments | REGION_THIRD);
    put_entry(h, segments, h->window_table);
    must(h, uvsim_set_home(h->cpu, top | REGION_THIRD), NULL, "control register 13");
    must(h, uvsim_set_translation(h->cpu, true), NULL, "translation");
    for (int i = 0; i < GUEST_FRAMES; i++)
        h->frames[i] = (struct frame){ .address = take(h, UV_PAGE, UV_PAGE), .page = NOBODY };

    call(h, &qui, "QUI");
    h->info = qui;
    struct uv_init init = { .header = UV_HEADER(init, UV_INIT), .stor_origin = uv64(2ull * GIB),
                            .stor_len = qui.uv_base_stor_len };
    call(h, &init, "INIT_UV");
}

static inline void guest_create(struct host *h, struct guest *g)
{
    uint64_t segments = new_table(h, UV_PAGE, TABLE_INVALID);

    memset(g, 0, sizeof *g);
    memset(g->frame_of, 0xff, sizeof g->frame_of);
    h->guest = g;
    g->pages_table = new_table(h, 2048, PAGE_INVALID);
    g->asce = segments | PRIVATE;
    put_entry(h, segments, g->pages_table);

    uint64_t variable = uv64(h->info.conf_base_virt_stor_len) + uv64(h->info.conf_virt_var_stor_len);
    struct uv_create_conf conf = {
        .header = UV_HEADER(conf, UV_CREATE_CONF),
        .conf_base_stor_origin = uv64(take(h, uv64(h->info.conf_base_phys_stor_len), 4 * UV_PAGE)),
        .conf_virt_stor_origin = uv64(take(h, variable, UV_PAGE)),
        .guest_stor_len = uv64(GUEST_PAGES * UV_PAGE),
        .guest_sca = uv64(take(h, 5 * UV_PAGE, UV_PAGE)),
        .guest_asce = uv64(g->asce),
    };
    call(h, &conf, "creating a configuration");
    g->handle = uv64(conf.guest_handle);

    g->description = take(h, UV_PAGE, UV_PAGE);
    struct uv_create_cpu cpu = {
        .header = UV_HEADER(cpu, UV_CREATE_CPU),
        .guest_handle = conf.guest_handle,
        .stor_origin = uv64(take(h, uv64(h->info.cpu_stor_len), UV_PAGE)),
        .state_origin = uv64(g->description),
    };
    call(h, &cpu, "creating a CPU");
    g->cpu_handle = uv64(cpu.cpu_handle);
    put_entry(h, g->description + 0x10, g->cpu_handle);
    put_entry(h, g->description + 0x18, g->handle);
    put(h, g->description + 0x68, &(uint8_t){ 2 }, 1, "state description");
    put_entry(h, g->description + 0x180, take(h, UV_PAGE, UV_PAGE));
}

/*
 * Makes an SE image of some pages, which a customer would have done elsewhere, puts it into the guest, and lets the
 * Ultravisor verify it. The bytes are ciphertext afterwards.
 */
static inline void guest_load(struct host *h, struct guest *g, void *bytes, size_t length)
{
    uint8_t header[UVSIM_IMAGE_HEADER_LENGTH];
    uvsim_component kernel = { .address = IMAGE_AT, .prefix = 0x28ull << 48, .data = bytes, .length = length };
    uvsim_image_plan plan = { .seed = 1, .psw_address = IMAGE_AT };
    must(h, uvsim_image_build(h->machine, &plan, &kernel, 1, header, sizeof header), NULL, "making an image");

    uint64_t at = take(h, sizeof header, UV_PAGE);
    put(h, at, header, sizeof header, "storing the image header");
    struct uv_set_parms parms = { .header = UV_HEADER(parms, UV_SET_PARMS), .guest_handle = uv64(g->handle),
                                  .sec_header_origin = uv64(at), .sec_header_len = uv32(sizeof header) };
    call(h, &parms, "handing over the image header");
    for (uint64_t offset = 0; offset < length; offset += UV_PAGE) {
        struct frame *f = frame_for(h, (int)((IMAGE_AT + offset) / UV_PAGE));
        put(h, f->address, (uint8_t *)bytes + offset, UV_PAGE, "storing a page of the image");
        struct uv_unpack unpack = { .header = UV_HEADER(unpack, UV_UNPACK), .guest_handle = uv64(g->handle),
                                    .gaddr = uv64(IMAGE_AT + offset),
                                    .tweak = { uv64(kernel.prefix), uv64(offset) } };
        call(h, &unpack, "unpacking a page");
    }
    call_handle(h, UV_VERIFY, g->handle, "verifying the image");
    struct uv_cpu_set_state load = { .header = UV_HEADER(load, UV_CPU_SET_STATE),
                                     .cpu_handle = uv64(g->cpu_handle), .state = UV_CPU_LOAD };
    call(h, &load, "starting the guest's CPU");
}

/* The guest wants a page of its own written to the disk, or read from it: DIAGNOSE 0x500. */
static void io(struct host *h, struct guest *g)
{
    uint64_t request[2];                  /* save area: register 1 what, register 2 where */
    peek(h, g->description + 0x388, request, sizeof request, "the guest's request");
    int page = (int)(uv64(request[1]) / UV_PAGE % GUEST_PAGES);

    if (g->frame_of[page] == NOBODY)
        fault(h, page);
    uint64_t frame = h->frames[g->frame_of[page]].address;
    if (!h->bugs.io_without_export)
        call_frame(h, UV_PIN_SHARED, frame, "pinning a page for I/O");
    if (uv64(request[0]) == 0)
        must(h, uvsim_channel_read(h->machine, frame, h->disk, UV_PAGE, NULL), NULL, "a device reads a guest page");
    else
        must(h, uvsim_channel_write(h->machine, frame, h->disk, UV_PAGE, NULL), NULL, "a device writes a guest page");
    if (!h->bugs.io_without_export)
        call_page(h, UV_UNPIN_SHARED, page, "unpinning a page");
    h->requests++;
}

/* Lets the guest run until it is done; `play` does what its program would do, and says when to go. */
static inline void guest_run(struct host *h, struct guest *g, uvsim_guest_fn play, void *user, const bool *done)
{
    must(h, uvsim_set_primary(h->cpu, g->asce), NULL, "control register 1");
    while (!*done) {
        uvsim_exit exit;
        int rc = uvsim_sie(h->cpu, g->description, play, user, &exit);
        if (rc != UVSIM_EXIT)
            must(h, rc, NULL, "SIE");
        else if (exit.kind == UVSIM_EXIT_INTERRUPTION && exit.interruption.code == 0x3e)
            call_page(h, UV_CONV_TO_SEC, (int)(exit.interruption.teid / UV_PAGE), "import");
        else if (exit.kind == UVSIM_EXIT_INTERRUPTION && (exit.interruption.code & ~1u) == 0x10)
            fault(h, (int)(exit.interruption.teid / UV_PAGE));
        else if (exit.kind == UVSIM_EXIT_INTERRUPTION)
            must(h, UVSIM_INTERRUPTED, &exit.interruption, "SIE");
        else if (exit.code == 112) {
            fault(h, 0);
            fault(h, 1);
        } else if (exit.code == 104 && exit.ipa == 0x8302)
            io(h, g);
        else
            caught(h, "SIE", "an interception that nobody handles");
    }
}

/* Ends the guest; its frames are free. */
static inline void guest_end(struct host *h, struct guest *g, bool fast)
{
    call_handle(h, UV_DESTROY_CPU, g->cpu_handle, "destroying a CPU");
    struct uv_destroy_fast b = { .header = UV_HEADER(b, UV_DESTROY_CONF_FAST), .handle = uv64(g->handle) };
    if (fast)
        call(h, &b, "destroying a configuration");
    else
        call_handle(h, UV_DESTROY_CONF, g->handle, "destroying a configuration");
    for (struct frame *f = h->frames; f < h->frames + GUEST_FRAMES; f++) {
        if (fast && f->page != NOBODY && !h->bugs.reuse_without_destroy)
            call_frame(h, UV_DESTROY_PAGE, f->address, "destroying a page");
        f->page = NOBODY;
        f->mapped = false;
    }
    h->guest = NULL;
}

static inline void host_stop(struct host *h)
{
    must(h, uvsim_cpu_stop(h->cpu), NULL, "stopping CPU 0");
    must(h, uvsim_machine_destroy(h->machine), NULL, "destroying the machine");
}

#endif
