//! A seeded generator of pseudo-random numbers: small, fast, the same on every platform.
//!
//! The state is one 64-bit counter that advances by an odd constant; a number is that counter sent
//! through two rounds of multiply and xor-shift (the construction known as `SplitMix64`). Every seed gives
//! a different sequence of period 2^64, 0 included.
//!
//! Not here: anything secret. The sequence is predictable by design.

/// A seeded generator of pseudo-random numbers.
///
/// # Examples
///
/// ```
/// use heapwright_testkit::Prng;
///
/// let mut a = Prng::new(7);
/// let mut b = Prng::new(7);
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert!(a.below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Prng {
    state: u64,
}

impl Prng {
    /// A generator that starts from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    #[inline]
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next 32 bits.
    #[inline]
    pub const fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A number in `0..n`.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the high half of the product is below `n`"
    )]
    pub const fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "there is no number below 0");
        // The high half of the product is uniform to within n / 2^64, which no test can see.
        ((self.next_u64() as u128 * n as u128) >> 64) as usize
    }

    /// A number in `low..=high`.
    ///
    /// # Panics
    ///
    /// If `low` is above `high`, or the range is that of all numbers.
    #[inline]
    pub const fn between(&mut self, low: usize, high: usize) -> usize {
        assert!(low <= high, "the range is empty");
        low + self.below(high - low + 1)
    }

    /// `true` in `num` of `den` cases.
    #[inline]
    pub const fn chance(&mut self, num: usize, den: usize) -> bool {
        self.below(den) < num
    }

    /// Puts `items` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// The seed of a random test: `HEAPWRIGHT_SEED` (decimal, or hexadecimal after `0x`) or else `default`.
/// It is printed, so that a failing test can be repeated.
///
/// # Panics
///
/// If `HEAPWRIGHT_SEED` is set and is no number.
#[expect(clippy::print_stderr, reason = "the seed has to reach whoever reads a failed test")]
pub fn seed(default: u64) -> u64 {
    let seed = match std::env::var("HEAPWRIGHT_SEED") {
        Ok(text) => parse(&text)
            .unwrap_or_else(|| panic!("HEAPWRIGHT_SEED must be a 64-bit number, got {text:?}")),
        Err(_) => default,
    };
    eprintln!("HEAPWRIGHT_SEED={seed:#x}");
    seed
}

fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_itself_from_the_same_seed_only() {
        let draw = |seed| {
            let mut prng = Prng::new(seed);
            (0..100).map(|_| prng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(0)[0], 0);
    }

    #[test]
    fn covers_every_number_below_the_limit_about_alike() {
        let mut prng = Prng::new(3);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[prng.below(10)] += 1;
        }
        assert!(counts.iter().all(|&count| (9_500..10_500).contains(&count)), "{counts:?}");
    }

    #[test]
    fn takes_chances_as_often_as_asked() {
        let mut prng = Prng::new(5);
        let hits = (0..40_000).filter(|_| prng.chance(1, 4)).count();
        assert!((9_500..10_500).contains(&hits), "{hits}");
        assert!((0..100).all(|_| !prng.chance(0, 4)));
        assert!((0..100).all(|_| prng.chance(4, 4)));
    }

    #[test]
    fn stays_between_both_ends() {
        let mut prng = Prng::new(9);
        let drawn: Vec<_> = (0..1_000).map(|_| prng.between(3, 5)).collect();
        assert!(drawn.iter().all(|number| (3..=5).contains(number)));
        assert!((3..=5).all(|number| drawn.contains(&number)));
    }

    #[test]
    fn shuffles_without_losing_anything() {
        let mut items: Vec<_> = (0..1_000).collect();
        Prng::new(11).shuffle(&mut items);
        assert_ne!(items, (0..1_000).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn reads_seeds_in_both_notations() {
        assert_eq!(parse("12"), Some(12));
        assert_eq!(parse(" 0xff "), Some(255));
        assert_eq!(parse("twelve"), None);
        assert_eq!(parse("0x1_0000_0000_0000_0000"), None);
    }
}
