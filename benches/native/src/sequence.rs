//! The generators of the suite: what is allocated, where it is put, in which order.
//!
//! `benches/support/sequence.ts` holds the same ones in JavaScript; `__test__/benches.spec.ts` compares the two
//! number by number. Everything is 32-bit arithmetic that wraps, so that JavaScript's integers can follow.
//!
//! A generator yields steps; it knows no allocator. Seeds are fixed: 12345 for slots and 777 for sizes, as in the
//! protocol (`PERFORMANCE.md` section 4), and 4141 for larson.

use std::fmt::Write as _;

use crate::options::Options;

/// Seed of the slots of B3.
pub(crate) const SEED_SLOT: u32 = 12345;
/// Seed of the sizes of B3 in form B.
pub(crate) const SEED_SIZE: u32 = 777;
/// Seed of larson (B7).
pub(crate) const SEED_LARSON: u32 = 4141;

/// One step of the first linear congruential generator.
#[inline]
pub(crate) const fn next_x(x: u32) -> u32 {
    x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}

/// One step of the second one.
#[inline]
pub(crate) const fn next_y(y: u32) -> u32 {
    y.wrapping_mul(22_695_477).wrapping_add(1)
}

/// Where the sizes of B3 come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Slot and size from one generator: from 2^15 slots on a slot always gets the same size.
    A,
    /// A second generator for the size: the size of a slot drifts.
    B,
}

/// B3: random replacement in a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replace {
    x: u32,
    y: u32,
    mask: u32,
    form: Form,
}

impl Replace {
    /// A ring of `2^log2` slots.
    pub(crate) const fn new(form: Form, log2: u32) -> Self {
        Self { x: SEED_SLOT, y: SEED_SIZE, mask: (1 << log2) - 1, form }
    }

    /// The same generator, with a form that the compiler can see.
    #[cfg(feature = "peers")]
    #[inline]
    pub(crate) const fn fixed_a(self) -> Self {
        Self { form: Form::A, ..self }
    }

    /// As [`Self::fixed_a`].
    #[cfg(feature = "peers")]
    #[inline]
    pub(crate) const fn fixed_b(self) -> Self {
        Self { form: Form::B, ..self }
    }

    /// The next (slot, size): 16..=527 bytes.
    #[inline]
    pub(crate) const fn step(&mut self) -> (usize, usize) {
        self.x = next_x(self.x);
        let slot = (self.x >> 6) & self.mask;
        let bits = match self.form {
            Form::A => self.x >> 8,
            Form::B => {
                self.y = next_y(self.y);
                self.y >> 20
            }
        };
        (slot as usize, 16 + (bits & 511) as usize)
    }
}

/// B7: a thread's share of larson, 5000 slots, 8..=1000 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Larson {
    x: u32,
    y: u32,
}

/// Slots of a larson thread.
pub(crate) const LARSON_SLOTS: u32 = 5000;
/// Steps after which a larson thread hands its slots to the next one.
#[cfg(feature = "peers")]
pub(crate) const LARSON_TURN: usize = 100 * 5000;

impl Larson {
    /// The generator of thread `index`.
    pub(crate) const fn new(index: u32) -> Self {
        Self {
            x: SEED_LARSON.wrapping_add(index),
            y: SEED_LARSON.wrapping_add(index).wrapping_mul(31),
        }
    }

    /// The next (slot, size).
    #[inline]
    pub(crate) const fn step(&mut self) -> (usize, usize) {
        self.x = next_x(self.x);
        self.y = next_y(self.y);
        let slot = ((self.x >> 16) * LARSON_SLOTS) >> 16;
        let size = 8 + (((self.y >> 16) * 993) >> 16);
        (slot as usize, size as usize)
    }
}

/// A permutation of `0..count` by Fisher and Yates, from the first generator.
///
/// The index is computed in `f64`, exactly as JavaScript does.
pub(crate) fn shuffle(count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    let mut x = SEED_SLOT;
    for i in (1..count).rev() {
        x = next_x(x);
        order.swap(i, below(x, i + 1));
    }
    order
}

/// A number below `n` from the 32 bits of `x`.
#[inline]
#[expect(clippy::cast_sign_loss, reason = "both factors are positive")]
pub(crate) fn below(x: u32, n: usize) -> usize {
    (f64::from(x) * (n as f64) / 4_294_967_296.0) as usize
}

/// B9: (size, blocks) of one call of the sh6bench pattern, in order.
///
/// The base grows from 1 by `x 1.5 + 1` while it is at most 1000; each base is halved down to 1; 250 blocks of a
/// size are allocated while the base is below 100 bytes, else 50.
pub(crate) fn sh6_call() -> Vec<(usize, usize)> {
    let mut steps = Vec::new();
    let mut base = 1;
    while base <= 1000 {
        let blocks = if base < 100 { 250 } else { 50 };
        let mut size = base;
        while size > 0 {
            steps.push((size, blocks));
            size /= 2;
        }
        base = base * 3 / 2 + 1;
    }
    steps
}

/// B16: sizes below a power of two from 2^6 to 2^15, itself chosen at random: many small blocks, few large ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    x: u32,
    y: u32,
}

impl Mix {
    /// The generator of round `round`.
    pub(crate) const fn new(round: u32) -> Self {
        Self { x: SEED_SLOT.wrapping_add(round), y: SEED_SIZE.wrapping_add(round) }
    }

    /// The next size, from 1.
    #[inline]
    pub(crate) fn size(&mut self) -> usize {
        self.x = next_x(self.x);
        self.y = next_y(self.y);
        let log2 = 6 + (((self.x >> 16) * 10) >> 16);
        1 + below(self.y, (1 << log2) - 1)
    }
}

/// Prints `count` steps of a generator as `a b` lines.
pub(crate) fn print(options: &Options) -> Result<String, String> {
    let count = options.number("count", 1000)?;
    let mut out = String::new();
    let mut line = |a: usize, b: usize| {
        let _ = writeln!(out, "{a} {b}");
    };
    match options.text("of", "replace") {
        "replace" => {
            let form = form(options)?;
            let mut replace = Replace::new(form, options.number("ring", 10)? as u32);
            for _ in 0..count {
                let (slot, size) = replace.step();
                line(slot, size);
            }
        }
        "larson" => {
            let mut larson = Larson::new(options.number("thread", 0)? as u32);
            for _ in 0..count {
                let (slot, size) = larson.step();
                line(slot, size);
            }
        }
        "shuffle" => shuffle(count).iter().enumerate().for_each(|(i, &at)| line(i, at as usize)),
        "sh6" => sh6_call().iter().for_each(|&(size, blocks)| line(size, blocks)),
        "mix" => {
            let mut mix = Mix::new(options.number("round", 0)? as u32);
            (0..count).for_each(|i| line(i, mix.size()));
        }
        other => return Err(format!("no generator is called {other}")),
    }
    Ok(out)
}

/// The form that `form=` names.
pub(crate) fn form(options: &Options) -> Result<Form, String> {
    match options.text("form", "A") {
        "A" => Ok(Form::A),
        "B" => Ok(Form::B),
        other => Err(format!("form must be A or B, got {other}")),
    }
}
