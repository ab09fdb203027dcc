//! Which library this is.

use std::ffi::{CStr, c_char};

/// The major version of this header. The library is compatible as long as it has the same.
pub const UVSIM_VERSION_MAJOR: u32 = 0;
/// The minor version of this header. The library must not have a lower one.
pub const UVSIM_VERSION_MINOR: u32 = 1;
/// The patch level of this header.
pub const UVSIM_VERSION_PATCH: u32 = 0;

const TEXT: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(text) => text,
    Err(_) => panic!("a version has no zero byte"),
};

/// The version of the library as a text, such as `0.1.0`. Never null; the text is valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_version() -> *const c_char {
    TEXT.as_ptr()
}

/// The version of the library as a number: major × 1000000 + minor × 1000 + patch level.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_version_number() -> u32 {
    UVSIM_VERSION_MAJOR * 1_000_000 + UVSIM_VERSION_MINOR * 1000 + UVSIM_VERSION_PATCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_those_of_the_package() {
        let text = format!("{UVSIM_VERSION_MAJOR}.{UVSIM_VERSION_MINOR}.{UVSIM_VERSION_PATCH}");
        assert_eq!(TEXT.to_str(), Ok(text.as_str()));
        assert_eq!(uvsim_version_number(), 1000);
    }
}
