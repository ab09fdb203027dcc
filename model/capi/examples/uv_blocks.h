/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Control blocks of Ultravisor calls as C structs: the layouts of Linux arch/s390/include/asm/uv.h, see the
 * command reference of the book. Numbers are big-endian in storage unless the machine was made with
 * `byte-order native`: then define UV_NATIVE before this header, and structs are used as they are.
 */
#ifndef UV_BLOCKS_H
#define UV_BLOCKS_H

#include <stdint.h>

#define UV_PAGE 4096u

enum uv_command {
    UV_QUI = 0x0001,
    UV_INIT = 0x000f,
    UV_CREATE_CONF = 0x0100,
    UV_DESTROY_CONF = 0x0101,
    UV_DESTROY_CONF_FAST = 0x0102,
    UV_CREATE_CPU = 0x0120,
    UV_DESTROY_CPU = 0x0121,
    UV_CONV_TO_SEC = 0x0200,
    UV_CONV_FROM_SEC = 0x0201,
    UV_DESTROY_PAGE = 0x0202,
    UV_SET_PARMS = 0x0300,
    UV_UNPACK = 0x0301,
    UV_VERIFY = 0x0302,
    UV_CPU_SET_STATE = 0x0330,
    UV_PIN_SHARED = 0x0341,
    UV_UNPIN_SHARED = 0x0342,
    UV_SHARE = 0x1000,
    UV_UNSHARE = 0x1001,
};

enum { UV_RC_EXECUTED = 0x0001, UV_RC_MORE_DATA = 0x0100 };
enum { UV_CPU_OPERATING = 1, UV_CPU_STOPPED = 2, UV_CPU_LOAD = 5 };

struct uv_header {
    uint16_t len, cmd, rc, rrc;
};

struct uv_qui {
    struct uv_header header;
    uint64_t reserved08, inst_calls_list[4], reserved30[2];
    uint64_t uv_base_stor_len, reserved48;
    uint64_t conf_base_phys_stor_len, conf_base_virt_stor_len, conf_virt_var_stor_len, cpu_stor_len;
    uint32_t reserved70[3], max_num_sec_conf;
    uint64_t max_guest_stor_addr;
    uint8_t reserved88[22];
    uint16_t max_guest_cpu_id;
    uint64_t uv_feature_indications, reserveda8[15];
};

struct uv_init {
    struct uv_header header;
    uint64_t reserved08[2], stor_origin, stor_len, reserved28[4];
};

struct uv_create_conf {
    struct uv_header header;
    uint64_t reserved08[2], guest_handle, conf_base_stor_origin, conf_virt_stor_origin, reserved30;
    uint64_t guest_stor_origin, guest_stor_len, guest_sca, guest_asce, reserved58[5];
};

struct uv_create_cpu {
    struct uv_header header;
    uint64_t reserved08[2], cpu_handle, guest_handle, stor_origin;
    uint8_t reserved30[6];
    uint16_t num;
    uint64_t state_origin, reserved40[4];
};

/* CONV_TO_SEC_STOR, UNPIN_PAGE_SHARED: a page of a guest. */
struct uv_page {
    struct uv_header header;
    uint64_t reserved08[2], guest_handle, gaddr;
};

/* CONV_FROM_SEC_STOR, DESTR_SEC_STOR, PIN_PAGE_SHARED: a frame. */
struct uv_frame {
    struct uv_header header;
    uint64_t reserved08[2], paddr;
};

struct uv_set_parms {
    struct uv_header header;
    uint64_t reserved08[2], guest_handle, sec_header_origin;
    uint32_t sec_header_len, reserved2c;
    uint64_t reserved30[4];
};

struct uv_unpack {
    struct uv_header header;
    uint64_t reserved08[2], guest_handle, gaddr, tweak[2], reserved38[3];
};

struct uv_cpu_set_state {
    struct uv_header header;
    uint64_t reserved08[2], cpu_handle;
    uint8_t reserved20[7], state;
    uint64_t reserved28[5];
};

/* DESTROY_SEC_CONF_FAST. */
struct uv_destroy_fast {
    struct uv_header header;
    uint64_t reserved08[2], handle, reserved20[5];
};

/* A handle and nothing else: VERIFY_IMG, DESTROY_SEC_CPU, DESTROY_SEC_CONF. */
struct uv_handle {
    struct uv_header header;
    uint64_t reserved08[2], handle, reserved20[4];
};

/* SET_SHARED_ACCESS, REMOVE_SHARED_ACCESS, issued by a guest. */
struct uv_share {
    struct uv_header header;
    uint64_t reserved08[3], paddr, reserved28;
};

_Static_assert(sizeof(struct uv_qui) == 0x120, "QUI");
_Static_assert(sizeof(struct uv_init) == 0x48, "INIT_UV");
_Static_assert(sizeof(struct uv_create_conf) == 0x80, "CREATE_SEC_CONF");
_Static_assert(sizeof(struct uv_create_cpu) == 0x60, "CREATE_SEC_CPU");
_Static_assert(sizeof(struct uv_page) == 0x28, "CONV_TO_SEC_STOR");
_Static_assert(sizeof(struct uv_frame) == 0x20, "CONV_FROM_SEC_STOR");
_Static_assert(sizeof(struct uv_set_parms) == 0x50, "SET_SEC_CONF_PARAMS");
_Static_assert(sizeof(struct uv_unpack) == 0x50, "UNPACK_IMG");
_Static_assert(sizeof(struct uv_cpu_set_state) == 0x50, "CPU_SET_STATE");
_Static_assert(sizeof(struct uv_handle) == 0x40, "a handle");
_Static_assert(sizeof(struct uv_destroy_fast) == 0x48, "DESTROY_SEC_CONF_FAST");
_Static_assert(sizeof(struct uv_share) == 0x30, "SET_SHARED_ACCESS");

/* Between a number here and the same number in storage; each is its own inverse. */
static inline int uv_swaps(void)
{
#if defined UV_NATIVE || __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return 0;
#else
    return 1;
#endif
}

static inline uint16_t uv16(uint16_t value) { return uv_swaps() ? __builtin_bswap16(value) : value; }
static inline uint32_t uv32(uint32_t value) { return uv_swaps() ? __builtin_bswap32(value) : value; }
static inline uint64_t uv64(uint64_t value) { return uv_swaps() ? __builtin_bswap64(value) : value; }

/* The header of a block of this type. */
#define UV_HEADER(type, command) { .len = uv16(sizeof(type)), .cmd = uv16(command) }

#endif
