//! The commands that a hypervisor gives to KVM, the vCPU ioctls, leaks, asynchronous teardown.

use super::{fail, pass, pass_on};

/// A guest with pages above 2 GiB.
const BIG: &str = "guest big memory=\"3GiB\" { load 0x3000 text=\"low\"; load 0x80003000 text=\"high\"; }";

#[track_caller]
fn pass_big(machine: &str, cases: &[(&str, &str)]) {
    for (sentence, statements) in cases {
        let text =
            format!("scenario s\nmachine {{ {machine} }}\n{BIG}\nstep s {{\n{statements}\ncheck invariants\n}}\n");
        let (status, _) = super::events(&text, uvsim::run::Options::default());
        assert_eq!(status.code(), 0, "{sentence}\n{}", super::told(&super::parse(&text)));
    }
}

#[test]
fn each_command_issues_its_call_and_reports_its_codes() {
    pass(&[
        (
            "enable, set-sec-parms, unpack, verify, load",
            "host pv enable gamma expect=ok rc=1 rrc=0
             host pv set-sec-parms gamma expect=ok rc=1
             check page gamma:2 state=absent frame=none
             host pv unpack gamma expect=ok rc=1
             check page gamma:2 state=resident frame=secure
             host pv verify gamma expect=ok rc=1
             check cpu gamma:0 state=stopped
             host cpu-state gamma state=load
             check cpu gamma:0 state=operating
             guest read gamma:2 text=\"gamma\"",
        ),
        ("enable is refused for a protected virtual machine", "host pv enable alpha expect=invalid"),
        (
            "all others for one that is not",
            "host pv disable gamma expect=invalid
             host pv set-sec-parms gamma expect=invalid
             host pv unpack gamma expect=invalid
             host pv verify gamma expect=invalid
             host pv prep-reset gamma expect=invalid
             host pv unshare-all gamma expect=invalid
             host pv async-cleanup-prepare gamma expect=invalid
             host pv async-cleanup-perform gamma expect=invalid",
        ),
        (
            "info works always and tells what the query says",
            "host pv info gamma save=one
             host pv info alpha save=two
             check equal one two",
        ),
        ("no dumps (D14)", "host pv dump alpha expect=invalid"),
        (
            "prep-reset and unshare-all are single calls",
            "guest share alpha:5
             host pv unshare-all alpha expect=refused
             host stop alpha
             host pv prep-reset alpha expect=refused rc=0x102
             host pv unshare-all alpha
             check page alpha:5 state=resident
             host pv prep-reset alpha",
        ),
        (
            "disable: CPUs, configuration, pages",
            "guest share alpha:5
             host pv disable alpha expect=ok rc=1
             check cpu alpha:0 state=none
             check page alpha:3 state=absent frame=non-secure
             check page alpha:5 state=absent frame=non-secure
             host read alpha:3 hex=\"0000\"
             host start alpha
             guest read alpha:3 text=\"attack\"",
        ),
        (
            "commands repeat what is busy",
            "host inject unpack-img busy=3
             host inject verify-img partial=2
             host start gamma
             host inject destroy-sec-conf partial=2
             host pv disable gamma",
        ),
    ]);
}

