//! crc32c (Castagnoli), with the processor's instruction where there is one.

const POLY: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ POLY
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// Continues the checksum `crc` (0 to start) over `bytes`.
#[must_use]
pub fn update(crc: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if hardware() {
        // SAFETY: `hardware` saw SSE4.2.
        return unsafe { update_sse42(crc, bytes) };
    }
    update_table(crc, bytes)
}

/// Checksums of the three thirds of `bytes`, whose length is a multiple of 24, each from 0. The
/// processor works on all three at once.
#[must_use]
pub fn of_three(bytes: &[u8]) -> [u32; 3] {
    let third = bytes.len() / 3;
    assert!(third.is_multiple_of(8) && 3 * third == bytes.len());
    #[cfg(target_arch = "x86_64")]
    if hardware() {
        // SAFETY: `hardware` saw SSE4.2.
        return unsafe { three_sse42(bytes, third) };
    }
    let mut parts = bytes.chunks(third.max(1));
    core::array::from_fn(|_| update_table(0, parts.next().unwrap_or(&[])))
}

fn update_table(crc: u32, bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!crc, |crc, b| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ b)])
}

/// Whether SSE4.2 is there. cpuid is slow in virtual machines, so it is asked once.
#[cfg(target_arch = "x86_64")]
fn hardware() -> bool {
    use core::sync::atomic::{AtomicU8, Ordering};
    static KNOWN: AtomicU8 = AtomicU8::new(0);
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            let yes = core::arch::x86_64::__cpuid(1).ecx & (1 << 20) != 0;
            KNOWN.store(if yes { 2 } else { 1 }, Ordering::Relaxed);
            yes
        }
        v => v == 2,
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn update_sse42(crc: u32, bytes: &[u8]) -> u32 {
    use core::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    let mut state = u64::from(!crc);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = _mm_crc32_u64(state, u64::from_le_bytes(*word));
    }
    let mut state = state as u32;
    for b in rest {
        state = _mm_crc32_u8(state, *b);
    }
    !state
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn three_sse42(bytes: &[u8], third: usize) -> [u32; 3] {
    use core::arch::x86_64::_mm_crc32_u64;
    let (words, _) = bytes.as_chunks::<8>();
    let (a, rest) = words.split_at(third / 8);
    let (b, c) = rest.split_at(third / 8);
    let mut sums = [u64::from(u32::MAX); 3];
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        sums[0] = _mm_crc32_u64(sums[0], u64::from_le_bytes(*a));
        sums[1] = _mm_crc32_u64(sums[1], u64::from_le_bytes(*b));
        sums[2] = _mm_crc32_u64(sums[2], u64::from_le_bytes(*c));
    }
    sums.map(|sum| !(sum as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_both_ways() {
        // RFC 3720, appendix B.4.
        assert_eq!(update(0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(update(0, &[0xff; 32]), 0x62a8_ab43);
        assert_eq!(update(0, b"123456789"), 0xe306_9283);
        assert_eq!(update_table(0, b"123456789"), 0xe306_9283);
        let data: Vec<u8> = (0..1000u32).map(|i| (i * 7) as u8).collect();
        for cut in [0, 1, 7, 8, 500, 999] {
            let (a, b) = data.split_at(cut);
            assert_eq!(update(update(0, a), b), update_table(0, &data));
        }
        let thirds = of_three(&data[..984]);
        for (n, sum) in thirds.into_iter().enumerate() {
            assert_eq!(sum, update_table(0, &data[n * 328..][..328]));
        }
    }
}
