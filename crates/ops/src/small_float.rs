//! The 8 and 4 bit floating point formats: from and to f32. Everything is rounded to the nearest, ties to even.

use lissom_tensor::DType;

/// Layout of a format: one sign bit, `mantissa_bits`, the rest is exponent.
struct Format {
    sign_bit: u8,
    mantissa_bits: i32,
    bias: i32,
    /// Code of the largest finite magnitude.
    max_code: u8,
    /// Code of +infinity.
    infinity: Option<u8>,
    /// Code of NaN, and whether it keeps the sign.
    nan: Option<(u8, bool)>,
    /// False if the code of −0 means something else.
    has_negative_zero: bool,
}

const fn format(dtype: DType) -> Option<Format> {
    let (bias, mantissa_bits, max_code, infinity, nan, has_negative_zero, sign_bit) = match dtype {
        DType::F8E4M3FN => (7, 3, 0x7e, None, Some((0x7f, true)), true, 0x80),
        DType::F8E4M3FNUZ => (8, 3, 0x7f, None, Some((0x80, false)), false, 0x80),
        DType::F8E5M2 => (15, 2, 0x7b, Some(0x7c), Some((0x7e, true)), true, 0x80),
        DType::F8E5M2FNUZ => (16, 2, 0x7f, None, Some((0x80, false)), false, 0x80),
        DType::F4E2M1 => (1, 1, 0x7, None, None, true, 0x8),
        _ => return None,
    };
    Some(Format { sign_bit, mantissa_bits, bias, max_code, infinity, nan, has_negative_zero })
}

/// The code nearest to `x`. Beyond the largest finite value it is that value if `saturate`, else infinity or NaN,
/// whichever the format has first. `F8E8M0` holds powers of two only and takes the nearest one, NaN below zero.
///
/// Types that are not small floats give 0.
pub(crate) fn encode(dtype: DType, x: f32, saturate: bool) -> u8 {
    if dtype == DType::F8E8M0 {
        return encode_e8m0(x, PowerRounding::Nearest, saturate);
    }
    let Some(format) = format(dtype) else { return 0 };
    let sign = if x.is_sign_negative() { format.sign_bit } else { 0 };
    if x.is_nan() {
        // A format without NaN gets −0, as ONNX's reference gives.
        return format.nan.map_or(format.sign_bit, |(code, keeps_sign)| if keeps_sign { code | sign } else { code });
    }
    let code = if x.is_infinite() { u32::MAX } else { format.round(f64::from(x.abs())) };
    if code > u32::from(format.max_code) {
        return match (saturate, format.infinity, format.nan) {
            (false, Some(infinity), _) => infinity | sign,
            (false, None, Some((nan, keeps_sign))) => nan | if keeps_sign { sign } else { 0 },
            _ => format.max_code | sign,
        };
    }
    if code == 0 && !format.has_negative_zero { 0 } else { code as u8 | sign }
}

/// The value of a code; exact. Types that are not small floats give NaN.
pub(crate) fn decode(dtype: DType, code: u8) -> f32 {
    if dtype == DType::F8E8M0 {
        return if code == 0xff { f32::NAN } else { exp2(i32::from(code) - 127) as f32 };
    }
    let Some(format) = format(dtype) else { return f32::NAN };
    let magnitude = code & (format.sign_bit - 1);
    let is_negative = code & format.sign_bit != 0;
    let value = match (format.nan, format.infinity) {
        (Some((nan, false)), _) if code == nan => return f32::NAN,
        (_, Some(infinity)) if magnitude == infinity => f64::INFINITY,
        (Some((_, true)), _) if magnitude > format.max_code => f64::NAN,
        _ => format.magnitude(magnitude),
    };
    (if is_negative { -value } else { value }) as f32
}

