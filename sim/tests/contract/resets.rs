//! What guests ask their hypervisor for: resets, secure starts, a new prefix.

use super::{fail, pass};

#[test]
fn resets() {
    pass(&[
        (
            "diagnose 0x308 subcode 1 makes a reset pending for the whole configuration (D79)",
            "host cpu-state beta:1 state=operating
             guest diagnose beta 0x308 subcode=1 expect=intercept code=108
             check cpu beta:1 reset-pending=#true
             guest read beta:3 cpu=1 len=1 expect=intercept code=32
             host reset beta
             guest read beta:3 text=\"beta\"
             check cpu beta:0 state=operating reset-pending=#false
             check cpu beta:1 state=stopped",
        ),
        (
            "the CPU that asked is loaded, whichever it is",
            "host cpu-state beta:1 state=operating
             guest diagnose beta 0x308 subcode=0 cpu=1 expect=intercept code=108
             host reset beta
             check cpu beta:1 state=operating
             check cpu beta:0 state=stopped
             guest read beta:3 cpu=1 text=\"beta\"",
        ),
        (
            "subcode 0 clears registers, subcode 1 keeps general ones; memory stays (D43)",
            "guest write alpha:6 text=\"kept\"
             guest diagnose alpha 0x308 subcode=1 r4=9 expect=intercept code=108
             host reset alpha
             check cpu alpha r4=9
             guest diagnose alpha 0x308 subcode=0 r4=9 expect=intercept code=108
             host reset alpha
             check cpu alpha r4=0
             guest read alpha:6 text=\"kept\"",
        ),
        (
            "sharing ends",
            "guest share alpha:5
             guest diagnose alpha 0x308 subcode=1 expect=intercept code=108
             host reset alpha
             check page alpha:5 state=resident frame=secure",
        ),
        (
            "without a request, or with subcode 3, the configuration ends",
            "host reset alpha
             check cpu alpha state=none
             guest diagnose beta 0x308 subcode=3 expect=intercept code=108
             host reset beta
             check cpu beta state=none
             check page beta:3 state=absent frame=non-secure
             host reset beta",
        ),
        (
            "subcodes that a protected guest must not use, and undefined ones",
            "guest diagnose alpha 0x308 subcode=4 expect=specification
             guest diagnose alpha 0x308 subcode=10 expect=specification
             guest diagnose alpha 0x308 subcode=99 expect=specification
             guest diagnose alpha 0x123 expect=specification
             guest read alpha:3 text=\"attack\"",
        ),
        (
            "other functions",
            "guest diagnose alpha 0x44 expect=intercept code=108
             guest diagnose alpha 0x500 r1=1 expect=intercept code=104
             guest read alpha:3 text=\"attack\"",
        ),
    ]);
}

#[test]
fn prefixes() {
    pass(&[
        (
            "the kernel learns the prefix and imports the pages of it",
            "check page alpha:8..9 state=absent frame=none
             guest set-prefix alpha 0x8000
             check cpu alpha prefix=0x8000
             guest read alpha:3 text=\"attack\"
             check page alpha:8..9 state=resident frame=secure
             host page-out alpha:9
             guest read alpha:3 text=\"attack\"
             check page alpha:9 state=resident",
        ),
        (
            "under stop the exit is the outcome, and the kernel has learned all the same",
            "host faults stop
             guest set-prefix alpha 0x8000 expect=intercept code=108
             guest read alpha:3 len=1 expect=intercept code=112
             host read alpha:8..9 hex=\"00\"
             host import alpha:8..9
             guest read alpha:3 text=\"attack\"",
        ),
        ("a prefix outside is the guest's own mistake", "guest set-prefix alpha 0x100000 expect=addressing"),
        (
            "a raw initial reset is noticed",
            "guest set-prefix alpha 0x8000
             host page-out alpha:0
             host stop alpha
             host uvc cpu-reset-initial handle=(cpu)alpha:0
             host start alpha
             guest read alpha:3 text=\"attack\"
             check page alpha:0 state=resident",
        ),
    ]);
}

#[test]
fn secure_starts() {
    pass(&[
        (
            "set, store, start",
            "guest diagnose gamma 0x308 subcode=9 addr=0x9000 expect=refused rc=0x102 register=0x102
             guest diagnose gamma 0x308 subcode=10 expect=refused rc=0x902 register=0x902
             host load-image gamma block=0x80000
             guest diagnose gamma 0x308 subcode=8 addr=0x80000 expect=ok rc=1 register=1
             guest diagnose gamma 0x308 subcode=9 addr=0x9000 expect=ok rc=1
             host read gamma:9 len=160 save=stored
             host read gamma:128 len=160 save=set
             check equal stored set
             guest diagnose gamma 0x308 subcode=10
             guest read gamma:2 text=\"gamma\"",
        ),
        (
            "a failed command is told in a register, and the machine is a plain one",
            "host load-image gamma block=0x80000 header=0x90000
             guest diagnose gamma 0x308 subcode=8 addr=0x80000
             host flip gamma:144 bit=8
             guest diagnose gamma 0x308 subcode=10 expect=refused rc=0xa02 register=0x00020000010a0a02
             host pv disable gamma expect=invalid
             host flip gamma:144 bit=8
             host inject create-sec-conf late-failure=#true
             guest diagnose gamma 0x308 subcode=10 expect=refused rc=0xa02 register=0x00000000810f0a02
             guest diagnose gamma 0x308 subcode=10
             guest read gamma:2 text=\"gamma\"",
        ),
        (
            "operands",
            "guest diagnose gamma 0x308 subcode=8 addr=0x8 expect=specification
             guest diagnose gamma 0x308 subcode=8 addr=0x100000 expect=addressing
             guest diagnose gamma 0x308 subcode=8 addr=0x1000 expect=refused rc=0x402
             guest diagnose gamma 0x308 subcode=7 expect=specification
             host load-image gamma block=0xff000 header=0xfff00 expect=addressing",
        ),
    ]);
    fail(&[
        ("the register is compared", "guest diagnose gamma 0x308 subcode=10 expect=refused register=1", "register"),
        ("there may be none", "guest diagnose alpha 0x44 expect=intercept register=1", "none"),
    ]);
}
