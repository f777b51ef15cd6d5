/**
 * @file Numbers as people read them, the same in the terminal and in the report.
 *
 * A figure that stands in a table here stands in the HTML report to the digit, because both are made
 * by these functions.
 */

/** `1536` is `1.50 KiB`: three digits and a binary unit. */
export function bytesText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes;
  let unit = 0;
  while (value >= 1023.95 && unit < 5) {
    value /= 1024;
    unit++;
  }
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'][unit]}`;
}

/** `1234` is `1.23 µs`: three digits and a unit. */
export function nsText(ns: number): string {
  if (ns < 1000) return `${ns < 100 ? Math.round(ns * 10) / 10 : Math.round(ns)} ns`;
  let value = ns;
  let unit = 0;
  while (value >= 999.5 && unit < 3) {
    value /= 1000;
    unit++;
  }
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${['ns', 'µs', 'ms', 's'][unit]}`;
}

/** `1234567` is `1,234,567`. */
export function countText(count: number): string {
  return count.toLocaleString('en-US');
}

/** `0.1234` is `12.3 %`. */
export function shareText(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** `3.14` is `3.1x`; from 10 on without a fraction. */
export function timesText(ratio: number): string {
  return `${ratio >= 9.95 ? countText(Math.round(ratio)) : ratio.toFixed(1)}x`;
}
