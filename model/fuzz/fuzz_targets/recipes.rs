//! Anything that an image could be made from.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| uvsim_fuzz::must_hold("recipes", data));
