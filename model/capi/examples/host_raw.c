/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The same host as in host.c, written as kernel code is: storage is memory, a control block lies on the stack, page
 * tables and swap are plain loads and stores, and a touch of a secure frame faults. The fault handler makes the page
 * accessible, and the touch is tried again: nobody exports before reading.
 *
 * What a kernel has and this program lacks is in the first screen: a shim of three functions.
 */
#define _XOPEN_SOURCE 700
#define UV_NATIVE
#include "uv_blocks.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uvsim.h>

static uvsim_machine *machine;
static uvsim_cpu *this_cpu;

static int uv_call(uint64_t r1, uint64_t r2)
{
    int cc;
    do
        cc = uvsim_uvc(this_cpu, r1, r2, NULL);
    while (cc == 2 || cc == 3);
    return cc;
}

static void *va(uint64_t absolute) { return uvsim_va(machine, absolute); }

static uint64_t pa(const void *pointer)
{
    uint64_t absolute = 0;
    uvsim_pa(machine, pointer, &absolute);
    return absolute;
}

#define CHECK(what) do { int rc_ = (what); if (rc_) die(#what, rc_); } while (0)

static _Noreturn void die(const char *what, int rc)
{
    printf("FAILED: %s: %d %s %s\n", what, rc, uvsim_strerror(rc), uvsim_last_error());
    exit(1);
}

/* ------------------------------------------------------------------------------------------------------------- */

enum { GUEST_PAGES = 256, IMAGE_AT = 0x10000, FRAMES = 24, INVALID = 0x400, TABLE_INVALID = 0x20, PRIVATE = 0x100 };

static struct {
    uint64_t handle, cpu_handle, asce, *pte;
    uint8_t *state_description;
    bool swapped[GUEST_PAGES];
    uint8_t swap[GUEST_PAGES][UV_PAGE];
} vm;

static struct {
    uint8_t *memory;
    int page;                             /* -1: free */
} frames[FRAMES];

static uint64_t free_storage = 1 << 20;
static unsigned hand, exports, imports, secure_faults;

static void *alloc(uint64_t length, uint64_t align)
{
    uint64_t at = (free_storage + align - 1) & ~(align - 1);
    free_storage = at + length;
    return va(at);
}

static int uv_convert_from_secure(uint64_t paddr)
{
    struct uv_frame uvcb = { .header = UV_HEADER(uvcb, UV_CONV_FROM_SEC), .paddr = paddr };
    exports++;
    return uv_call(0, (uint64_t)&uvcb);
}

static int uv_pin_shared(uint64_t paddr)
{
    struct uv_frame uvcb = { .header = UV_HEADER(uvcb, UV_PIN_SHARED), .paddr = paddr };
    return uv_call(0, (uint64_t)&uvcb);
}

static int uv_page_call(unsigned command, int page)
{
    struct uv_page uvcb = { .header = UV_HEADER(uvcb, command), .guest_handle = vm.handle,
                            .gaddr = (uint64_t)page * UV_PAGE };
    return uv_call(0, (uint64_t)&uvcb);
}

static int uv_cmd_nodata(uint64_t handle, unsigned command)
{
    struct uv_handle uvcb = { .header = UV_HEADER(uvcb, command), .handle = handle };
    return uv_call(0, (uint64_t)&uvcb);
}

/* arch_make_folio_accessible: pinned if it is shared, else exported. */
static int make_accessible(uint64_t paddr)
{
    return uv_pin_shared(paddr) == 0 ? 0 : uv_convert_from_secure(paddr);
}

/* do_secure_storage_access: the host has touched a secure frame. */
static int secure_storage_access(void *user, const uvsim_fault *fault)
{
    (void)user;
    secure_faults++;
    return make_accessible(fault->absolute & ~(UV_PAGE - 1ull)) == 0 ? UVSIM_RETRY : UVSIM_DELIVER;
}

static void swap_out(int frame)
{
    int page = frames[frame].page;
    CHECK(uvsim_ipte(this_cpu, pa(vm.pte), (uint64_t)page * UV_PAGE, NULL));
    memcpy(vm.swap[page], frames[frame].memory, UV_PAGE);
    vm.swapped[page] = true;
    frames[frame].page = -1;
}

static int frame_of(int page)
{
    for (int i = 0; i < FRAMES; i++)
        if (frames[i].page == page)
            return i;
    return -1;
}

