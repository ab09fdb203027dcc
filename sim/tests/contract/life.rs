//! Life cycle of guests and machine.

use super::{pass, pass_on};

#[test]
fn create_and_start() {
    pass(&[
        (
            "a guest of state none has no configuration",
            "check page gamma:2 state=absent frame=none
             guest read gamma:2 len=1 expect=intercept code=32
             guest write gamma:2 text=\"x\" expect=intercept code=32
             guest share gamma:2 expect=intercept code=32
             host read gamma:2 hex=\"00\"
             host import gamma:2 expect=refused rc=0x20
             host stop gamma expect=refused rc=0x21
             host unshare-all gamma expect=refused rc=0x20
             host teardown gamma expect=refused rc=0x20",
        ),
        (
            "start creates it first, then boots it",
            "host start gamma
             check page gamma:0..2 state=resident frame=secure
             check page gamma:3 state=absent frame=none
             guest read gamma:2 text=\"gamma\"",
        ),
        (
            "create alone does not run it",
            "host create gamma
             guest read gamma:2 len=1 expect=intercept code=32
             host start gamma
             guest read gamma:2 text=\"gamma\"",
        ),
        (
            "a second create is refused and undone",
            "host create alpha expect=refused rc=0x104
             guest read alpha:3 text=\"attack at dawn\"
             host create gamma",
        ),
        (
            "a late failure destroys what was made (D17)",
            "host inject create-sec-conf late-failure=#true
             host create gamma expect=refused rc=0x810f
             host uvc destroy-sec-conf handle=(handle)gamma expect=refused rc=0x20
             host start gamma
             guest read gamma:2 text=\"gamma\"",
        ),
        (
            "vCPU 0 alone runs",
            "guest read beta:3 cpu=0 text=\"beta\"
             guest read beta:3 cpu=1 len=1 expect=intercept code=32
             guest read beta:3 cpu=2 len=1 expect=intercept code=32
             host uvc cpu-set-state cpu-handle=(cpu)beta:1 state=1
             guest read beta:3 cpu=1 text=\"beta\"",
        ),
        (
            "any host CPU may do it",
            "host create gamma cpu=1
             host start gamma cpu=1
             guest read gamma:2 text=\"gamma\"
             host stop gamma cpu=1
             host unshare-all gamma cpu=1
             host teardown gamma cpu=1
             host read gamma:2 hex=\"0000\" cpu=1",
        ),
    ]);
    pass_on("cpus 1", &[("one CPU", "guest read alpha:3 text=\"attack\"\nhost start gamma")]);
}

#[test]
fn create_undoes_its_part() {
    let text = "scenario s\nmachine { without create-sec-cpu }\nguest gamma memory=\"1MiB\" state=none\nstep s {
        host create gamma expect=refused rc=0x2
        host uvc destroy-sec-conf handle=(handle)gamma expect=refused rc=0x20
        repeat 5 { host create gamma expect=refused rc=0x2; }
        check invariants\n}";
    let (status, events) = super::events(text, uvsim::run::Options::default());
    assert_eq!(status.code(), 0, "{events:?}");
}

#[test]
fn stop_and_start_again() {
    pass(&[
        (
            "stop stops every vCPU, start those that ran",
            "host uvc cpu-set-state cpu-handle=(cpu)beta:1 state=1
             host stop beta
             guest read beta:3 len=1 expect=intercept code=32
             guest read beta:3 cpu=1 len=1 expect=intercept code=32
             host start beta
             guest read beta:3 text=\"beta\"
             guest read beta:3 cpu=1 text=\"beta\"",
        ),
        (
            "one that never ran stays stopped",
            "host stop beta
             host start beta
             guest read beta:3 cpu=1 len=1 expect=intercept code=32",
        ),
        (
            "unshare-all takes shares and pins back (D25)",
            "guest share alpha:5..6
             host pin alpha:6
             host stop alpha
             host unshare-all alpha
             check page alpha:5..6 state=resident frame=secure
             host read alpha:5..6 expect=secure-storage-access",
        ),
    ]);
}

