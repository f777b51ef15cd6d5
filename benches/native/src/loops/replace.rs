//! B3: random replacement. A ring of live blocks; each step frees the block of a random slot, allocates 16..=527
//! bytes there and writes one of them.

use crate::options::Options;
use crate::peer::Malloc;
use crate::report::{Line, measure};
use crate::sequence::{Form, Replace, form};

/// One ring and form; the ring is filled before, emptied after, and goes on from pass to pass.
pub(crate) fn run<P: Malloc>(options: &Options) -> Result<(), String> {
    let form = form(options)?;
    let log2 = options.number("ring", 10)? as u32;
    let steps = options.number("steps", 10_000_000)?;
    let mut sequence = Replace::new(form, log2);
    let mut ring: Vec<*mut u8> =
        (0..1_usize << log2).map(|_| P::malloc(sequence.step().1)).collect();
    let samples = match form {
        Form::A => measure(options, steps, || replace::<P, true>(&mut ring, &mut sequence, steps))?,
        Form::B => {
            measure(options, steps, || replace::<P, false>(&mut ring, &mut sequence, steps))?
        }
    };
    Line::new(&format!("{form:?} 2^{log2}"), "ns", &samples).print();
    for block in ring {
        // SAFETY: every entry of the ring is a live block.
        unsafe { P::free(block) };
    }
    Ok(())
}

/// `FORM_A` only gives each form a body of its own, so that the branch on it is gone.
#[inline(never)]
fn replace<P: Malloc, const FORM_A: bool>(
    ring: &mut [*mut u8],
    sequence: &mut Replace,
    steps: usize,
) -> usize {
    let mut sink = 0_usize;
    let mut local = if FORM_A { sequence.fixed_a() } else { sequence.fixed_b() };
    let mask = ring.len() - 1;
    for i in 0..steps {
        let (slot, size) = local.step();
        let slot = &mut ring[slot & mask];
        // SAFETY: every entry of the ring is a live block; this one is replaced at once.
        unsafe { P::free(*slot) };
        let p = P::malloc(size);
        // SAFETY: the block has at least 16 bytes; nobody else has it.
        unsafe { p.write(i as u8) };
        sink = sink.wrapping_add(p as usize);
        *slot = p;
    }
    *sequence = local;
    sink
}
