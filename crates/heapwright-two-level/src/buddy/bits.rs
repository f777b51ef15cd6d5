//! The free pages of a group of 64, as the bits of a word: which buddies they make.
//!
//! A group begins where a buddy of 64 pages may, so bit `i` of its word is as aligned as its page. Free
//! buddies need no merging here: two that are free are the one that they make.
//!
//! Not here: where a group is listed; see `section`.

use crate::page_meta::Order;

/// log2 of the pages of a group.
pub(super) const GROUP_ORDER: Order = 6;

/// Pages of a group.
pub(super) const GROUP_PAGES: u32 = u64::BITS;

const _: () = assert!(1 << GROUP_ORDER == GROUP_PAGES);

/// What a group is listed by: 0 if it has no free page, else one more than the order of its largest buddy.
pub(super) type Rank = u32;

/// Rank of a group that is all free.
pub(super) const RANK_WHOLE: Rank = GROUP_ORDER + 1;

/// Where buddies may begin, by order.
const HEADS: [u64; GROUP_ORDER as usize + 1] = [
    !0,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
    1,
];

/// The lowest buddy of each order, and one that there is not, so that three bits can index it.
const BUDDIES: [u64; 8] = [1, 0b11, 0xf, 0xff, 0xffff, 0xffff_ffff, !0, 0];

/// The lowest `pages` bits, 1 to 64.
#[inline]
pub(super) const fn ones(pages: u32) -> u64 {
    debug_assert!(0 < pages && pages <= GROUP_PAGES);
    u64::MAX >> (GROUP_PAGES - pages)
}

/// The heads of what is free of order `order + 1`, by those of `order`, which is below that of a group.
#[inline]
const fn merged(heads: u64, order: Order) -> u64 {
    heads & (heads >> (1 << order)) & HEADS[order as usize + 1]
}

/// Heads of what is free and of `order` at least, where buddies of that order begin.
#[inline]
pub(super) fn heads_of(free: u64, order: Order) -> u64 {
    let mut heads = free;
    // A loop of known length, so that its shifts are by constants.
    for below in 0..GROUP_ORDER {
        if below == order {
            break;
        }
        heads = merged(heads, below);
    }
    heads
}

/// The rank of a group with these free pages, found without a jump.
#[inline]
pub(super) fn rank(free: u64) -> Rank {
    let mut heads = free;
    let mut rank = Rank::from(heads != 0);
    for order in 0..GROUP_ORDER {
        heads = merged(heads, order);
        rank += Rank::from(heads != 0);
    }
    rank
}

/// Whether the rank of a group may be above `old` now that the pages of `mask` from `bit` have become free.
#[inline]
pub(super) fn may_grow(free: u64, old: Rank, bit: u32, mask: u64) -> bool {
    // If the pages lie in one buddy of the next order and any buddy is new that large, it is this one.
    let buddy = buddy_around(bit, old);
    free & buddy == buddy || mask & !buddy != 0
}

/// The buddy of `order` around `bit`.
#[inline]
pub(super) fn buddy_around(bit: u32, order: Order) -> u64 {
    BUDDIES[order as usize % BUDDIES.len()] << (bit >> order << order)
}

/// The head of the lowest free buddy of just this order or, if there is none, of the lowest place of one in
/// a larger one, as a bit that is set; 0: there is none.
#[inline]
pub(super) fn lowest(free: u64, order: Order) -> u64 {
    let mut heads = free;
    // A loop of known length, so that its shifts are by constants.
    for below in 0..GROUP_ORDER {
        if below == order {
            // Two tests side by side, not one of what the other leaves: a run waits for the one before it.
            let (size, lower) = (1 << below, HEADS[below as usize + 1]);
            let paired = ((heads >> size) & lower) | ((heads & lower) << size);
            let alone = heads & !paired;
            let best = if alone == 0 { heads } else { alone };
            return best & best.wrapping_neg();
        }
        heads = merged(heads, below);
    }
    0
}

/// The order of the free buddy that begins at `bit`, where a stretch of free pages or a former buddy ends.
#[inline]
pub(super) fn order_at(free: u64, bit: u32) -> Option<Order> {
    let stretch = (free >> bit).trailing_ones();
    // Bit 0 is as aligned as a group.
    Some(stretch.checked_ilog2()?.min(bit.trailing_zeros()))
}

/// The bits that are set, ascending.
pub(super) fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (bit < u64::BITS).then_some(bit)
    })
}

#[cfg(test)]
mod tests {
    use heapwright_testkit::{Prng, prng};

    use super::*;

    /// The same by trying every buddy.
    fn buddies(free: u64) -> Vec<(u32, Order)> {
        let whole = |bit: u32, order: Order| (free >> bit) & ones(1 << order) == ones(1 << order);
        let mut found = Vec::new();
        for order in 0..=GROUP_ORDER {
            for bit in (0..GROUP_PAGES).step_by(1 << order) {
                let parent = bit & !(1 << order);
                if whole(bit, order) && (order == GROUP_ORDER || !whole(parent, order + 1)) {
                    found.push((bit, order));
                }
            }
        }
        found
    }

    #[test]
    fn tells_the_buddies_of_a_word() {
        let mut random = Prng::new(prng::seed(0x0b17));
        for round in 0..2000 {
            let free = match round {
                0 => 0,
                1 => !0,
                _ => {
                    let sparse = random.next_u64() & random.next_u64();
                    let dense = random.next_u64() | random.next_u64() | random.next_u64();
                    if round % 2 == 0 { sparse } else { dense | (!0 << random.between(0, 63)) }
                }
            };
            let known = buddies(free);
            let largest = known.iter().map(|&(_, order)| order).max();
            assert_eq!(rank(free), largest.map_or(0, |order| order + 1));
            for order in 0..=GROUP_ORDER {
                let heads = known
                    .iter()
                    .filter(|&&(_, found)| found >= order)
                    .flat_map(|&(bit, found)| (bit..bit + (1 << found)).step_by(1 << order));
                let heads = heads.fold(0, |all, bit| all | (1 << bit));
                assert_eq!(heads_of(free, order), heads);
                let just =
                    known.iter().find(|&&(_, found)| found == order).map(|&(bit, _)| 1 << bit);
                let any = heads & heads.wrapping_neg();
                if order < GROUP_ORDER {
                    assert_eq!(lowest(free, order), just.unwrap_or(any), "{free:#x}, {order}");
                }
            }
            for &(bit, order) in &known {
                assert_eq!(order_at(free, bit), Some(order));
            }
            assert_eq!(bits(free).fold(0, |all, bit| all | (1 << bit)), free);
            assert_eq!(bits(free).count(), free.count_ones() as usize);
        }
        assert_eq!(order_at(0b10, 0), None);
    }

    #[test]
    fn knows_when_a_rank_cannot_have_grown() {
        let mut random = Prng::new(prng::seed(0x96e1));
        let mut grown = 0;
        for _ in 0..20_000 {
            let (bit, free) = (random.below(64) as u32, random.next_u64() | random.next_u64());
            let pages = random.between(1, 64 - bit as usize) as u32;
            let before = free & !(ones(pages) << bit);
            let mask = ones(pages) << bit;
            let after = before | mask;
            if rank(after) > rank(before) {
                assert!(may_grow(after, rank(before), bit, mask), "{before:#x}, {bit}, {pages}");
                grown += 1;
            }
        }
        assert!(grown > 1000);
    }
}
