//! Random damage to the samples of operators.

use std::fmt;

use lissom_graph::{Attribute, Sample};
use lissom_tensor::{DType, Storage, Tensor, bf16, f16};

/// SplitMix64, seeded by a number and a name, so that a case stays the same when operators are added.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64, name: &str) -> Self {
        let hash = name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn int(&mut self) -> i64 {
        const ODD: [i64; 26] = [
            0,
            1,
            -1,
            2,
            -2,
            3,
            -3,
            4,
            5,
            7,
            8,
            63,
            64,
            65,
            -64,
            127,
            255,
            65_536,
            i32::MAX as i64,
            i32::MIN as i64,
            1 << 32,
            1 << 40,
            i64::MAX,
            i64::MAX - 1,
            i64::MIN,
            i64::MIN + 1,
        ];
        if self.below(2) == 0 { *self.of(&ODD[..12]) } else { *self.of(&ODD) }
    }

    fn float(&mut self) -> f64 {
        const ODD: [f64; 16] = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            2.5,
            1e-30,
            1e30,
            -1e30,
            1e300,
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            9.3e18,
        ];
        *self.of(&ODD)
    }
}

/// A node to read and run.
pub struct Case {
    pub opset: u32,
    pub attributes: Vec<(&'static str, Attribute)>,
    pub inputs: Vec<Option<Tensor>>,
    pub n_outputs: usize,
}

/// Attributes many operators read.
const NAMES: [&str; 36] = [
    "axis",
    "axes",
    "keepdims",
    "pads",
    "strides",
    "dilations",
    "kernel_shape",
    "auto_pad",
    "ceil_mode",
    "group",
    "perm",
    "alpha",
    "beta",
    "epsilon",
    "to",
    "mode",
    "blocksize",
    "num_outputs",
    "split",
    "k",
    "largest",
    "sorted",
    "scales",
    "num_groups",
    "direction",
    "hidden_size",
    "block_size",
    "batch_axis",
    "time_axis",
    "start",
    "end",
    "size",
    "storage_order",
    "output_shape",
    "output_padding",
    "num_heads",
];

const TEXTS: [&str; 14] = [
    "",
    "NOTSET",
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
    "constant",
    "reflect",
    "edge",
    "wrap",
    "linear",
    "cubic",
    "bidirectional",
    "ij,jk->ik",
    "\u{1F980}…,->",
];

impl Case {
    /// One to three kinds of damage to a sample.
    pub fn mutated(sample: &Sample, random: &mut Random) -> Self {
        let mut case = Self {
            opset: if random.below(3) == 0 { 1 + random.below(27) as u32 } else { *random.of(&[13, 18, 21, 25]) },
            attributes: sample.attributes.clone(),
            inputs: sample.inputs.clone(),
            n_outputs: sample.n_outputs,
        };
        for _ in 0..=random.below(3) {
            case.damage(random);
        }
        case
    }

    fn damage(&mut self, random: &mut Random) {
        let at = random.below(self.inputs.len());
        match random.below(14) {
            0 => self.inputs.truncate(at),
            1 => self.inputs.push(Some(any_tensor(random))),
            2 => self.n_outputs = random.below(5),
            3 if self.inputs.len() > 1 => {
                let other = random.below(self.inputs.len());
                self.inputs.swap(at, other);
            }
            4..=6 => self.damage_attribute(random),
            _ => {
                if let Some(input) = self.inputs.get_mut(at) {
                    *input = damaged(input.as_ref(), random);
                }
            }
        }
    }

