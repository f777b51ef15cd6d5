/**
 * @file The contents that `verify` gives to blocks, and the check that they are still there.
 *
 * Every byte of a block is filled: with 32-bit words that follow from the block's id and the word's
 * place, and single bytes at the end. Whoever writes over any part of a live block (a second owner of
 * its bytes, a realloc that copied too little) changes a word, and the check names the byte.
 *
 * Words are written in this machine's byte order; nothing leaves the process.
 */

/** Word `index` of the block of `id`: a multiplicative hash, so that neighbours have nothing in common. */
function tagWord(id: number, index: number): number {
  let word = Math.imul(id + 1, 0x9e37_79b1) ^ Math.imul(index + 1, 0x85eb_ca77);
  word ^= word >>> 15;
  return Math.imul(word, 0x2c1b_3c6d) >>> 0;
}

/** Fills `bytes`, the whole block of `id`, with its tag. */
export function writeTag(bytes: Uint8Array, id: number): void {
  const words = bytes.length >>> 2;
  const aligned = (bytes.byteOffset & 3) === 0;
  let tail = 0;
  if (aligned) {
    const view = new Uint32Array(bytes.buffer, bytes.byteOffset, words);
    for (let i = 0; i < words; i++) view[i] = tagWord(id, i);
    tail = words * 4;
  }
  for (let i = tail; i < bytes.length; i++) bytes[i] = tagWord(id, i >>> 2) >>> ((i & 3) * 8);
}

/** Index of the first byte of `bytes` that does not carry the tag of `id`; -1 if all do. */
export function findTagFault(bytes: Uint8Array, id: number): number {
  const words = bytes.length >>> 2;
  let from = 0;
  if ((bytes.byteOffset & 3) === 0) {
    const view = new Uint32Array(bytes.buffer, bytes.byteOffset, words);
    while (from < words && view[from] === tagWord(id, from)) from++;
    from *= 4;
  }
  // Bytes from the first differing word on, in little-endian order of that word, as they were written.
  for (let i = from; i < bytes.length; i++) {
    if (bytes[i] !== ((tagWord(id, i >>> 2) >>> ((i & 3) * 8)) & 0xff)) return i;
  }
  return -1;
}

/** Index of the first byte that is not zero; -1 if all are. */
export function findNonZero(bytes: Uint8Array): number {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return i;
  return -1;
}