static int swap_in(int page)
{
    int frame = frame_of(-1);
    if (frame < 0)
        swap_out(frame = (int)(hand++ % FRAMES));
    frames[frame].page = page;
    if (vm.swapped[page])
        memcpy(frames[frame].memory, vm.swap[page], UV_PAGE);
    vm.swapped[page] = false;
    vm.pte[page] = pa(frames[frame].memory);
    return frame;
}

static void guest_fault(int page)
{
    if (frame_of(page) < 0)
        swap_in(page);
    imports++;
    CHECK(uv_page_call(UV_CONV_TO_SEC, page));
}

static void host_start(void)
{
    struct uv_qui qui = { .header = UV_HEADER(qui, UV_QUI) };
    uint64_t *segments;

    CHECK(uvsim_machine_create("storage \"4GiB\"; cpus 1; seed 2026; byte-order native", UVSIM_HOST_VIEW, &machine));
    CHECK(uvsim_cpu_start(machine, 0, &this_cpu));
    CHECK(uvsim_set_native(this_cpu, true));
    CHECK(uvsim_on_secure_access(machine, secure_storage_access, NULL));
    CHECK(uv_call(0, (uint64_t)&qui));
    struct uv_init init = { .header = UV_HEADER(init, UV_INIT), .stor_origin = 2ull << 30,
                            .stor_len = qui.uv_base_stor_len };
    CHECK(uv_call(0, (uint64_t)&init));

    segments = alloc(UV_PAGE, UV_PAGE);
    vm.pte = alloc(UV_PAGE, UV_PAGE);
    for (int i = 0; i < 512; i++)
        segments[i] = TABLE_INVALID;
    for (int i = 0; i < 256; i++)
        vm.pte[i] = INVALID;
    segments[0] = pa(vm.pte);
    vm.asce = pa(segments) | PRIVATE;
    for (int i = 0; i < FRAMES; i++) {
        frames[i].memory = alloc(UV_PAGE, UV_PAGE);
        frames[i].page = -1;
    }

    struct uv_create_conf conf = {
        .header = UV_HEADER(conf, UV_CREATE_CONF),
        .conf_base_stor_origin = pa(alloc(qui.conf_base_phys_stor_len, 4 * UV_PAGE)),
        .conf_virt_stor_origin = (uint64_t)alloc(qui.conf_base_virt_stor_len + qui.conf_virt_var_stor_len, UV_PAGE),
        .guest_stor_len = GUEST_PAGES * UV_PAGE,
        .guest_sca = pa(alloc(5 * UV_PAGE, UV_PAGE)),
        .guest_asce = vm.asce,
    };
    CHECK(uv_call(0, (uint64_t)&conf));
    vm.handle = conf.guest_handle;
    vm.state_description = alloc(UV_PAGE, UV_PAGE);
    struct uv_create_cpu cpu = {
        .header = UV_HEADER(cpu, UV_CREATE_CPU),
        .guest_handle = vm.handle,
        .stor_origin = pa(alloc(qui.cpu_stor_len, UV_PAGE)),
        .state_origin = pa(vm.state_description),
    };
    CHECK(uv_call(0, (uint64_t)&cpu));
    vm.cpu_handle = cpu.cpu_handle;
    *(uint64_t *)(vm.state_description + 0x10) = vm.cpu_handle;
    *(uint64_t *)(vm.state_description + 0x18) = vm.handle;
    vm.state_description[0x68] = 2;
    *(uint64_t *)(vm.state_description + 0x180) = (uint64_t)alloc(UV_PAGE, UV_PAGE);
}

