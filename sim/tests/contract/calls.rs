//! Raw calls and injected answers.

use super::{pass, pass_on};

#[test]
fn injected_answers() {
    pass(&[
        (
            "uvc shows busy and partial, N times",
            "host inject conv-from-sec-stor busy=2
             host uvc conv-from-sec-stor paddr=(frame)alpha:3 expect=busy
             host uvc conv-from-sec-stor paddr=(frame)alpha:3 expect=busy
             check page alpha:3 state=resident
             host uvc conv-from-sec-stor paddr=(frame)alpha:3
             host inject conv-to-sec-stor partial=1
             host uvc conv-to-sec-stor guest-handle=(handle)alpha gaddr=(page)alpha:3 expect=partial
             check page alpha:3 state=exported
             host uvc conv-to-sec-stor guest-handle=(handle)alpha gaddr=(page)alpha:3
             check page alpha:3 state=resident",
        ),
        (
            "other verbs repeat the call",
            "host inject conv-from-sec-stor busy=3
             host inject conv-to-sec-stor partial=3
             host export alpha:3
             guest read alpha:3 text=\"attack\"
             host inject set-shared-access busy=5
             guest share alpha:5
             check page alpha:5 state=shared",
        ),
        (
            "guest calls too",
            "host inject set-shared-access busy=1
             guest uvc alpha set-shared-access paddr=(page)alpha:5 expect=busy
             guest uvc alpha set-shared-access paddr=(page)alpha:5
             check page alpha:5 state=shared",
        ),
    ]);
}

#[test]
fn blocks() {
    pass(&[
        (
            "the answer is saved with the block",
            "host uvc qui save=block
             host write alpha:20 from=block
             host read alpha:20 offset=2 hex=\"0001 0001 0000\"",
        ),
        (
            "bytes= fills the block from offset 8 on, the length is that of the header",
            "host uvc 0x7fff len=0x20 bytes=\"aabb\" expect=refused rc=0x2 save=block
             host write alpha:20 from=block
             host read alpha:20 hex=\"0020 7fff 0002 0000 aabb 0000\"",
        ),
        (
            "fields lie over bytes",
            "host uvc conv-from-sec-stor bytes=\"ff00000000000000ffffffffffffffff00000000ffffffff\" paddr=(frame)alpha:3 save=block
             host write alpha:20 from=block
             host read alpha:20 offset=8 hex=\"ff00000000000000\"
             check page alpha:3 state=exported",
        ),
        ("len= overrides the length", "host uvc conv-from-sec-stor len=0x18 expect=refused rc=0x5"),
        ("a length beyond what is stored", "host uvc conv-from-sec-stor len=0xffff expect=refused rc=0x5"),
        ("rc 0x100 is ok and may be asked for (D4)", "host uvc qui len=0xa8 expect=ok rc=0x100\nhost uvc qui len=0xa0 expect=refused rc=0x5"),
        ("no rrc", "host uvc qui expect=ok rc=1 rrc=0"),
        (
            "a guest's block lies in the frame that it still reaches, whatever the host maps by now (D56, I-18)",
            "guest write beta:3 text=\"secret\"
             host remap beta:1 to=beta:3 purge=#false
             guest uvc beta query-keys expect=refused rc=0x2",
        ),
    ]);
}

#[test]
fn values() {
    pass(&[
        (
            "handles, CPUs, frames, pages",
            "host uvc conv-from-sec-stor paddr=(frame)alpha:3
             check page alpha:3 state=exported
             host uvc conv-to-sec-stor guest-handle=(handle)alpha gaddr=(page)alpha:3
             check page alpha:3 state=resident
             host uvc cpu-set-state cpu-handle=(cpu)beta:1 state=1
             guest read beta:3 cpu=1 text=\"beta\"",
        ),
        (
            "a guest never created has handle 0",
            "host uvc destroy-sec-conf handle=(handle)gamma save=block expect=refused rc=0x20
             host write alpha:20 from=block
             host read alpha:20 offset=0x18 hex=\"0000000000000000\"",
        ),
        (
            "a destroyed one its old handles",
            "host uvc destroy-sec-cpu handle=(cpu)alpha:0 save=before
             host teardown alpha
             host uvc destroy-sec-cpu handle=(cpu)alpha:0 save=after expect=refused rc=0x21
             host write beta:20 from=before
             host read beta:20 offset=0x18 len=8 save=old
             host write beta:20 from=after
             host read beta:20 offset=0x18 equals=old",
        ),
    ]);
}

#[test]
fn the_instruction_spoilt() {
    pass(&[
        ("skew= moves the block", "host uvc qui skew=8\nhost uvc qui skew=4088"),
        ("an unaligned block", "host uvc qui skew=4 expect=specification\nhost uvc qui skew=1 expect=specification"),
        (
            "immediate fields",
            "host uvc qui immediate=1 expect=specification\nhost uvc qui immediate=0x80 expect=specification",
        ),
        (
            "problem state, before all else (D2)",
            "host uvc qui problem-state=#true immediate=1 skew=1 expect=privileged-operation\nhost uvc qui",
        ),
        ("any CPU", "host uvc qui cpu=1 skew=8\nhost uvc qui cpu=1 problem-state=#true expect=privileged-operation"),
        (
            "the guest's instruction",
            "guest uvc alpha qui skew=4 expect=specification
             guest uvc alpha qui immediate=1 expect=specification
             guest uvc alpha qui problem-state=#true expect=privileged-operation
             guest uvc alpha qui
             guest read alpha:3 text=\"attack\"",
        ),
        (
            "not for this issuer",
            "host uvc set-shared-access expect=refused rc=0x2\nguest uvc alpha conv-from-sec-stor expect=refused rc=0x2",
        ),
    ]);
}

#[test]
fn machines() {
    pass_on(
        "without pin-page-shared",
        &[("a call taken away", "guest share alpha:5\nhost pin alpha:5 expect=refused rc=0x2")],
    );
    pass_on(
        "cipher xts; change-detection always",
        &[(
            "another cipher",
            "host page-out alpha:3\nguest read alpha:3 text=\"attack at dawn\"\nhost page-out alpha:3\ncheck page alpha:3 counter=2",
        )],
    );
    pass_on(
        "change-detection digest",
        &[(
            "an unchanged page keeps its counter",
            "host page-out alpha:3\nguest read alpha:3 text=\"attack\"\nhost page-out alpha:3\ncheck page alpha:3 counter=1",
        )],
    );
}
