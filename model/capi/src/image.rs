//! SE images: what a guest starts from, made for the host key of a machine.

use crate::machine::{on_machine, uvsim_machine};
use crate::result::{Fault, UVSIM_OK};
use crate::storage::{check_buffer, put};
use std::ffi::{c_int, c_void};
use uvsim::image::{Component, ImageKeys, Recipe, SeImage, USUAL_FLAGS, USUAL_PSW_MASK};
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::seed::{Purpose, Seed};

/// Bytes of the header of an image that `uvsim_image_build` makes.
pub const UVSIM_IMAGE_HEADER_LENGTH: usize = 640;

/// What an image is to be. All zeros is a usual one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct uvsim_image_plan {
    /// Where the keys of the image come from: equal seeds and components give equal images.
    pub seed: u64,
    /// Plaintext control flags; 0 stands for the usual ones.
    pub flags: u64,
    /// Secret control flags.
    pub secret_flags: u64,
    /// Mask of the initial PSW; 0 stands for the usual one.
    pub psw_mask: u64,
    /// Address of the initial PSW.
    pub psw_address: u64,
    /// Zeros.
    pub reserved: [u64; 3],
}

/// A component of an image: whole pages.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct uvsim_component {
    /// Guest absolute address of its first page.
    pub address: u64,
    /// Tweak prefix. Page `n` of the component is unpacked with the tweak `prefix`, `n * 4096`.
    pub prefix: u64,
    /// Its bytes: in plain before, as they are delivered afterwards.
    pub data: *mut c_void,
    /// How many; a multiple of 4096.
    pub length: usize,
}

const _: () = assert!(size_of::<uvsim_image_plan>() == 64 && size_of::<uvsim_component>() == 32);

/// Makes an image that this machine can start. The components are encrypted where they lie, in the order in which they are to
/// be unpacked; the header is written to `header`. Nothing is written unless the answer is `UVSIM_OK`.
///
/// `plan` may be null, which is the same as all zeros.
///
/// Answers: those of every function; `UVSIM_E_NULL` (`components` though there is a count, `header`, or the data of a
/// component); `UVSIM_E_ARGUMENT` (`header_length` is less than `UVSIM_IMAGE_HEADER_LENGTH`, a component is not of whole pages
/// at a page, two have bytes in common, data lie in a host view, a reserved member is not zero); `UVSIM_OK`.
///
/// # Safety
/// `plan` is null or readable; `components` leads to `count` readable ones, the data of each to `length` readable and writable
/// bytes; `header` leads to `header_length` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_image_build(
    machine: *mut uvsim_machine,
    plan: *const uvsim_image_plan,
    components: *const uvsim_component,
    count: usize,
    header: *mut c_void,
    header_length: usize,
) -> c_int {
    on_machine(machine, |room| {
        // SAFETY: the caller says that a plan that is there is readable.
        let plan = if plan.is_null() { uvsim_image_plan::default() } else { unsafe { plan.read_unaligned() } };
        if plan.reserved != [0; 3] {
            return Err(Fault::argument("a reserved member of the plan is not zero"));
        }
        if header.is_null() {
            return Err(Fault::null("the place for the header"));
        }
        if header_length < UVSIM_IMAGE_HEADER_LENGTH {
            let detail = format!("{header_length} bytes for the header, which has {UVSIM_IMAGE_HEADER_LENGTH}");
            return Err(Fault::argument(detail));
        }
        // SAFETY: the caller says that the components are readable.
        let wanted = unsafe { listed(components, count)? };
        // SAFETY: the caller says that their data are.
        let image = unsafe { made(&room.machine, &plan, &wanted)? };
        let made: [u8; UVSIM_IMAGE_HEADER_LENGTH] = image
            .header
            .as_slice()
            .try_into()
            .map_err(|_| Fault::argument(format!("a header of {} bytes", image.header.len())))?;
        for (to, from) in wanted.iter().zip(&image.components) {
            // SAFETY: the caller says that so many bytes are writable; they lie in no other component.
            unsafe { to.data.cast::<u8>().copy_from(from.data.as_ptr(), to.length) };
        }
        // SAFETY: it is not null and long enough, and the caller says that it is writable.
        unsafe { put(header.cast(), made) };
        Ok(UVSIM_OK)
    })
}

/// The components, which are sound.
///
/// # Safety
/// They are readable.
unsafe fn listed(components: *const uvsim_component, count: usize) -> Result<Vec<uvsim_component>, Fault> {
    const PAGE: usize = PAGE_SIZE as usize;
    if components.is_null() && count > 0 {
        return Err(Fault::null("the list of components"));
    }
    if count > isize::MAX as usize / size_of::<uvsim_component>() {
        return Err(Fault::argument(format!("{count} components")));
    }
    // SAFETY: the caller says that so many are there.
    let found: Vec<_> = (0..count).map(|at| unsafe { components.add(at).read_unaligned() }).collect();
    for (at, component) in found.iter().enumerate() {
        if component.data.is_null() {
            return Err(Fault::null("the data of a component"));
        }
        check_buffer(component.data, component.length)?;
        let whole =
            component.length > 0 && component.length.is_multiple_of(PAGE) && component.length <= isize::MAX as usize;
        if !whole || !component.address.is_multiple_of(PAGE_SIZE) {
            let (length, address) = (component.length, component.address);
            return Err(Fault::argument(format!(
                "component {at}, {length:#x} bytes at {address:#x}, is not of whole pages"
            )));
        }
    }
    let mut places: Vec<_> = found.iter().map(|one| (one.data.addr(), one.length)).collect();
    places.sort_unstable();
    match places.windows(2).find(|pair| pair[1].0 - pair[0].0 < pair[0].1) {
        Some(pair) => Err(Fault::argument(format!("two components have the bytes at {:#x} in common", pair[1].0))),
        None => Ok(found),
    }
}

/// # Safety
/// The data of the components are readable.
unsafe fn made(
    machine: &uvsim_model::Machine,
    plan: &uvsim_image_plan,
    components: &[uvsim_component],
) -> Result<SeImage, Fault> {
    let plain = |one: &uvsim_component| {
        // SAFETY: the caller says that so many bytes are readable; the length is that of an object.
        let data = unsafe { core::slice::from_raw_parts(one.data.cast::<u8>().cast_const(), one.length) };
        Component::new(one.prefix, one.address, data.to_vec())
    };
    let recipe = Recipe {
        recipients: &[machine.host_public_key().clone()],
        flags: if plan.flags == 0 { USUAL_FLAGS } else { plan.flags },
        secret_flags: plan.secret_flags,
        psw: [if plan.psw_mask == 0 { USUAL_PSW_MASK } else { plan.psw_mask }, plan.psw_address],
        components: components.iter().map(plain).collect(),
        keys: ImageKeys::draw(&mut Seed(plan.seed).stream(Purpose::Images)),
    };
    recipe.make().map_err(|error| Fault::argument(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvsim_model::crypto::{ENCRYPTED_AREA, HEADER_FIXED};

    #[test]
    fn a_header_for_one_host_has_its_length() {
        const SLOT: usize = 80;
        const TAG: usize = 16;
        assert_eq!(HEADER_FIXED + SLOT + ENCRYPTED_AREA + TAG, UVSIM_IMAGE_HEADER_LENGTH);
    }
}