static void load_image(void)
{
    static uint8_t kernel[UV_PAGE] = "the kernel of the guest";
    uint8_t header[UVSIM_IMAGE_HEADER_LENGTH];
    uvsim_component component = { .address = IMAGE_AT, .prefix = 0x28ull << 48, .data = kernel,
                                  .length = sizeof kernel };
    uvsim_image_plan plan = { .seed = 1, .psw_address = IMAGE_AT };

    CHECK(uvsim_image_build(machine, &plan, &component, 1, header, sizeof header));
    struct uv_set_parms parms = { .header = UV_HEADER(parms, UV_SET_PARMS), .guest_handle = vm.handle,
                                  .sec_header_origin = (uint64_t)header, .sec_header_len = sizeof header };
    CHECK(uv_call(0, (uint64_t)&parms));
    memcpy(frames[swap_in(IMAGE_AT / UV_PAGE)].memory, kernel, UV_PAGE);
    struct uv_unpack unpack = { .header = UV_HEADER(unpack, UV_UNPACK), .guest_handle = vm.handle, .gaddr = IMAGE_AT,
                                .tweak = { component.prefix, 0 } };
    CHECK(uv_call(0, (uint64_t)&unpack));
    CHECK(uv_cmd_nodata(vm.handle, UV_VERIFY));
    struct uv_cpu_set_state uvcb = { .header = UV_HEADER(uvcb, UV_CPU_SET_STATE), .cpu_handle = vm.cpu_handle,
                                     .state = UV_CPU_LOAD };
    CHECK(uv_call(0, (uint64_t)&uvcb));
}

/* The guest: fills its pages, shares one, asks the host to look at it, and reads all of them again. */
enum { FIRST = 32, PAGES = 128, BOUNCE = 20, BLOCK = 0x1e00, STEPS = 2 * PAGES + 3 };

struct program {
    int at, mistakes;
};

static int step(uvsim_cpu *cpu, struct program *p)
{
    uint64_t bounce = BOUNCE * UV_PAGE, page = (uint64_t)(FIRST + p->at % PAGES), value = page * page;
    struct uv_share uvcb = { .header = UV_HEADER(uvcb, UV_SHARE), .paddr = bounce };
    int rc;

    if (p->at < PAGES)
        return uvsim_guest_store(cpu, page * UV_PAGE, &value, sizeof value, NULL);
    if (p->at < 2 * PAGES) {
        rc = uvsim_guest_load(cpu, page * UV_PAGE, &value, sizeof value, NULL);
        p->mistakes += rc == UVSIM_OK && value != page * page;
        return rc;
    }
    if (p->at == 2 * PAGES)
        return uvsim_guest_store(cpu, bounce, "hello, host", 12, NULL);
    if (p->at == 2 * PAGES + 1) {
        rc = uvsim_guest_store(cpu, BLOCK, &uvcb, sizeof uvcb, NULL);
        return rc ? rc : uvsim_guest_uvc(cpu, 0, BLOCK, NULL);
    }
    p->at++;                              /* DIAGNOSE is over when it has left */
    return uvsim_guest_diagnose(cpu, 0x500, 0, 2, NULL);
}

static int play(uvsim_cpu *cpu, void *user)
{
    struct program *p = user;
    int rc = UVSIM_OK;

    for (; p->at < STEPS && rc == UVSIM_OK; p->at += rc == UVSIM_OK)
        rc = step(cpu, p);
    return rc;
}

static void run(struct program *p)
{
    CHECK(uvsim_set_primary(this_cpu, vm.asce));
    while (p->at < STEPS) {
        uvsim_exit exit;
        int rc = uvsim_sie(this_cpu, (uint64_t)vm.state_description, play, p, &exit);
        if (rc == UVSIM_OK)
            continue;
        if (rc != UVSIM_EXIT)
            die("SIE", rc);
        if (exit.kind == UVSIM_EXIT_INTERRUPTION)
            guest_fault((int)(exit.interruption.teid / UV_PAGE));
        else if (exit.code == 112) {
            guest_fault(0);
            guest_fault(1);
        } else if (exit.code != 104)
            die("an interception that nobody handles", exit.code);
    }
}

int main(void)
{
    struct program program = { 0 };
    char said[12];

    host_start();
    load_image();
    run(&program);
    memcpy(said, frames[frame_of(BOUNCE)].memory, sizeof said);
    CHECK(uv_cmd_nodata(vm.cpu_handle, UV_DESTROY_CPU));
    CHECK(uv_cmd_nodata(vm.handle, UV_DESTROY_CONF));
    CHECK(uvsim_cpu_stop(this_cpu));
    CHECK(uvsim_machine_destroy(machine));

    printf("a guest with %d pages in %d frames: %u imports, %u secure faults, %u exports; it says: %s\n", PAGES, FRAMES,
           imports, secure_faults, exports, said);
    if (program.mistakes || secure_faults < PAGES || strcmp(said, "hello, host") != 0) {
        printf("FAILED: the guest has lost data: %d mistakes\n", program.mistakes);
        return 1;
    }
    puts("all data of the guest have survived");
    return 0;
}
