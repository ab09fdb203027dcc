//! Sizes as libvirt writes them.

use uvsim_model::address::MEBIBYTE;

/// Bytes of a number in a unit, `None` if the unit is unknown or the product is more than 64 bits hold.
///
/// libvirt's units (its description of the domain XML format, "Memory Allocation"): none or `KiB` or `k` is 1024
/// bytes, `KB` 1000, and so on for M, G, T, P, E; `b` or `bytes` is one. Case does not matter.
pub(super) fn bytes(number: u64, unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    if matches!(unit.as_str(), "b" | "byte" | "bytes") {
        return Some(number);
    }
    let mut letters = unit.chars();
    let exponent = "kmgtpe".find(letters.next().unwrap_or('k'))? + 1;
    let base: u64 = match letters.as_str() {
        "" | "ib" => 1024,
        "b" => 1000,
        _ => return None,
    };
    number.checked_mul(base.checked_pow(u32::try_from(exponent).ok()?)?)
}

/// Rounded up to whole MiB: libvirt rounds to KiB and then to the megabyte that QEMU's s390x machine wants, and
/// the Ultravisor takes a guest in whole MiB.
pub(super) fn whole_mebibytes(bytes: u64) -> Option<u64> {
    bytes.div_ceil(MEBIBYTE).checked_mul(MEBIBYTE)
}

/// A size in the largest unit that divides it.
pub(super) fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes != 0 && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| format!("{bytes} B"), |(name, shift)| format!("{} {name}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_libvirt() {
        for (number, unit, wanted) in [
            (1, "", Some(1024)),
            (1, "k", Some(1024)),
            (2048000, "KiB", Some(2_097_152_000)),
            (3, "KB", Some(3000)),
            (1, "M", Some(1 << 20)),
            (1, "MB", Some(1_000_000)),
            (4, "GiB", Some(4 << 30)),
            (4, "gb", Some(4_000_000_000)),
            (1, "T", Some(1 << 40)),
            (1, "TB", Some(1_000_000_000_000)),
            (1, "PiB", Some(1 << 50)),
            (1, "EiB", Some(1 << 60)),
            (7, "bytes", Some(7)),
            (7, "b", Some(7)),
            (16, "EiB", None),
            (u64::MAX, "", None),
            (1, "KiBs", None),
            (1, "XiB", None),
            (1, "é", None),
        ] {
            assert_eq!(bytes(number, unit), wanted, "{number} {unit}");
        }
    }

    #[test]
    fn rounding_is_up() {
        assert_eq!(whole_mebibytes(1), Some(MEBIBYTE));
        assert_eq!(whole_mebibytes(MEBIBYTE), Some(MEBIBYTE));
        assert_eq!(whole_mebibytes(MEBIBYTE + 1), Some(2 * MEBIBYTE));
        assert_eq!(whole_mebibytes(0), Some(0));
        assert_eq!(whole_mebibytes(u64::MAX), None);
        assert_eq!(size(2_097_152_000), "2000 MiB");
        assert_eq!(size(4 << 30), "4 GiB");
        assert_eq!(size(0), "0 B");
    }
}
