//! Runs the steps of a plan.

use lissom_graph::{Inputs, OpError};
use lissom_kernels::attention;
use lissom_kernels::elementwise::{self, Operand};
use lissom_kernels::gemm::{self, Batch};
use lissom_kernels::pool;
use lissom_kernels::qgemm::Dequantize;
use lissom_kernels::quantize::{self, Bytes};
use lissom_kernels::rows::{self, Mask};
use lissom_kernels::{Epilogue, ShapeError, Threads, permute};
use lissom_tensor::{Storage, Tensor, ValuesMut, ViewMut};

use super::binding::Slot;
use super::memory::Arena;
use super::operands::{Operands, bytes_mut};
use super::step::{Elem, Inner, Kind, Plan, Spread, Step, Target};
use super::{map, movement, quantized};
use crate::EngineError;
use crate::product::Call;

impl Plan {
    /// The outputs for these inputs. Those that leave go into `results`, as far as they are wanted; the others are given
    /// back. `watch` is told of each step when it is done.
    pub fn run(
        &self,
        inputs: Vec<Slot<'_>>,
        results: &mut [Option<ViewMut<'_>>],
        arena: &mut Arena,
        threads: &Threads,
        mut watch: impl FnMut(usize),
    ) -> Result<Vec<Option<Tensor>>, EngineError> {
        let words = arena.words(self.arena_words);
        let mut slots = self.slots(inputs);
        for (index, step) in self.steps.iter().enumerate() {
            let result = step.output.map(|output| results.get_mut(output).and_then(Option::as_mut));
            match result {
                None => self.step(step, words, &mut slots, threads)?,
                Some(result) => self.last_step(step, words, &slots, result, threads)?,
            }
            for &slot in &step.frees {
                slots[slot] = Slot::Empty;
            }
            watch(index);
        }
        self.outputs.iter().map(|output| self.given_back(output, &slots)).collect()
    }

    fn step<'s>(
        &self,
        step: &Step,
        words: &mut [f32],
        slots: &mut [Slot<'s>],
        threads: &Threads,
    ) -> Result<(), EngineError> {
        match &step.target {
            Target::Buffer(id) => {
                let (place, len) = &self.places[*id];
                let (left, rest) = words.split_at_mut(place.start);
                let (out, right) = rest.split_at_mut(place.len());
                let operands = Operands { plan: self, slots, left, right, right_start: place.end, step };
                run_kernel(&operands, out, *len, threads)
            }
            Target::Slots(targets) => {
                let operands = Operands { plan: self, slots, left: words, right: &[], right_start: 0, step };
                let results = run_to_tensors(&operands)?;
                for (target, result) in targets.iter().zip(results) {
                    if let Some(slot) = target {
                        slots[*slot] = Slot::Tensor(result);
                    }
                }
                Ok(())
            }
        }
    }

    /// A step that makes an output which leaves: the kernel that may write it where the caller wants it, or the copy.
    fn last_step(
        &self,
        step: &Step,
        words: &mut [f32],
        slots: &[Slot<'_>],
        result: Option<&mut ViewMut<'_>>,
        threads: &Threads,
    ) -> Result<(), EngineError> {
        let Some(result) = result else { return Ok(()) };
        let operands = Operands { plan: self, slots, left: words, right: &[], right_start: 0, step };
        let dtype = result.dtype();
        let elem = Elem::of_codes(Some(dtype)).unwrap_or(Elem::F32);
        match (&step.target, result.values_mut()) {
            (Target::Buffer(id), ValuesMut::F32(out)) => run_kernel(&operands, out, self.places[*id].1, threads),
            (Target::Slots(_), _) if step.is_in_place => Ok(()),
            (Target::Slots(_), ValuesMut::F32(out)) => copied(&operands, operands.f32(0)?, out),
            (_, out) => match (operands.bytes(0, elem)?, out) {
                (Bytes::U8(x), ValuesMut::U8(out)) => copied(&operands, x, out),
                (Bytes::I8(x), ValuesMut::I8(out)) => copied(&operands, x, out),
                _ => Err(operands.error(OpError::UnsupportedType { index: 0, actual: dtype })),
            },
        }
    }
}

fn copied<T: Copy>(operands: &Operands<'_>, x: &[T], out: &mut [T]) -> Result<(), EngineError> {
    ShapeError::expect("out", out.len(), x.len()).map_err(|source| operands.kernel_error(source))?;
    out.copy_from_slice(x);
    Ok(())
}

fn run_to_tensors(operands: &Operands<'_>) -> Result<Vec<Tensor>, EngineError> {
    let step = operands.step;
    match &step.kind {
        Kind::Store { shape, elem } => {
            let storage = match elem {
                Elem::F32 => Storage::F32(operands.f32(0)?.to_vec()),
                _ => match operands.bytes(0, *elem)? {
                    Bytes::U8(x) => Storage::U8(x.to_vec()),
                    Bytes::I8(x) => Storage::I8(x.to_vec()),
                },
            };
            let tensor = Tensor::from_storage(shape.clone(), storage);
            Ok(vec![tensor.map_err(|source| operands.error(source.into()))?])
        }
        Kind::Evaluate { op, inputs } => {
            let tensors: Vec<Option<&Tensor>> = inputs
                .iter()
                .map(|position| position.map(|position| operands.tensor(position)).transpose())
                .collect::<Result<_, _>>()?;
            let results = op.evaluate(&Inputs(&tensors)).map_err(|source| operands.error(source))?;
            let wanted = match &step.target {
                Target::Slots(slots) => slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1),
                Target::Buffer(_) => 0,
            };
            if results.len() < wanted {
                let reason = format!("{} outputs were made, {wanted} are used", results.len());
                return Err(operands.error(OpError::value(reason)));
            }
            Ok(results)
        }
        _ => Err(operands.error(OpError::value("a kernel without a buffer to write to"))),
    }
}

/// `words` is the target; in-place steps find their first input in it.
fn run_kernel(operands: &Operands<'_>, words: &mut [f32], len: usize, threads: &Threads) -> Result<(), EngineError> {
    let step = operands.step;
    let x = |index: usize| operands.f32(index);
    let optional = |index: usize| if operands.has(index) { operands.f32(index).map(Some) } else { Ok(None) };
    let done: Result<(), ShapeError> = match &step.kind {
        Kind::Transpose { size, elem } => match elem {
            Elem::F32 => permute::transpose(threads, x(0)?, *size, words),
            elem => {
                let mut out = bytes_mut(words, len, *elem);
                permute::transpose_bytes(threads, operands.bytes(0, *elem)?, *size, &mut out)
            }
        },
        Kind::Permute { shape, perm, elem } => match elem {
            Elem::F32 => permute::permute(threads, x(0)?, shape, perm, words),
            elem => {
                let mut out = bytes_mut(words, len, *elem);
                permute::permute_bytes(threads, operands.bytes(0, *elem)?, shape, perm, &mut out)
            }
        },
        Kind::Move { fill, parts, elem } => return movement::moves(operands, parts, *fill, *elem, words, len),
        Kind::Product { packed, images, from, to, activation } => {
            let epilogue = Epilogue { bias: packed.bias.as_deref(), residual: optional(1)?, activation: *activation };
            let call = Call { threads, x: x(0)?, images: *images, from: *from, to: *to, epilogue };
            packed.product.run(&call, words)
        }
        Kind::Products(products) => {
            let batch = Batch {
                m: products.m,
                k: products.k,
                n: products.n,
                a_strides: products.a_strides,
                b_strides: products.b_strides,
                out_stride: products.out_stride,
                offsets: &products.offsets,
                scale: products.scale,
                activation: products.activation,
            };
            gemm::batched(threads, &batch, x(0)?, x(1)?, words)
        }
        Kind::Attention(own) => {
            let shape = attention::Attention {
                queries: own.queries,
                keys: own.keys,
                d: own.d,
                d_v: own.d_v,
                q_strides: own.q_strides,
                k_strides: own.k_strides,
                v_strides: own.v_strides,
                mask_stride: own.mask_stride,
                out_stride: own.out_stride,
                offsets: &own.offsets,
                scale: own.scale,
                side_grids: own.side_grids,
                score_grid: own.score_grid,
                weight_grid: own.weight_grid,
            };
            if let Some(integer) = &own.integer {
                return quantized::attention(operands, &shape, integer, words, len, threads);
            }
            attention::attention(threads, &shape, x(0)?, x(1)?, x(2)?, optional(3)?, words)
        }
        Kind::Unary(op) if step.is_in_place => {
            elementwise::unary_in_place(threads, *op, words);
            Ok(())
        }
        Kind::Unary(op) => elementwise::unary(threads, *op, x(0)?, words),
        Kind::Binary { op, spread } => return run_binary(operands, *op, spread, words, threads),
        Kind::ScaleBias { scale, bias, activation } => {
            elementwise::scale_bias(threads, x(0)?, scale, bias, *activation, words)
        }
        Kind::LayerNorm(norm) => rows::layer_norm(threads, x(0)?, norm.n, None, &map::layer_norm(norm), words),
        Kind::Softmax { n, rows_a_mask } => {
            let mask = optional(1)?.map(|values| Mask { values, rows_a_mask: *rows_a_mask });
            if step.is_in_place {
                rows::softmax_in_place(threads, words, *n, mask)
            } else {
                rows::softmax(threads, x(0)?, *n, mask, words)
            }
        }
        Kind::Pool { shape, images, elem: Elem::F32 } => pool::pool(threads, x(0)?, *images, shape, words),
        Kind::Pool { shape, images, elem } => {
            let mut out = bytes_mut(words, len, *elem);
            pool::max_pool_bytes(threads, operands.bytes(0, *elem)?, *images, shape, &mut out)
        }
        Kind::Reduce { op, shape } => rows::reduce(threads, *op, x(0)?, *shape, words),
        Kind::Gather { outer, length, inner } => {
            return movement::gather(operands, [*outer, *length, *inner], words, threads);
        }
        Kind::Quantize { grid } => {
            let mut out = bytes_mut(words, len, grid.elem);
            quantize::quantize(threads, x(0)?, grid.scale, grid.zero_point, &mut out)
        }
        Kind::Dequantize { grid } => {
            quantize::dequantize(threads, operands.bytes(0, grid.elem)?, grid.scale, grid.zero_point, words)
        }
        Kind::QProduct { packed, images, grid, finish } => {
            return quantized::product(operands, packed, *images, grid, finish, words, len, threads);
        }
        Kind::DynamicProduct { packed, images, scales, bias, activation } => {
            let residual = optional(1)?;
            let finish = Dequantize { scales, bias: bias.as_deref(), residual, activation: *activation };
            quantized::dynamic_product(&***packed, x(0)?, *images, finish, words, threads)
        }
        Kind::QAdd { grids, to, clamp } => {
            return quantized::add(operands, grids, to, *clamp, words, len, threads);
        }
        Kind::Compute(compute) => return compute.run(operands, words, threads),
        Kind::Map(map) => return map::map(operands, map, words, len, threads),
        Kind::Store { .. } | Kind::Evaluate { .. } => return Ok(()),
    };
    done.map_err(|source| operands.kernel_error(source))
}

fn run_binary(
    operands: &Operands<'_>,
    op: elementwise::Binary,
    spread: &Spread,
    out: &mut [f32],
    threads: &Threads,
) -> Result<(), EngineError> {
    let step = operands.step;
    let a = if step.is_in_place { None } else { Some(operands.f32(0)?) };
    let b = operands.f32(1)?;
    let (a_len, b_len) = match spread.inner {
        Inner::Same { len } => (len, len),
        Inner::Scalar { len } => (len, 1),
        Inner::Row { rows, len } => (rows * len, len),
        Inner::Column { rows, len } => (rows * len, rows),
    };
    let count: usize = spread.outer.iter().map(|(count, _)| count).product();
    let short = |what, expected, got| operands.kernel_error(ShapeError::Length { what, expected, got });
    for index in 0..count {
        let (mut rest, mut b_start) = (index, 0);
        for &(count, by) in spread.outer.iter().rev() {
            b_start += rest % count * by;
            rest /= count;
        }
        let at = index * a_len..(index + 1) * a_len;
        let b = b.get(b_start..b_start + b_len).ok_or_else(|| short("b", b_start + b_len, b.len()))?;
        let operand = match spread.inner {
            Inner::Same { .. } => Operand::Same(b),
            Inner::Scalar { .. } => Operand::Scalar(b[0]),
            Inner::Row { .. } => Operand::Row(b),
            Inner::Column { len, .. } => Operand::Column { values: b, row_len: len },
        };
        let (expected, got) = (at.end, out.len());
        let to = out.get_mut(at.clone()).ok_or_else(|| short("out", expected, got))?;
        let done = match a {
            None => elementwise::binary_in_place(threads, op, to, operand),
            Some(a) => {
                let from = a.get(at).ok_or_else(|| short("a", expected, a.len()))?;
                elementwise::binary(threads, op, from, operand, to)
            }
        };
        done.map_err(|source| operands.kernel_error(source))?;
    }
    Ok(())
}