impl Format {
    /// Code of the nearest magnitude as if the format went on beyond its largest one.
    fn round(&self, magnitude: f64) -> u32 {
        if magnitude == 0.0 {
            return 0;
        }
        let exponent = exponent(magnitude).max(1 - self.bias);
        let steps = (magnitude / exp2(exponent - self.mantissa_bits)).round_ties_even() as u32;
        // At the smallest exponent this also is right for subnormals; a carry runs over into the exponent by itself.
        (((exponent + self.bias - 1) as u32) << self.mantissa_bits) + steps
    }

    fn magnitude(&self, code: u8) -> f64 {
        let mantissa_range = 1 << self.mantissa_bits;
        let (field, mantissa) = (i32::from(code) / mantissa_range, i32::from(code) % mantissa_range);
        let exponent = field.max(1) - self.bias - self.mantissa_bits;
        let implicit = if field > 0 { mantissa_range } else { 0 };
        f64::from(mantissa + implicit) * exp2(exponent)
    }
}

/// How a number between two powers of two becomes one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PowerRounding {
    Up,
    Down,
    Nearest,
}

/// The code of the power of two `x` becomes; NaN for NaN and for what is below zero. Zero is the smallest power. What
/// passes the largest power is that power if `saturate`, else NaN.
pub(crate) fn encode_e8m0(x: f32, rounding: PowerRounding, saturate: bool) -> u8 {
    const NAN: u8 = 0xff;
    const MAX: i32 = 0xfe;
    if x.is_nan() || x < 0.0 {
        return NAN;
    }
    if x.is_infinite() {
        return if saturate { MAX as u8 } else { NAN };
    }
    if x == 0.0 {
        return 0;
    }
    let x = f64::from(x);
    let below = exponent(x);
    let is_power = x == exp2(below);
    let is_up = match rounding {
        PowerRounding::Up => !is_power,
        PowerRounding::Down => false,
        PowerRounding::Nearest => x >= 1.5 * exp2(below),
    };
    let code = below + i32::from(is_up) + 127;
    match code {
        ..=0 => 0,
        1..=MAX => code as u8,
        _ if saturate => MAX as u8,
        _ => NAN,
    }
}

/// ⌊log₂ x⌋ of a positive number that is normal as f64, which every f32 is.
fn exponent(x: f64) -> i32 {
    (x.to_bits() >> 52) as i32 - 1023
}

fn exp2(exponent: i32) -> f64 {
    f64::from(exponent).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: [DType; 5] = [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ, DType::F4E2M1];

    #[test]
    fn every_code_survives_a_round_trip() {
        for dtype in SMALL {
            for code in 0..(1u32 << dtype.bits()) {
                let value = decode(dtype, code as u8);
                if !value.is_nan() {
                    assert_eq!(u32::from(encode(dtype, value, false)), code, "{dtype} {value}");
                }
            }
        }
        for code in 0..0xff {
            assert_eq!(encode(DType::F8E8M0, decode(DType::F8E8M0, code), true), code);
        }
    }

    #[test]
    fn every_number_goes_to_the_nearest_code() {
        for dtype in SMALL {
            let values: Vec<f32> =
                (0..=255u8).map(|code| decode(dtype, code)).filter(|value| value.is_finite()).collect();
            for i in -2000..2000 {
                let x = (i as f32 * 0.37).powi(3) * 1e-4;
                let got = decode(dtype, encode(dtype, x, true));
                let best = values.iter().map(|v| (v - x).abs()).fold(f32::INFINITY, f32::min);
                assert_eq!((got - x).abs(), best, "{dtype} {x}");
            }
        }
    }

    #[test]
    fn the_largest_values_are_those_of_the_formats() {
        let max = |dtype| decode(dtype, encode(dtype, f32::INFINITY, true));
        assert_eq!(SMALL.map(max), [448.0, 240.0, 57344.0, 57344.0, 6.0]);
        assert!(decode(DType::F8E4M3FN, encode(DType::F8E4M3FN, 1e6, false)).is_nan());
        assert_eq!(decode(DType::F8E5M2, encode(DType::F8E5M2, -1e6, false)), f32::NEG_INFINITY);
        assert!(decode(DType::F8E5M2FNUZ, encode(DType::F8E5M2FNUZ, 1e6, false)).is_nan());
    }
}