#[test]
fn headers_and_parts() {
    pass(&[
        (
            "set-sec-parms takes at most 8 KiB, and as many bytes as it is told",
            "host pv enable gamma
             host pv set-sec-parms gamma len=8193 expect=invalid
             host pv set-sec-parms gamma len=8192 expect=refused rc=0x10a
             host pv set-sec-parms gamma len=0 expect=refused rc=0x10a
             host pv set-sec-parms gamma",
        ),
        (
            "the copy of the header is what is handed over",
            "host create gamma
             host flip-header gamma bit=1800
             host pv set-sec-parms gamma expect=refused rc=0x10a rrc=0
             host start gamma expect=refused rc=0x10a
             host flip-header gamma bit=1800
             host write-header gamma offset=0 text=\"x\"
             host pv set-sec-parms gamma expect=refused rc=0x10a
             host write-header gamma text=\"IBMSecEx\"
             host write-header gamma offset=4000 text=\"x\" expect=invalid
             host flip-header gamma bit=60000 expect=invalid
             host start gamma
             guest read gamma:2 text=\"gamma\"",
        ),
        (
            "unpack takes whole pages",
            "host create gamma
             host pv set-sec-parms gamma
             host pv unpack gamma component=0 size=0 expect=invalid
             host pv unpack gamma component=0 size=4095 expect=invalid
             host pv unpack gamma component=0 addr=0x2001 expect=invalid
             host pv unpack gamma component=0 addr=0x100000 expect=refused rc=0x103
             host pv unpack gamma page=2
             host pv unpack gamma page=2 expect=refused rc=0x105
             host pv verify gamma",
        ),
        (
            "load-image puts what was delivered into frames, and unpack takes what lies there",
            "host create gamma
             host load-image gamma
             check page gamma:2 state=absent frame=non-secure
             host flip gamma:2 bit=0
             host pv set-sec-parms gamma
             host pv unpack gamma
             host pv verify gamma expect=refused rc=0x102 rrc=0x1b",
        ),
        (
            "another tweak, another place",
            "host create gamma
             host pv set-sec-parms gamma
             host pv unpack gamma component=0 tweak=1
             host pv verify gamma expect=refused rc=0x102 rrc=0x1c
             host pv disable gamma
             host create gamma
             host pv set-sec-parms gamma
             host pv unpack gamma component=0 addr=0x9000
             host pv verify gamma expect=refused rc=0x102 rrc=0x1a",
        ),
        (
            "annotations name header and tweaks",
            "host create gamma
             host load-image gamma page=2
             host uvc set-sec-conf-params guest-handle=(handle)gamma sec-header-origin=(header)gamma sec-header-len=(header-length)gamma
             host uvc unpack-img guest-handle=(handle)gamma gaddr=(page)gamma:2 tweak-prefix=(tweak-prefix)gamma:2 tweak-offset=(tweak-offset)gamma:2
             host uvc verify-img handle=(handle)gamma
             host cpu-state gamma state=load
             guest read gamma:2 text=\"gamma\"",
        ),
    ]);
}

#[test]
fn vcpus() {
    pass(&[
        (
            "a vCPU that is made while the machine is protected is stopped",
            "host create-cpu alpha:1
             check cpu alpha:1 state=stopped
             host create-cpu alpha:1 expect=invalid
             host create-cpu alpha expect=invalid
             host cpu-state alpha:1 state=operating
             guest read alpha:3 cpu=1 text=\"attack\"",
        ),
        (
            "made before, it is part of the next create",
            "host create-cpu gamma:4
             check cpu gamma:4 state=none
             host start gamma
             check cpu gamma:4 state=stopped
             host uvc cpu-set-state cpu-handle=(cpu)gamma:4 state=1
             guest read gamma:2 cpu=4 text=\"gamma\"",
        ),
        (
            "teardown and stop reach it as well",
            "host create-cpu alpha:9
             host cpu-state alpha:9 state=operating
             host stop alpha
             check cpu alpha:9 state=stopped
             host start alpha
             check cpu alpha:9 state=operating
             host teardown alpha
             check cpu alpha:9 state=none",
        ),
        (
            "states; KVM knows no check-stop",
            "host cpu-state alpha state=stopped
             check cpu alpha state=stopped
             host cpu-state alpha state=operating
             host cpu-state alpha state=check-stop expect=invalid
             host cpu-state alpha state=load expect=refused rc=0x103
             host cpu-state alpha:7 state=operating expect=invalid",
        ),
        (
            "without protection there is nothing to call, and nothing to load",
            "host cpu-state gamma state=operating
             host cpu-state gamma state=load expect=invalid
             host cpu-reset gamma kind=clear",
        ),
        (
            "resets of a stopped CPU; general registers survive the initial one",
            "guest diagnose alpha 0x500 r1=1 r2=2 r3=3 r4=4 expect=intercept code=104
             host cpu-reset alpha kind=normal expect=refused rc=0x103
             host stop alpha
             host cpu-reset alpha kind=normal
             host cpu-reset alpha kind=initial
             check cpu alpha r1=1 r4=4 prefix=0 psw-mask=0
             host cpu-reset alpha kind=clear
             check cpu alpha r1=0 r4=0
             host cpu-reset alpha:3 kind=clear expect=invalid",
        ),
    ]);
    fail(&[
        ("check cpu compares", "check cpu alpha state=stopped", "operating"),
        ("each register", "check cpu alpha r5=3", "general register 5"),
        ("check leaks compares", "check leaks alpha frames=1", "leaked frames"),
    ]);
}

