//! Alignment arithmetic over addresses and sizes.

/// Rounds `pos` down to a multiple of `align`, a power of two.
///
/// # Time Complexity
///
/// Constant.
#[inline]
pub const fn align_down(pos: usize, align: usize) -> usize {
    debug_assert!(align.is_power_of_two());
    pos & !(align - 1)
}

/// Rounds `pos` up to a multiple of `align`, a power of two; `None` where that does not fit.
///
/// # Time Complexity
///
/// Constant.
#[inline]
pub const fn align_up(pos: usize, align: usize) -> Option<usize> {
    debug_assert!(align.is_power_of_two());
    match pos.checked_add(align - 1) {
        Some(sum) => Some(sum & !(align - 1)),
        None => None,
    }
}

/// Whether `pos` is a multiple of `align`, a power of two.
///
/// # Time Complexity
///
/// Constant.
#[inline]
pub const fn is_aligned(pos: usize, align: usize) -> bool {
    debug_assert!(align.is_power_of_two());
    pos & (align - 1) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_down_and_up() {
        assert_eq!(align_down(4097, 4096), 4096);
        assert_eq!(align_up(4097, 4096), Some(8192));
        assert_eq!(align_up(4096, 4096), Some(4096));
        assert_eq!(align_up(0, 1), Some(0));
    }

    #[test]
    fn refuses_to_round_past_the_end() {
        assert_eq!(align_up(usize::MAX, 2), None);
        assert_eq!(align_up(usize::MAX - 4095, 4096), Some(usize::MAX - 4095));
    }

    #[test]
    fn agrees_with_the_remainder() {
        for pos in 0..1000 {
            for shift in 0..8 {
                let align = 1 << shift;
                assert_eq!(is_aligned(pos, align), pos % align == 0);
                assert_eq!(align_down(pos, align), pos - pos % align);
                assert_eq!(align_up(pos, align), Some(pos.div_ceil(align) * align));
            }
        }
    }
}
