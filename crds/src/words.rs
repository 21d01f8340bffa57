//! Numbers of a status in words, for the columns of `kubectl get`. Programs read the numbers.

/// A size with one digit behind the point, rounded down, such as `29.9Gi`.
pub fn size(bytes: u64) -> String {
    let units = [(50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
    let Some((shift, unit)) = units.iter().find(|&&(shift, _)| bytes >> shift > 0) else {
        return bytes.to_string();
    };
    let tenths = (u128::from(bytes) * 10) >> shift;
    format!("{}.{}{unit}", tenths / 10, tenths % 10)
}

/// What is used of a size, such as `1.2Gi (4%)`; of nothing, `0`.
pub fn used(used_bytes: u64, size_bytes: u64) -> String {
    if size_bytes == 0 {
        return size(used_bytes);
    }
    let percent = u128::from(used_bytes) * 100 / u128::from(size_bytes);
    format!("{} ({percent}%)", size(used_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_like_kubernetes_writes_them() {
        for (bytes, words) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0Ki"),
            (10 << 30, "10.0Gi"),
            ((10 << 30) - 1, "9.9Gi"),
            (3 << 29, "1.5Gi"),
            (u64::MAX, "16383.9Pi"),
        ] {
            assert_eq!(size(bytes), words, "{bytes}");
        }
    }

    #[test]
    fn use_is_told_with_its_share() {
        assert_eq!(used(0, 0), "0");
        assert_eq!(used(0, 10 << 30), "0 (0%)");
        assert_eq!(used(4 << 30, 10 << 30), "4.0Gi (40%)");
        assert_eq!(used(u64::MAX, u64::MAX), "16383.9Pi (100%)");
    }
}
