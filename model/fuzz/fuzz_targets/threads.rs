//! Any statements in two lanes on threads.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| uvsim_fuzz::must_hold("threads", data));
