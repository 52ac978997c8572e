//! The memory of a running process, which root may read even where its own user may not.
//!
//! The private half of an imported key exists nowhere but in the daemon. To be able to look for it elsewhere, it is taken
//! from there: among all numbers in memory, it is the one that fits the public half.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rsa::BigUint;

/// What a process has written to since it began: heap, stacks and other private memory, one piece for each mapping.
///
/// # Panics
/// When it cannot be read, which needs root.
pub(crate) fn of(process: u32) -> Vec<Vec<u8>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("the process runs");
    let memory =
        File::open(format!("/proc/{process}/mem")).expect("root may read the memory of every process");
    let pieces: Vec<Vec<u8>> = maps
        .lines()
        .filter_map(|line| {
            // proc_pid_maps(5): range, permissions, offset, device, inode and perhaps a name.
            let mut fields = line.split_whitespace();
            let (range, permissions) = (fields.next()?, fields.next()?);
            if !permissions.starts_with("rw") {
                return None;
            }
            let (start, end) = range.split_once('-')?;
            let start = u64::from_str_radix(start, 16).ok()?;
            let end = u64::from_str_radix(end, 16).ok()?;
            let mut piece = vec![0; usize::try_from(end - start).ok()?];
            // A mapping may be gone by now.
            memory.read_exact_at(&mut piece, start).ok()?;
            Some(piece)
        })
        .collect();
    assert!(!pieces.is_empty(), "nothing could be read of process {process}");
    pieces
}

/// A prime of this modulus: aws-lc keeps it as 64-bit words, the least first.
pub(crate) fn prime_of(memory: &[Vec<u8>], modulus: &BigUint) -> Option<BigUint> {
    let length = modulus.bits().div_ceil(16);
    let zero = BigUint::from(0_u8);
    windows(memory, length).find_map(|bytes| {
        // It is odd, and at least 2^(bits - 1/2): the product of two has its full length (FIPS 186-5, A.1.1).
        if bytes[0] & 1 == 0 || bytes[length - 1] < 0xb5 || !looks_random(&bytes[..32]) {
            return None;
        }
        let number = BigUint::from_bytes_le(bytes);
        (modulus % &number == zero).then_some(number)
    })
}

/// The private number that belongs to a public point of the curve P-256 (uncompressed, SEC 1), big-endian.
pub(crate) fn p256_scalar_of(memory: &[Vec<u8>], point: &[u8]) -> Option<Vec<u8>> {
    windows(memory, 32).find_map(|bytes| {
        if !looks_random(bytes) {
            return None;
        }
        let number: Vec<u8> = bytes.iter().rev().copied().collect();
        EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &number, point)
            .is_ok()
            .then_some(number)
    })
}

/// All places that an array of words may begin at.
fn windows(memory: &[Vec<u8>], length: usize) -> impl Iterator<Item = &[u8]> {
    memory
        .iter()
        .flat_map(move |piece| piece.windows(length).step_by(size_of::<u64>()))
}

/// Text, pointers and zeros have few different bytes; 32 random ones have 30 on average, and less than 20 never.
fn looks_random(bytes: &[u8]) -> bool {
    let mut seen = [0_u64; 4];
    for &byte in bytes {
        seen[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }
    seen.iter().map(|bits| bits.count_ones()).sum::<u32>() >= 20
}
