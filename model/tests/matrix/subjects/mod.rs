//! The commands, each with a scene and with ways to spoil it.

mod boot;
mod guest;
mod objects;
mod pages;
mod queries;
mod states;

use crate::cause::{Cause, Part, Subject, cause};
use crate::conduct::conduct;
use crate::stage::{END, PAGE, Stage};
use uvsim_model::uvc::Issuer;

const HANDLE: u64 = 0x18;

/// A cause that is one value of one field.
macro_rules! field {
    ($check:literal, $offset:literal, $size:literal, $value:expr) => {
        cause($check, &[Part::Field($offset)], |stage| stage.set($offset, $size, $value))
    };
}
use field;

fn nothing(_: &mut Stage<'_>) {}

fn by_host(subject: &Subject) {
    conduct(subject, Issuer::Host);
}

/// The address of an argument lies outside storage.
fn outside() -> [Cause; 2] {
    [field!("outside", 0x18, 8, END), field!("outside", 0x18, 8, u64::MAX)]
}
