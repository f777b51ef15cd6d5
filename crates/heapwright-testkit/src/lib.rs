//! What the tests share: a shadow oracle, an operation generator and a seeded PRNG.
