//! A scenario that boots the guest of a domain.

use std::path::Path;

use uvsim_model::address::MEBIBYTE;
use uvsim_model::config::MAX_STORAGE;

use super::document::Domain;
use super::units;

/// A scenario with one guest of the size that the domain defines, which boots, and of which a page goes out and
/// comes back. `path` is written into it as the place of the definition.
#[must_use]
pub fn scenario(domain: &Domain, path: &Path) -> String {
    let guest = guest_name(domain.title().unwrap_or_default());
    let title = quoted(domain.title().unwrap_or("a domain without a name"));
    let path = quoted(&path.to_string_lossy());
    let storage = units::size(storage(domain.memory_bytes().unwrap_or(MEBIBYTE))).replace(' ', "");
    format!(
        r#"scenario {title} {{
    about "A guest as its domain definition sets it up: it boots, and a page of it goes out and comes back."
}}
machine {{ storage "{storage}" }}
guest {guest} domain={path} {{
    load 0x2000 text="the first page behind the prefix"
}}
step "the guest runs, and the host cannot look inside" {{
    check page {guest}:0..2 state=resident frame=secure
    guest read {guest}:2 text="the first page behind the prefix"
    host read {guest}:2 len=16 expect=secure-storage-access
}}
step "a page goes out and comes back" {{
    host page-out {guest}:2
    check page {guest}:2 state=exported frame=none
    guest read {guest}:2 text="the first page behind the prefix"
    check invariants
}}
"#
    )
}

/// A name that the scenario language takes.
fn guest_name(name: &str) -> String {
    const LONGEST: usize = 40;
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' };
    let name: String = name.chars().take(LONGEST).map(kept).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("guest{name}") }
}

/// Storage of a machine that holds the whole guest: the base area of the Ultravisor ends at 2 GiB and 98 MiB (D75),
/// a configuration is given 4 KiB for each MiB (D16), and tables, CPUs and control blocks are small beside that.
fn storage(memory: u64) -> u64 {
    const GIBIBYTE: u64 = 1 << 30;
    const BASE: u64 = 3 * GIBIBYTE;
    let wanted = memory.saturating_add(memory / 256).saturating_add(BASE);
    wanted.div_ceil(GIBIBYTE).saturating_mul(GIBIBYTE).clamp(4 * GIBIBYTE, MAX_STORAGE)
}

/// A text as KDL 2 writes it.
fn quoted(text: &str) -> String {
    let mut result = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => result.extend(['\\', c]),
            '\n' => result.push_str("\\n"),
            c if c.is_control() || crate::scenario::shown(&c.to_string()) == "\u{fffd}" => {
                result.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            }
            c => result.push(c),
        }
    }
    result.push('"');
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_that_the_language_takes() {
        for (name, wanted) in
            [("rhel9.4", "rhel9-4"), ("4711", "guest4711"), ("", "guest"), ("é", "guest-"), ("a\"b }\n", "a-b---")]
        {
            assert_eq!(guest_name(name), wanted);
        }
        assert_eq!(quoted("a\"b\\c\n\u{7}"), r#""a\"b\\c\n\u{7}""#);
    }

    #[test]
    fn storage_grows_with_the_guest() {
        assert_eq!(storage(MEBIBYTE), 4 << 30);
        assert_eq!(storage(8 << 30), 12 << 30);
        assert_eq!(storage(u64::MAX), MAX_STORAGE);
    }
}
