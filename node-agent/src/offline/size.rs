//! Sizes as a person reads them.

const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/// A number of bytes in words, never more than it is.
pub(super) fn size(bytes: u64) -> String {
    let mut unit = 0;
    let mut scale = 1;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        unit += 1;
        scale *= 1024;
    }
    if unit == 0 {
        return format!("{bytes} bytes");
    }
    let tenths = u128::from(bytes % scale) * 10 / u128::from(scale);
    format!("{}.{tenths} {}", bytes / scale, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_never_said_to_be_more_than_it_is() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(4096), "4.0 KiB");
        assert_eq!(size((1 << 30) - 1), "1023.9 MiB");
        assert_eq!(size(16 << 40), "16.0 TiB");
    }
}
