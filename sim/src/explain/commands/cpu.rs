//! CPUs of a configuration, their states and the reset protocol.

use super::{Check, Command, Facts};

const KUT: &str = "kvm-unit-tests s390x/uv-host";
const PV_IPL: &str = "kvm-unit-tests s390x/pv-ipl and Linux arch/s390/kvm";

pub(super) static CREATE_SEC_CPU: Facts = Facts {
    command: Command::CreateSecCpu,
    aliases: &["create-cpu"],
    meaning: "Makes a CPU of a configuration from donated storage and names its SIE state description. The CPU starts \
        stopped. Allowed at any time in the life of the configuration, also after the image is loaded.",
    checks: &[
        Check::public(0x0103, "the CPU number is above max-guest-cpu-id", "D12", KUT),
        Check::public(0x0104, "a CPU of this number exists", "D12", KUT),
        Check::public(0x0106, "the CPU storage lies in the lowcore (so address 0 gives this)", "D12", KUT),
        Check::public(
            0x0105,
            "the CPU storage lies beyond storage, is not aligned, or is not ordinary host storage",
            "D12 D37 T77",
            KUT,
        ),
        Check::ours(0x0105, "the control block lies in the CPU storage", "D5"),
        Check::public(
            0x0107,
            "the state description is beyond storage, in a secure frame, not aligned to 512, or crosses a frame",
            "D12 Q26",
            KUT,
        ),
    ],
    answer: "KVM frees the storage and fails the vCPU; while it makes a VM secure it destroys what it had created.",
    rules: "T76 T77 I-30 Q26 D5 D12 D20",
    source: "kvm-unit-tests s390x/uv-host and Linux arch/s390/kvm/pv.c",
};

pub(super) static DESTROY_SEC_CPU: Facts = Facts {
    command: Command::DestroySecCpu,
    aliases: &["destroy-cpu", "teardown"],
    meaning: "Ends a CPU; its donated storage returns to the host filled with zeros.",
    checks: &[
        Check::ours(0x0103, "the CPU is in SIE", "D13").then("Wait until it has left SIE, then issue the call again.")
    ],
    answer: "Linux leaks the CPU's storage, since the Ultravisor may still use it, and keeps the configuration.",
    rules: "T42 Q28 D13 D15",
    source: "kvm-unit-tests s390x/uv-host and Linux arch/s390/kvm/pv.c",
};

const RUNNING: &[Check] =
    &[Check::ours(0x0103, "the CPU is not stopped", "Q14 D13").then("Stop it with CPU_SET_STATE 2 first.")];
const RESET_ANSWER: &str =
    "Linux only warns. Keep the order of the reset protocol: stop, unshare all, prepare, reset, load.";

pub(super) static CPU_RESET: Facts = Facts {
    command: Command::CpuReset,
    aliases: &["reset-normal"],
    meaning: "The architecture's CPU reset on the registers that the Ultravisor keeps. The CPU stays stopped.",
    checks: RUNNING,
    answer: RESET_ANSWER,
    rules: "I-36 Q14 D13 D79",
    source: PV_IPL,
};

pub(super) static CPU_RESET_INITIAL: Facts = Facts {
    command: Command::CpuResetInitial,
    aliases: &["reset-initial"],
    meaning: "The architecture's initial CPU reset on the registers that the Ultravisor keeps. The CPU stays stopped.",
    checks: RUNNING,
    answer: RESET_ANSWER,
    rules: "I-36 Q14 D13 D79",
    source: PV_IPL,
};

pub(super) static CPU_RESET_CLEAR: Facts = Facts {
    command: Command::CpuResetClear,
    aliases: &["reset-clear"],
    meaning: "The architecture's clear reset of a CPU: its registers become zero. Guest storage keeps its contents. \
        The CPU \
        stays stopped.",
    checks: RUNNING,
    answer: RESET_ANSWER,
    rules: "I-36 Q14 D13 D43 D79",
    source: PV_IPL,
};

pub(super) static PREPARE_RESET: Facts = Facts {
    command: Command::PrepareReset,
    aliases: &["prep-reset"],
    meaning: "Makes a configuration ready for CPU resets and a new start. Memory and its integrity rows stay.",
    checks: &[
        Check::ours(0x0101, "a CPU of the configuration is not stopped", "Q15")
            .then("Stop all CPUs with CPU_SET_STATE 2 first."),
        Check::ours(0x0102, "no SET_UNSHARED_ALL since the CPUs were stopped", "D13")
            .then("Issue SET_UNSHARED_ALL first."),
    ],
    answer: "The guest cannot be restarted; keep the order of the reset protocol.",
    rules: "I-36 Q15 D13 D43 D79",
    source: PV_IPL,
};

pub(super) static CPU_SET_STATE: Facts = Facts {
    command: Command::CpuSetState,
    aliases: &["set-state"],
    meaning: "Sets the state of a CPU: 1 operating, 2 stopped, 3 check-stop, 5 operating with a new PSW. State 5 after \
        VERIFY_IMG loads the PSW of the image header, after a reset the short PSW at guest absolute 0.",
    checks: &[
        Check::ours(0x0102, "the value is none of 1, 2, 3 and 5", "Q14"),
        Check::ours(0x0103, "state 5 for a CPU that is not stopped", "D13").then("Stop it with CPU_SET_STATE 2 first."),
        Check::ours(0x0104, "state 5 before VERIFY_IMG, or before the CPU reset of a pending reset", "D13 I-34 I-36")
            .then("Verify the image, or finish the reset protocol, first."),
    ],
    answer: "KVM only warns; a CPU that does not operate gives a validity interception when it is dispatched.",
    rules: "I-34 I-36 Q14 D13 D79 D80",
    source: "Linux arch/s390/include/asm/uv.h and kvm-unit-tests s390x/pv-ipl",
};
