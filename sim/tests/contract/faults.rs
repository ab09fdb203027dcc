//! Guest faults: what Linux answers, and what is left as the outcome.

use super::pass;

#[test]
fn linux_answers() {
    pass(&[
        ("0x3e: import", "host export alpha:3\nguest read alpha:3 text=\"attack\"\ncheck page alpha:3 state=resident"),
        (
            "no mapping: a frame as user memory has it, import",
            "host page-out alpha:3\nguest read alpha:3 text=\"attack\"",
        ),
        ("a page never seen", "guest read alpha:99 hex=\"00000000\"\ncheck page alpha:99 state=resident counter=0"),
        (
            "intercept 112: the prefix pages",
            "host page-out alpha:0..1
             guest read alpha:3 text=\"attack\"
             check page alpha:0..1 state=resident",
        ),
        (
            "intercept 108 of an unshare: unpin",
            "guest share alpha:5
             host pin alpha:5
             guest unshare alpha:5
             check page alpha:5 state=resident frame=secure",
        ),
        (
            "also of a raw call",
            "guest share alpha:5
             host pin alpha:5
             guest uvc alpha remove-shared-access paddr=(page)alpha:5
             check page alpha:5 state=resident",
        ),
        (
            "0x3f: destroy what is an orphan",
            "host teardown beta fast=#true
             host remap alpha:30 to=beta:3
             guest read alpha:30 hex=\"00000000\"
             check page alpha:30 state=resident",
        ),
        (
            "0x3f: else export, and the rest follows",
            "host remap alpha:30 to=beta:3
             guest read alpha:30 hex=\"00000000\"
             check page beta:3 state=exported",
        ),
        (
            "a refused answer is the outcome",
            "host export alpha:3
             host flip alpha:3 bit=0
             guest read alpha:3 len=1 expect=refused rc=0x106
             guest write alpha:3 text=\"x\" expect=refused rc=0x106
             host flip alpha:3 bit=0
             guest read alpha:3 text=\"attack\"",
        ),
        (
            "after 16 answers the next fault is: the buffer keeps an old frame, the import finds the new one",
            "host export alpha:3
             host faults stop
             guest read alpha:3 len=1 expect=non-secure-storage-access
             host move alpha:3 purge=#false
             host faults linux
             guest read alpha:3 len=1 expect=non-secure-storage-access
             check page alpha:3 state=resident",
        ),
        ("other exits are the outcome", "guest read alpha:3 cpu=9 len=1 expect=intercept code=32"),
    ]);
}

#[test]
fn stop_lets_the_fault_be_the_outcome() {
    pass(&[
        (
            "every exit, for all guests, until the next word",
            "host faults stop
             host export alpha:3
             guest read alpha:3 len=1 expect=non-secure-storage-access
             guest write beta:99 text=\"x\" expect=page-translation
             check page alpha:3 state=exported
             check page beta:99 state=absent frame=none
             host export alpha:1
             guest read alpha:3 len=1 expect=intercept code=112
             host faults linux
             guest read alpha:3 text=\"attack\"",
        ),
        (
            "another's frame",
            "host faults stop
             host remap alpha:30 to=beta:3
             guest read alpha:30 len=1 expect=secure-storage-violation
             host remap alpha:31 to=alpha:3
             guest read alpha:31 len=1 expect=secure-storage-violation",
        ),
        (
            "an abandoned unshare is replaced by the next action (D72)",
            "guest share alpha:5
             host pin alpha:5
             host faults stop
             guest unshare alpha:5 expect=intercept code=108
             guest read alpha:3 text=\"attack\"
             check page alpha:5 state=pinned
             host unpin alpha:5
             guest unshare alpha:5
             check page alpha:5 state=resident",
        ),
    ]);
}

#[test]
fn sharing() {
    pass(&[
        (
            "share, write, unshare keep the contents (D22, T62)",
            "guest write alpha:5 text=\"mine\"
             guest share alpha:5
             host read alpha:5 text=\"mine\"
             guest share alpha:5
             host write alpha:5 text=\"ours\"
             guest unshare alpha:5
             host read alpha:5 len=1 expect=secure-storage-access
             guest read alpha:5 text=\"ours\"",
        ),
        (
            "a range, and pages never touched",
            "guest share alpha:40..43
             check page alpha:40..43 state=shared
             guest unshare alpha:40..43
             check page alpha:40..43 state=resident",
        ),
        ("only shared pages can be pinned", "host pin alpha:3 expect=refused rc=0x102"),
        (
            "the block lies in the last 512 bytes of page 1 (D74)",
            "guest share alpha:5
             guest read alpha:1 offset=3588 hex=\"00010000\"",
        ),
    ]);
}
