//! The one piece of arithmetic that aws-lc-rs does not offer: the exponents of the Chinese remainder theorem,
//! which SSH does not carry along. Big-number crates leave copies of their operands behind in freed memory;
//! this one wipes its own.

use zeroize::Zeroizing;

/// `value` modulo `modulus`, big-endian, as long as `modulus`. Binary long division: its time depends on the
/// lengths alone. `modulus` must not be zero.
pub(super) fn remainder(value: &[u8], modulus: &[u8]) -> Zeroizing<Vec<u8>> {
    let modulus_length = modulus.len();
    let modulus = Zeroizing::new(limbs(modulus));
    let mut rest = Zeroizing::new(vec![0_u64; modulus.len()]);
    let mut reduced = Zeroizing::new(vec![0_u64; modulus.len()]);
    for byte in value {
        for bit in (0..8).rev() {
            let mut carry = u64::from(byte >> bit & 1);
            let mut borrow = false;
            for ((rest, reduced), modulus) in rest.iter_mut().zip(reduced.iter_mut()).zip(modulus.iter()) {
                let doubled = *rest << 1 | carry;
                carry = *rest >> 63;
                *rest = doubled;
                let (difference, first) = doubled.overflowing_sub(*modulus);
                let (difference, second) = difference.overflowing_sub(u64::from(borrow));
                *reduced = difference;
                borrow = first | second;
            }
            // The top limb has a free bit (see `limbs`), so nothing is carried out, and a borrow means
            // "smaller".
            let keep = u64::from(borrow).wrapping_neg();
            for (rest, reduced) in rest.iter_mut().zip(reduced.iter()) {
                *rest = (*rest & keep) | (*reduced & !keep);
            }
        }
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * rest.len()));
    for limb in rest.iter().rev() {
        bytes.extend_from_slice(&limb.to_be_bytes());
    }
    let excess = bytes.len() - modulus_length;
    Zeroizing::new(bytes[excess..].to_vec())
}

/// Little-endian limbs, with at least one free bit at the top.
fn limbs(bytes: &[u8]) -> Vec<u64> {
    let mut limbs = vec![0_u64; bytes.len() / 8 + 1];
    for (place, byte) in bytes.iter().rev().enumerate() {
        limbs[place / 8] |= u64::from(*byte) << (8 * (place % 8));
    }
    limbs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_native_division(value: u128, modulus in 1..u128::MAX, length in 1..16_usize) {
            let modulus = (modulus >> (8 * (16 - length))).max(1);
            let expected = (value % modulus).to_be_bytes();
            let short = &modulus.to_be_bytes()[16 - length..];
            prop_assert_eq!(&remainder(&value.to_be_bytes(), short)[..], &expected[16 - length..]);
        }

        /// (a * modulus + b) mod modulus is b, with numbers wider than any native one.
        #[test]
        fn a_multiple_leaves_nothing(factor: u64, modulus in prop::collection::vec(any::<u8>(), 20..40), rest: u8) {
            let mut modulus = modulus;
            modulus[0] |= 1;
            let mut value = vec![0_u8; modulus.len() + 8];
            let mut carry = u128::from(rest);
            for (place, byte) in value.iter_mut().rev().enumerate() {
                let digit = modulus.len().checked_sub(place + 1).map_or(0, |at| modulus[at]);
                carry += u128::from(factor) * u128::from(digit);
                *byte = carry as u8;
                carry >>= 8;
            }
            let mut expected = vec![0; modulus.len()];
            *expected.last_mut().unwrap() = rest;
            prop_assert_eq!(&remainder(&value, &modulus)[..], &expected[..]);
        }
    }
}