#[test]
fn teardown() {
    const CASES: &[(&str, &str)] = &[
        (
            "frames are clean, mappings stay, the guest is gone",
            "guest share alpha:5
             host export alpha:2..2 expect=unmapped
             host teardown alpha
             check page alpha:3 state=absent counter=0 frame=non-secure
             check page alpha:5 state=absent frame=non-secure
             host read alpha:3 hex=\"00000000000000000000000000000000\"
             guest read alpha:3 len=1 expect=intercept code=32
             host import alpha:3 expect=refused rc=0x20
             host uvc destroy-sec-conf handle=(handle)alpha expect=refused rc=0x20
             host teardown alpha expect=refused rc=0x20",
        ),
        (
            "it can be started again (D78)",
            "host teardown alpha
             host start alpha
             guest read alpha:3 text=\"attack at dawn\"
             check page alpha:3 counter=0",
        ),
        (
            "it goes on where raw calls have begun",
            "host uvc destroy-sec-cpu handle=(cpu)beta:1
             host teardown beta
             host start beta
             guest read beta:3 text=\"beta\"
             host uvc destroy-sec-cpu handle=(cpu)beta:0
             host uvc destroy-sec-cpu handle=(cpu)beta:1
             host uvc destroy-sec-conf handle=(handle)beta
             host start beta
             guest read beta:3 text=\"beta\"",
        ),
        (
            "storage comes back: many lives of one guest",
            "repeat 30 {
                 host teardown beta
                 host start beta
             }
             guest read beta:3 text=\"beta\"",
        ),
    ];
    for generation in ["z15", "z16", "z17"] {
        pass_on(&format!("generation {generation}"), CASES);
    }
}

#[test]
fn fast_teardown() {
    for generation in ["z16", "z17"] {
        pass_on(
            &format!("generation {generation}"),
            &[(
                "the pages are left to the steps",
                "guest share alpha:5
                 host write alpha:5 text=\"open\"
                 host teardown alpha fast=#true
                 host uvc destroy-sec-conf handle=(handle)alpha expect=refused rc=0x20
                 host read alpha:3 len=1 expect=secure-storage-access
                 check page alpha:3 state=absent frame=secure
                 host read alpha:5 text=\"open\"
                 host destroy alpha:3
                 host read alpha:3 hex=\"0000\"",
            )],
        );
    }
    const LEFT: &[(&str, &str)] = &[(
        "without the call, the configuration is left as well (D83)",
        "host teardown alpha fast=#true
         check page alpha:3 state=resident frame=secure
         guest read alpha:3 len=1 expect=intercept code=32
         host destroy alpha:3
         check page alpha:3 state=destroyed
         host teardown alpha
         check page alpha:3 state=absent",
    )];
    pass_on("generation z15", LEFT);
    pass_on("without destroy-sec-conf-fast", LEFT);
}

#[test]
fn old_answers() {
    pass_on(
        "generation z15",
        &[(
            "destroy of a clean frame (D10)",
            "host read alpha:20 len=1\nhost destroy alpha:20 expect=refused rc=0x107 rrc=0xd",
        )],
    );
    pass_on("generation z16", &[("no more", "host read alpha:20 len=1\nhost destroy alpha:20")]);
}

#[test]
fn destroyed_pages() {
    pass(&[(
        "a started guest's page is not destroyed (D26, D67)",
        "host destroy alpha:3 expect=refused rc=0x104
             guest read alpha:3 text=\"attack at dawn\"
             host uvc destroy-sec-cpu handle=(cpu)alpha:0
             host destroy alpha:3
             check page alpha:3 state=destroyed
             host read alpha:3 hex=\"0000\"
             host import alpha:3 expect=refused rc=0x106",
    )]);
}

#[test]
fn reset_machine() {
    const CASES: &[(&str, &str)] = &[
        (
            "guests fall back, secure frames read zero, shared ones keep their bytes (T43, D29)",
            "guest share alpha:5
             host write alpha:5 text=\"kept\"
             guest write alpha:6 text=\"secret\"
             host reset-machine
             host read alpha:3 hex=\"00000000\"
             host read alpha:6 hex=\"00000000\"
             host read alpha:5 text=\"kept\"
             check page alpha:3 state=absent counter=0 frame=non-secure
             guest read alpha:3 len=1 expect=intercept code=32",
        ),
        (
            "the Ultravisor is not initialised, handles are gone",
            "host reset-machine
             host import alpha:3 expect=refused rc=0x3
             host uvc init-uv expect=refused
             host start alpha
             guest read alpha:3 text=\"attack at dawn\"
             host start beta
             guest read beta:3 text=\"beta\"",
        ),
        (
            "the swap store is empty",
            "host page-out alpha:3
             host reset-machine
             host read alpha:3 hex=\"00000000000000000000000000000000\"",
        ),
        (
            "injections are gone, any CPU may reset and create",
            "host reset-machine cpu=1
             host create gamma cpu=1
             host reset-machine cpu=1
             host create gamma
             host reset-machine
             host reset-machine
             host start gamma cpu=1
             guest read gamma:2 text=\"gamma\"",
        ),
        (
            "storage comes back",
            "repeat 20 {
                 host reset-machine
                 host start alpha
                 host start beta
             }
             guest read alpha:3 text=\"attack\"",
        ),
    ];
    for generation in ["z15", "z16", "z17"] {
        pass_on(&format!("generation {generation}"), CASES);
    }
}