    fn damage_attribute(&mut self, random: &mut Random) {
        if self.attributes.is_empty() || random.below(3) == 0 {
            let name = *random.of(&NAMES);
            let value = any_attribute(random);
            self.attributes.retain(|(own, _)| *own != name);
            self.attributes.push((name, value));
            return;
        }
        let at = random.below(self.attributes.len());
        if random.below(6) == 0 {
            self.attributes.remove(at);
            return;
        }
        let value = match &self.attributes[at].1 {
            Attribute::Int(_) if random.below(8) > 0 => Attribute::Int(random.int()),
            Attribute::Float(_) if random.below(8) > 0 => Attribute::Float(random.float() as f32),
            Attribute::Ints(values) if random.below(8) > 0 => {
                let mut values = values.clone();
                match random.below(4) {
                    0 => values.push(random.int()),
                    1 => drop(values.pop()),
                    _ if !values.is_empty() => {
                        let i = random.below(values.len());
                        values[i] = random.int();
                    }
                    _ => values = vec![random.int(); random.below(4)],
                }
                Attribute::Ints(values)
            }
            Attribute::Tensor(tensor) => damaged(Some(tensor), random).map_or(Attribute::Int(0), Attribute::Tensor),
            _ => any_attribute(random),
        };
        self.attributes[at].1 = value;
    }
}

fn any_attribute(random: &mut Random) -> Attribute {
    match random.below(8) {
        0 | 1 => Attribute::Int(random.int()),
        2 => Attribute::Float(random.float() as f32),
        3 => Attribute::Str((*random.of(&TEXTS)).to_owned()),
        4 => Attribute::Floats((0..random.below(5)).map(|_| random.float() as f32).collect()),
        5 => Attribute::Tensor(any_tensor(random)),
        6 => Attribute::Strs(vec!["Relu".to_owned(); random.below(4)]),
        _ => Attribute::Ints((0..random.below(5)).map(|_| random.int()).collect()),
    }
}

/// The input left out, or with other values, another type, another shape.
fn damaged(input: Option<&Tensor>, random: &mut Random) -> Option<Tensor> {
    let Some(tensor) = input else { return Some(any_tensor(random)) };
    match random.below(12) {
        0 => None,
        1 => Some(any_tensor(random)),
        2 => Some(made(*random.of(&DType::ALL), tensor.shape(), random)),
        3 => Some(Tensor::sequence(vec![tensor.clone(); random.below(3)])),
        4..=6 => Some(made(tensor.dtype(), tensor.shape(), random)),
        7..=8 => Some(one_poisoned(tensor, random)),
        _ => {
            let shape = other_shape(tensor.shape(), random);
            Some(made(tensor.dtype(), &shape, random))
        }
    }
}

fn other_shape(shape: &[usize], random: &mut Random) -> Vec<usize> {
    let mut shape = shape.to_vec();
    let at = random.below(shape.len());
    match random.below(5) {
        0 => shape.insert(random.below(shape.len() + 1), random.below(4)),
        1 if !shape.is_empty() => drop(shape.remove(at)),
        2 => shape = vec![1; random.below(8)],
        _ if !shape.is_empty() => shape[at] = *random.of(&[0, 1, 2, 3, 5, 17, 300]),
        _ => shape.push(0),
    }
    if shape.contains(&0) && random.below(4) == 0 {
        // Nothing is held, and yet an axis is long.
        shape.push(50_000);
    }
    if shape.iter().product::<usize>() > 20_000 { vec![300] } else { shape }
}

fn any_tensor(random: &mut Random) -> Tensor {
    let shape: Vec<usize> = (0..random.below(5)).map(|_| random.below(4)).collect();
    made(*random.of(&DType::ALL), &shape, random)
}

/// A tensor in which some values are odd.
fn made(dtype: DType, shape: &[usize], random: &mut Random) -> Tensor {
    let len = shape.iter().product();
    let is_wild = random.below(2) == 0;
    let mut int = |lo: i64| if is_wild { random.int() } else { random.below(4) as i64 + lo };
    let mut ints: Vec<i64> = (0..len).map(|_| int(-1)).collect();
    let floats: Vec<f64> = (0..len).map(|i| if is_wild { random.float() } else { i as f64 * 0.25 - 1.0 }).collect();
    let bits = dtype.bits().min(8) as u32;
    let storage = match dtype {
        DType::F32 => Storage::F32(floats.iter().map(|&x| x as f32).collect()),
        DType::F64 => Storage::F64(floats),
        DType::F16 => Storage::F16(floats.iter().map(|&x| f16::from_f64(x)).collect()),
        DType::BF16 => Storage::BF16(floats.iter().map(|&x| bf16::from_f64(x)).collect()),
        DType::I8 => Storage::I8(ints.iter().map(|&x| x as i8).collect()),
        DType::I16 => Storage::I16(ints.iter().map(|&x| x as i16).collect()),
        DType::I32 => Storage::I32(ints.iter().map(|&x| x as i32).collect()),
        DType::I64 => Storage::I64(std::mem::take(&mut ints)),
        DType::U8 => Storage::U8(ints.iter().map(|&x| x as u8).collect()),
        DType::U16 => Storage::U16(ints.iter().map(|&x| x as u16).collect()),
        DType::U32 => Storage::U32(ints.iter().map(|&x| x as u32).collect()),
        DType::U64 => Storage::U64(ints.iter().map(|&x| x as u64).collect()),
        DType::Bool => Storage::Bool(ints.iter().map(|&x| x > 0).collect()),
        DType::I4 | DType::I2 => {
            let half = 1i64 << (bits - 1);
            Storage::SmallInt(dtype, ints.iter().map(|&x| (x.rem_euclid(2 * half) - half) as i8).collect())
        }
        DType::U4 | DType::U2 => {
            Storage::SmallUint(dtype, ints.iter().map(|&x| x.rem_euclid(1 << bits) as u8).collect())
        }
        DType::C64 => Storage::C64(floats.iter().map(|&x| [x as f32, 1.0]).collect()),
        DType::C128 => Storage::C128(floats.iter().map(|&x| [x, 1.0]).collect()),
        DType::Str => Storage::Str(ints.iter().map(|x| format!("é{x}")).collect()),
        DType::Sequence => return Tensor::sequence(vec![Tensor::vector(floats); len % 3]),
        DType::Optional => return Tensor::optional((len > 1).then(|| Tensor::vector(floats))),
        _ => Storage::SmallFloat(dtype, ints.iter().map(|&x| x.rem_euclid(1 << bits) as u8).collect()),
    };
    Tensor::from_storage(shape.to_vec(), storage).unwrap_or_else(|_| Tensor::scalar(0f32))
}

/// One value is odd, the others stay.
fn one_poisoned(tensor: &Tensor, random: &mut Random) -> Tensor {
    let mut tensor = tensor.clone();
    if tensor.is_empty() {
        return tensor;
    }
    let at = random.below(tensor.len());
    let (int, float) = (random.int(), random.float());
    if let Ok(values) = tensor.as_mut_slice::<i64>() {
        values[at] = int;
    } else if let Ok(values) = tensor.as_mut_slice::<i32>() {
        values[at] = int as i32;
    } else if let Ok(values) = tensor.as_mut_slice::<f32>() {
        values[at] = float as f32;
    } else if let Ok(values) = tensor.as_mut_slice::<f64>() {
        values[at] = float;
    }
    tensor
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at opset {}, {} outputs, attributes {{", self.opset, self.n_outputs)?;
        for (name, value) in &self.attributes {
            match value {
                Attribute::Graph(_) => write!(f, "{name}: graph, ")?,
                value => write!(f, "{name}: {}, ", short(&format!("{value:?}")))?,
            }
        }
        f.write_str("}, inputs [")?;
        for input in &self.inputs {
            match input {
                Some(tensor) => {
                    write!(
                        f,
                        "{}{:?} {}, ",
                        tensor.dtype(),
                        tensor.shape(),
                        short(&format!("{:?}", tensor.storage()))
                    )?;
                }
                None => f.write_str("none, ")?,
            }
        }
        f.write_str("]")
    }
}

fn short(text: &str) -> String {
    text.chars().take(160).collect()
}
