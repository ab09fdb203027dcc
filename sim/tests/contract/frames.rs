//! Frames: what the host maps, moves, pages out and in.

use super::pass;

#[test]
fn a_page_without_a_frame() {
    pass(&[
        (
            "host and device accesses map a zeroed frame first (D70)",
            "check page alpha:20..24 frame=none
             host read alpha:20 hex=\"00000000\"
             host write alpha:21 hex=\"ff\"
             host flip alpha:22 bit=7
             device read alpha:23 hex=\"0000\"
             device write alpha:24 hex=\"01\"
             check page alpha:20..24 state=absent frame=non-secure
             host read alpha:22 hex=\"0100\"",
        ),
        (
            "copy and move too",
            "host copy alpha:20 to=alpha:21
             host move alpha:22
             check page alpha:20..22 frame=non-secure
             host read alpha:21 hex=\"00\"",
        ),
        (
            "import and unpin answer rc 0x10a",
            "host import alpha:20 expect=refused rc=0x10a
             host unpin alpha:20 expect=refused rc=0x10a
             check page alpha:20 frame=none",
        ),
        (
            "any other statement is unmapped",
            "host export alpha:20 expect=unmapped
             host destroy alpha:20 expect=unmapped
             host pin alpha:20 expect=unmapped
             host make-accessible alpha:20 expect=unmapped
             host page-out alpha:20 expect=unmapped
             host page-in alpha:20 expect=unmapped
             host unmap alpha:20 expect=unmapped
             host remap alpha:21 to=alpha:20 expect=unmapped
             host uvc conv-from-sec-stor paddr=(frame)alpha:20 expect=unmapped
             check page alpha:20..21 frame=none",
        ),
    ]);
}

#[test]
fn paging() {
    pass(&[
        (
            "page-out leaves no frame, page-in brings the stored bytes",
            "host page-out alpha:3
             check page alpha:3 state=exported counter=1 frame=none
             host page-in alpha:3
             check page alpha:3 state=resident frame=secure
             guest read alpha:3 text=\"attack at dawn\"",
        ),
        (
            "page-in without stored bytes imports the frame that is there",
            "host export alpha:3
             host page-in alpha:3
             check page alpha:3 state=resident",
        ),
        (
            "an access maps the stored bytes, once",
            "host export alpha:3
             host read alpha:3 save=cipher
             host page-out alpha:3
             host read alpha:3 equals=cipher
             host unmap alpha:3
             host read alpha:3 len=16 hex=\"00000000000000000000000000000000\"
             host import alpha:3 expect=refused rc=0x106",
        ),
        (
            "page-in prefers the stored bytes to another frame",
            "host page-out alpha:3
             host write alpha:20 text=\"x\"
             host remap alpha:3 to=alpha:20
             host page-in alpha:3
             guest read alpha:3 text=\"attack at dawn\"
             host read alpha:20 text=\"x\"",
        ),
        (
            "a refused import leaves the page its frame",
            "host page-out alpha:3
             host flip alpha:3 bit=1
             host page-in alpha:3 expect=refused rc=0x106
             host flip alpha:3 bit=1
             host page-in alpha:3
             guest read alpha:3 text=\"attack at dawn\"",
        ),
        (
            "make-accessible pins what is shared and exports the rest",
            "guest share alpha:5
             host make-accessible alpha:3..3
             check page alpha:3 state=exported
             host make-accessible alpha:5
             check page alpha:5 state=pinned
             host unpin alpha:5
             check page alpha:5 state=shared",
        ),
    ]);
}

#[test]
fn move_remap_copy() {
    pass(&[
        (
            "move takes the bytes along, and imports nothing",
            "host export alpha:3
             host read alpha:3 save=cipher
             host move alpha:3
             check page alpha:3 state=exported frame=non-secure
             host read alpha:3 equals=cipher
             host import alpha:3
             guest read alpha:3 text=\"attack at dawn\"",
        ),
        (
            "a secure frame cannot be read to be moved or copied",
            "host move alpha:3 expect=secure-storage-access
             host copy alpha:3 to=alpha:20 expect=secure-storage-access
             check page alpha:3 state=resident
             check page alpha:20 frame=none",
        ),
        (
            "copy takes raw bytes",
            "host export alpha:3
             host copy alpha:3 to=alpha:20
             host read alpha:3 save=a
             host read alpha:20 equals=a
             check page alpha:20 state=absent",
        ),
        (
            "remap maps the frame of the second page at the first",
            "host write alpha:20 text=\"one\"
             host remap beta:9 to=alpha:20
             host read beta:9 text=\"one\"
             host write beta:9 text=\"two\"
             host read alpha:20 text=\"two\"",
        ),
        (
            "one frame is one page only",
            "host export alpha:3
             host remap alpha:20 to=alpha:3
             host import alpha:20
             guest read alpha:20 hex=\"00000000\"
             host import alpha:3 expect=refused rc=0x104",
        ),
        (
            "a page to itself",
            "host write alpha:20 text=\"x\"
             host remap alpha:20 to=alpha:20
             host read alpha:20 text=\"x\"",
        ),
    ]);
}

#[test]
fn unmapping_and_purging() {
    pass(&[
        (
            "unmap removes the mapping alone",
            "host unmap alpha:3
             check page alpha:3 state=resident frame=none
             host import alpha:3 expect=refused rc=0x10a",
        ),
        (
            "a changed mapping is purged",
            "guest read alpha:3 text=\"attack\"
             host unmap alpha:3
             host faults stop
             guest read alpha:3 len=1 expect=page-translation",
        ),
        (
            "unless purge=#false (D69)",
            "guest read alpha:3 text=\"attack\"
             host unmap alpha:3 purge=#false
             host faults stop
             guest read alpha:3 text=\"attack\"",
        ),
        (
            "remap without a purge leads to the old frame",
            "guest write alpha:20 text=\"old\"
             host write alpha:21 text=\"new\"
             host remap alpha:20 to=alpha:21 purge=#false
             host faults stop
             guest read alpha:20 text=\"old\"
             host remap alpha:20 to=alpha:21
             guest read alpha:20 len=3 expect=non-secure-storage-access",
        ),
        (
            "a registered frame is not given to others before it is free again (D68)",
            "guest share alpha:5
             host unmap alpha:5
             guest write alpha:40..60 text=\"others\"
             guest read alpha:40..60 text=\"others\"",
        ),
    ]);
}
