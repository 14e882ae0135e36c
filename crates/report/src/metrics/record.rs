//! The framing of TensorFlow's record files: length, check sum of the length, data, check sum of the data.
//!
//! Source: tensorflow/core/lib/io/record_writer.h and the page "TFRecord and tf.train.Example"; CRC-32C as in RFC 3720, appendix B.4.

/// Bytes around the data of a record.
const HEAD_BYTES: usize = 12;
const TAIL_BYTES: usize = 4;

/// CRC-32C of every byte, the polynomial of Castagnoli reversed.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

/// A check sum as records hold it: turned and shifted, so that a check sum over data with check sums is no accident.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Appends `data` as one record.
pub(super) fn append(out: &mut Vec<u8>, data: &[u8]) {
    let len = (data.len() as u64).to_le_bytes();
    out.extend(len);
    out.extend(masked(crc32c(&len)).to_le_bytes());
    out.extend(data);
    out.extend(masked(crc32c(data)).to_le_bytes());
}

/// The first record of `bytes` and how many bytes it takes; `None` if its end is not there.
///
/// # Errors
/// What is damaged.
pub(super) fn first(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, &'static str> {
    let Some((len, rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
    let Some((sum, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    if u32::from_le_bytes(*sum) != masked(crc32c(len)) {
        return Err("the check sum of a length is wrong");
    }
    let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX);
    let Some((data, rest)) = rest.split_at_checked(len) else { return Ok(None) };
    let Some((sum, _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    if u32::from_le_bytes(*sum) != masked(crc32c(data)) {
        return Err("the check sum of a record is wrong");
    }
    Ok(Some((data, HEAD_BYTES + len + TAIL_BYTES)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn check_sums_are_those_of_the_standard() {
        // RFC 3720, B.4, and the usual check value.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b""), 0);
        assert_eq!(masked(0), 0xa282_ead8);
    }

    proptest! {
        #[test]
        fn records_come_back_and_torn_ones_do_not(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5), cut in 1usize..60, flipped: u8
        ) {
            let mut bytes = Vec::new();
            records.iter().for_each(|record| append(&mut bytes, record));
            let mut rest = &bytes[..];
            for record in &records {
                let (data, len) = first(rest).unwrap().unwrap();
                prop_assert_eq!(data, &record[..]);
                rest = &rest[len..];
            }
            prop_assert_eq!(first(rest), Ok(None));
            let alone = HEAD_BYTES + records[0].len() + TAIL_BYTES;
            prop_assert_eq!(first(&bytes[..alone - cut.min(alone)]), Ok(None));
            // No flipped bit goes unseen.
            bytes[usize::from(flipped) % alone] ^= 1 << (flipped % 8);
            prop_assert!(first(&bytes[..alone]).is_err());
        }
    }
}