#[test]
fn leaks() {
    pass_on(
        "without destroy-sec-conf",
        &[(
            "a configuration that cannot be destroyed leaks with its control area and its top table",
            "host pv disable alpha expect=refused rc=0x2
             check leaks alpha configurations=1 cpus=0 frames=42
             host start alpha
             guest read alpha:3 text=\"attack\"
             host inject create-sec-conf late-failure=#true
             host pv enable gamma expect=refused rc=0x810f
             check leaks gamma configurations=1 frames=42
             host reset-machine
             check leaks alpha configurations=0 frames=0
             host start alpha",
        )],
    );
    pass_on(
        "without destroy-sec-cpu",
        &[(
            "all CPUs are tried, the first refusal is told, the configuration is not tried",
            "host pv disable beta expect=refused rc=0x2
             check leaks beta configurations=0 cpus=2 frames=2
             check page beta:3 state=resident frame=secure
             host pv disable beta expect=refused rc=0x105
             check leaks beta configurations=1",
        )],
    );
    pass(&[(
        "teardown stops at a refusal and leaks nothing",
        "host uvc create-sec-cpu guest-handle=(handle)alpha stor-origin=0x3ff00000 num=7 state-origin=0x3ff01000 save=made
         host teardown alpha expect=refused rc=0x105
         check leaks alpha configurations=0 frames=0
         host teardown alpha expect=refused rc=0x105",
    )]);
}

#[test]
fn asynchronous_teardown() {
    const CASES: &[(&str, &str)] = &[
        (
            "prepare reports 1 and 42 and cleans below 2 GiB (D83, D84)",
            "host pv async-cleanup-prepare big expect=ok rc=1 rrc=42
             check cpu big state=none
             check page big:3 frame=non-secure
             check page big:524291 frame=secure
             guest read big:3 len=1 expect=intercept code=32
             host pv async-cleanup-perform big
             check page big:524291 frame=non-secure
             host pv async-cleanup-perform big expect=invalid",
        ),
        (
            "only one at a time",
            "host pv async-cleanup-prepare big
             host start big
             host pv async-cleanup-prepare big expect=invalid
             check cpu big state=none
             host pv disable big
             host pv async-cleanup-perform big expect=invalid
             check leaks big frames=0",
        ),
        (
            "perform goes on where it stopped, with a new life over the same frames",
            "guest write big:600000 text=\"a\"
             guest write big:600001 text=\"b\"
             host pv async-cleanup-prepare big
             host start big
             host pv async-cleanup-perform big pages=5 expect=partial
             guest read big:524291 text=\"high\"
             check page big:600000 frame=non-secure
             check page big:600001 frame=secure
             host pv async-cleanup-perform big
             check page big:600001 frame=non-secure
             guest read big:3 text=\"low\"",
        ),
        (
            "a signal ends it, and disable does the rest",
            "guest write big:600000 text=\"a\"
             host pv async-cleanup-prepare big
             host pv async-cleanup-perform big pages=0 signal=#true expect=ok rc=1 rrc=42
             host pv async-cleanup-perform big expect=invalid
             check page big:600000 frame=secure
             host start big
             host pv disable big
             check page big:600000 frame=non-secure",
        ),
        (
            "a leftover under the next life is a violation, answered by destroying it",
            "guest write big:600000 text=\"secret\"
             host pv async-cleanup-prepare big
             host start big
             host import big:600000 expect=refused rc=0x104
             host faults stop
             guest read big:600000 len=1 expect=secure-storage-violation
             host faults linux
             guest read big:600000 hex=\"000000000000\"",
        ),
        (
            "shared leftovers as well",
            "guest share big:600000
             host pv async-cleanup-prepare big
             host start big
             guest write big:600000 text=\"mine\"
             guest read big:600000 text=\"mine\"
             host pv async-cleanup-perform big
             guest read big:600000 text=\"mine\"",
        ),
        (
            "teardown disposes of what is set aside",
            "host pv async-cleanup-prepare big
             host start big
             host teardown big
             check page big:524291 frame=non-secure
             host pv async-cleanup-perform big expect=invalid",
        ),
        (
            "a machine reset ends it",
            "host pv async-cleanup-prepare big
             host reset-machine
             host pv async-cleanup-perform big expect=invalid
             repeat 3 { host reset-machine; host start big; host pv async-cleanup-prepare big; }
             host reset-machine
             host start big
             guest read big:3 text=\"low\"",
        ),
        (
            "many lives in one address space",
            "repeat 5 {
                 host pv async-cleanup-prepare big
                 host start big
                 host pv async-cleanup-perform big
             }
             guest read big:524291 text=\"high\"
             check leaks big configurations=0 frames=0",
        ),
    ];
    for machine in
        ["generation z15", "generation z16", "generation z17", "without destroy-sec-conf-fast", "feature misc=#false"]
    {
        pass_big(machine, CASES);
    }
    pass(&[(
        "guests of at most 2 GiB are refused, their CPUs are gone even so",
        "host pv async-cleanup-prepare alpha expect=invalid
         check cpu alpha state=none
         check page alpha:3 state=resident
         host pv disable alpha
         host start alpha",
    )]);
}
