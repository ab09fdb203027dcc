/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The shortest program that does something: asks the Ultravisor of a machine what it can do. */
#include <stdio.h>
#include <uvsim.h>

int main(void)
{
    static const uint8_t qui[] = { 0x01, 0x20, 0x00, 0x01 };
    uint8_t rc[2] = { 0 };
    uvsim_machine *machine;
    uvsim_cpu *cpu;

    if (uvsim_version_number() / 1000000 != UVSIM_VERSION_MAJOR) {
        printf("library %s, header %d.%d\n", uvsim_version(), UVSIM_VERSION_MAJOR, UVSIM_VERSION_MINOR);
        return 1;
    }
    if (uvsim_machine_create("cpus 1", 0, &machine) || uvsim_cpu_start(machine, 0, &cpu)) {
        puts(uvsim_last_error());
        return 1;
    }
    if (uvsim_store(cpu, 0x10000, qui, sizeof qui, NULL) || uvsim_uvc(cpu, 0, 0x10000, NULL) != 0 ||
        uvsim_load(cpu, 0x10004, rc, sizeof rc, NULL) || rc[1] != 1) {
        puts("QUI has failed");
        return 1;
    }
    return uvsim_cpu_stop(cpu) || uvsim_machine_destroy(machine);
}
