//! Guest pages that their owner lends to the host.

use crate::call::{Call, Ruling};
use crate::ids::{FrameNumber, Handle, PageIndex};
use crate::state::State;
use crate::world::World;

/// PIN_PAGE_SHARED 0x0341.
pub(crate) fn pin_page_shared(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// UNPIN_PAGE_SHARED 0x0342.
pub(crate) fn unpin_page_shared(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// SET_UNSHARED_ALL 0x0340.
pub(crate) fn set_unshared_all(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// SET_SHARED_ACCESS 0x1000, behind the checks of D32: the page was found accessible in this frame.
pub(crate) fn set_shared_access(state: &State, owner: Handle, page: PageIndex, frame: FrameNumber) -> Ruling {
    let _ = (state, owner, page, frame);
    unimplemented!()
}

/// What REMOVE_SHARED_ACCESS 0x1001 leads to behind the checks of D32. `None`: the page is pinned, and the host
/// has to be told (interception 108, T60).
pub(crate) fn remove_shared_access(
    state: &State,
    owner: Handle,
    page: PageIndex,
    frame: FrameNumber,
) -> Option<Ruling> {
    let _ = (state, owner, page, frame);
    unimplemented!()
}
