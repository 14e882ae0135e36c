//! `Attention`: scaled dot product attention with masks, grouped heads and a cache of past keys and values.
//!
//! <https://onnx.ai/onnx/operators/onnx__Attention.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NoGradient, NodeReader, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Tensor, broadcast_shapes, checked_len, flat_indices};

use crate::expression::Expr;
use crate::gradient::{Gradients, of_expansion, optional_x, rank, x};
use crate::heads::{Heads, attend, concat_past};
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Attention",
    domain: "",
    since: 23,
    read: |node| Ok(Arc::new(Attention::read(node)?)),
    samples: || {
        let mask = filled(&[3, 4], (0..12).map(|i| i % 5 != 0).collect::<Vec<bool>>());
        vec![
            Sample::new([ramp(&[2, 4, 3, 2]), ramp(&[2, 2, 4, 2]), ramp(&[2, 2, 4, 3]), mask]).outputs(4),
            Sample::new([ramp(&[1, 3, 8]), ramp(&[1, 3, 8]), ramp(&[1, 3, 4])])
                .with("q_num_heads", 2i64)
                .with("kv_num_heads", 2i64)
                .with("is_causal", 1i64)
                .with("softcap", 2.0f32)
                .with("qk_matmul_output_mode", 3i64)
                .outputs(4),
            Sample {
                inputs: vec![
                    Some(ramp(&[1, 2, 1, 2])),
                    Some(ramp(&[1, 2, 1, 2])),
                    Some(ramp(&[1, 2, 1, 2])),
                    None,
                    Some(ramp(&[1, 2, 3, 2])),
                    Some(ramp(&[1, 2, 3, 2])),
                ],
                n_outputs: 3,
                attributes: Vec::new(),
            },
        ]
    },
};

/// What the fourth output shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreStage {
    /// The scaled products.
    Product,
    /// After the soft cap.
    Capped,
    /// After the mask.
    Masked,
    /// After the softmax.
    Softmax,
}

/// `Attention`: inputs Q, K, V, mask, past key, past value, number of valid keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Position `i` of the queries sees keys up to `i` (counted after the past) only.
    pub is_causal: bool,
    /// Heads of Q, for inputs of three axes.
    pub q_heads: Option<usize>,
    /// Heads of K and V, for inputs of three axes.
    pub kv_heads: Option<usize>,
    /// Factor of the products; 1 / √(size of a head) unless given.
    pub scale: Option<f32>,
    /// Scores are squashed into ± this; 0 leaves them.
    pub softcap: f32,
    /// What the fourth output shows.
    pub stage: ScoreStage,
}

impl Attention {
    fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        node.ignore(&["softmax_precision"]); // everything is computed in f64
        let heads = |name| -> Result<Option<usize>, OpError> {
            let Some(count) = node.int(name)?.filter(|&count| count != 0) else { return Ok(None) };
            let count = usize::try_from(count).map_err(|_| OpError::attribute(name, "is negative"))?;
            Ok(Some(count))
        };
        let stage = match node.int_or("qk_matmul_output_mode", 0)? {
            0 => ScoreStage::Product,
            1 => ScoreStage::Capped,
            2 => ScoreStage::Masked,
            3 => ScoreStage::Softmax,
            other => return Err(OpError::attribute("qk_matmul_output_mode", format!("unknown mode {other}"))),
        };
        Ok(Self {
            is_causal: node.flag_or("is_causal", false)?,
            q_heads: heads("q_num_heads")?,
            kv_heads: heads("kv_num_heads")?,
            scale: node.float("scale")?,
            softcap: node.float_or("softcap", 0.0)?,
            stage,
        })
    }
}

/// Input `index` as `[n, heads, sequence, size]`, the number of heads and their size.
fn heads(vjp: &Vjp<'_>, index: usize, n_heads: Option<usize>) -> Result<(Expr, usize, usize), NoGradient> {
    match (vjp.facts.shape(index).ok_or(NoGradient)?, n_heads) {
        ([_, heads, _, size], _) => {
            Ok((x(vjp, index)?, heads.known().ok_or(NoGradient)?, size.known().ok_or(NoGradient)?))
        }
        ([_, _, hidden], Some(heads)) => {
            let size = hidden.known().and_then(|hidden| hidden.checked_div(heads)).ok_or(NoGradient)?;
            let split = x(vjp, index)?.reshape(Expr::ints([0, 0, heads as i64, -1]));
            Ok((split.transpose([0, 2, 1, 3]), heads, size))
        }
        _ => Err(NoGradient),
    }
}

impl Op for Attention {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (dtype, v_dtype) = (inputs.dtype(0), inputs.dtype(2));
        let unknown = || {
            vec![
                Fact::maybe(dtype, None),
                Fact::maybe(dtype, None),
                Fact::maybe(v_dtype, None),
                Fact::maybe(dtype, None),
            ]
        };
        let (Some(q), Some(k), Some(v)) = (inputs.shape(0), inputs.shape(1), inputs.shape(2)) else {
            return Ok(unknown());
        };
        let split = |x: &[Dim], heads: Option<usize>| match (x, heads) {
            ([n, heads, seq, size], _) => Some([n.clone(), heads.clone(), seq.clone(), size.clone()]),
            ([n, seq, hidden], Some(heads)) => {
                Some([n.clone(), heads.into(), seq.clone(), hidden.div(&Dim::from(heads))?])
            }
            _ => None,
        };
        let all = (split(q, self.q_heads), split(k, self.kv_heads), split(v, self.kv_heads));
        let (Some(q4), Some(k4), Some(v4)) = all else { return Ok(unknown()) };
        let total = match inputs.optional(4) {
            None => Some(k4[2].clone()),
            Some(past) => past.shape.as_ref().filter(|past| past.len() == 4).map(|past| past[2].add(&k4[2])),
        };
        let Some(total) = total else { return Ok(unknown()) };
        let y = if q.len() == 3 {
            vec![q[0].clone(), q[1].clone(), v4[3].mul(&q4[1])]
        } else {
            vec![q4[0].clone(), q4[1].clone(), q4[2].clone(), v4[3].clone()]
        };
        let present = |x: [Dim; 4]| {
            let [n, heads, _, size] = x;
            vec![n, heads, total.clone(), size]
        };
        let scores = vec![q4[0].clone(), q4[1].clone(), q4[2].clone(), total.clone()];
        Ok(vec![
            Fact::maybe(dtype, Some(y)),
            Fact::maybe(dtype, Some(present(k4))),
            Fact::maybe(v_dtype, Some(present(v4))),
            Fact::maybe(dtype, Some(scores)),
        ])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (q, k, v) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let is_flat = q.rank() == 3;
        let (dtype, v_dtype) = (q.dtype(), v.dtype());
        let q = Heads::of(0, q, self.q_heads)?;
        let past_len = inputs.optional(4).map_or(0, |past| past.shape().get(2).copied().unwrap_or(0));
        let k = concat_past(4, inputs.optional(4), Heads::of(1, k, self.kv_heads)?)?;
        let v = concat_past(5, inputs.optional(5), Heads::of(2, v, self.kv_heads)?)?;
        let bias = self.bias(inputs, &q, k.seq, past_len)?;
        let scale = self.scale.map_or(1.0 / (q.size as f64).sqrt(), f64::from);
        let softcap = f64::from(self.softcap);
        let mut shown = Vec::new();
        let mut show = |stage: ScoreStage, scores: &[f64]| {
            if stage == self.stage {
                shown.extend_from_slice(scores);
            }
        };
        let y = attend(&q, &k, &v, |row, scores| {
            scores.iter_mut().for_each(|x| *x *= scale);
            show(ScoreStage::Product, scores);
            if softcap > 0.0 {
                scores.iter_mut().for_each(|x| *x = (*x / softcap).tanh() * softcap);
            }
            show(ScoreStage::Capped, scores);
            let bias = &bias[row * scores.len()..];
            scores.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            show(ScoreStage::Masked, scores);
            crate::softmax_axis::softmax(scores);
            show(ScoreStage::Softmax, scores);
        })?;
        let score_shape = vec![q.batch, q.heads, q.seq, k.seq];
        Ok(vec![
            if is_flat { y.packed(dtype)? } else { from_f64(dtype, y.shape(), y.values)? },
            from_f64(dtype, k.shape(), k.values)?,
            from_f64(v_dtype, v.shape(), v.values)?,
            from_f64(dtype, score_shape, shown)?,
        ])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_expansion(vjp, |vjp| self.written_out(vjp))
    }
}

impl Attention {
    /// All outputs in simpler operators.
    ///
    /// # Errors
    /// [`NoGradient`] where the number of heads or their size is not known, for padded keys, and for a mask that is shorter
    /// than the keys.
    fn written_out(&self, vjp: &Vjp<'_>) -> Result<Vec<Option<Expr>>, NoGradient> {
        if optional_x(vjp, 6).is_some() {
            return Err(NoGradient);
        }
        let is_flat = rank(vjp, 0)? == 3;
        let (q, q_heads, size) = heads(vjp, 0, self.q_heads)?;
        let (new_k, kv_heads, _) = heads(vjp, 1, self.kv_heads)?;
        let (new_v, _, _) = heads(vjp, 2, self.kv_heads)?;
        let joined = |past: Option<Expr>, new: Expr| match past {
            Some(past) => Expr::concat(vec![past, new], 2),
            None => new,
        };
        let (k, v) = (joined(optional_x(vjp, 4), new_k.clone()), joined(optional_x(vjp, 5), new_v));
        // Each head of the keys and values serves as many of the queries.
        let served = |x: &Expr| {
            let of_query = (0..q_heads).map(|head| (head * kv_heads / q_heads.max(1)) as i64).collect::<Vec<_>>();
            if q_heads == kv_heads {
                x.clone()
            } else {
                Expr::of("Gather", [x.clone(), Expr::ints(of_query)]).with("axis", 1i64)
            }
        };
        let scale = self.scale.map_or(1.0 / (size as f64).sqrt(), f64::from);
        let product = Expr::of("MatMul", [q.clone(), served(&k).transpose([0, 1, 3, 2])]) * scale;
        let softcap = f64::from(self.softcap);
        let capped = if softcap > 0.0 { (product.clone() / softcap).apply("Tanh") * softcap } else { product.clone() };
        let mut masked = self.masked(vjp, capped.clone())?;
        if self.is_causal {
            let n_keys = k.length(2);
            let past = n_keys.clone() - new_k.length(2);
            let last_seen = (Expr::range(q.length(2)) + past).unsqueeze([1]);
            let is_later = Expr::range(n_keys).unsqueeze([0]).greater(last_seen);
            masked = Expr::from(f64::NEG_INFINITY).when(&is_later, masked);
        }
        let softmax = masked.clone().apply("Softmax").with("axis", -1i64);
        let y = Expr::of("MatMul", [softmax.clone(), served(&v)]);
        let y = if is_flat { y.transpose([0, 2, 1, 3]).reshape(Expr::ints([0, 0, -1])) } else { y };
        let shown = match self.stage {
            ScoreStage::Product => product,
            ScoreStage::Capped => capped,
            ScoreStage::Masked => masked,
            ScoreStage::Softmax => softmax,
        };
        Ok([y, k, v, shown].map(Some).to_vec())
    }

    fn masked(&self, vjp: &Vjp<'_>, scores: Expr) -> Result<Expr, NoGradient> {
        let Some(mask) = optional_x(vjp, 3) else { return Ok(scores) };
        let n_keys = self.infer(&vjp.facts).ok().and_then(|facts| facts.get(3)?.shape.as_ref()?.last().cloned());
        let own = vjp.facts.shape(3).and_then(<[Dim]>::last).ok_or(NoGradient)?;
        if *own != Dim::Known(1) && n_keys.as_ref() != Some(own) {
            return Err(NoGradient);
        }
        match vjp.facts.dtype(3) {
            Some(DType::Bool) => Ok(scores.when(&mask, f64::NEG_INFINITY)),
            _ => Ok(scores + mask),
        }
    }

    /// What is added to each score, `[batch, heads, queries, keys]`: −∞ where a key is not seen.
    fn bias(&self, inputs: &Inputs<'_>, q: &Heads, n_keys: usize, past: usize) -> Result<Vec<f64>, OpError> {
        let shape = [q.batch, q.heads, q.seq, n_keys];
        let mut bias = vec![0.0; checked_len(DType::F64, &shape)?];
        if bias.is_empty() {
            return Ok(bias);
        }
        if let Some(mask) = inputs.optional(3) {
            add_mask(mask, &shape, &mut bias)?;
        }
        if self.is_causal {
            for (i, bias) in bias.iter_mut().enumerate() {
                if i % n_keys > i / n_keys % q.seq + past {
                    *bias = f64::NEG_INFINITY;
                }
            }
        }
        if let Some(valid) = inputs.optional(6) {
            expect_shape(6, valid, &[q.batch])?;
            let valid = valid.to_i64_vec()?;
            let item_len = bias.len() / q.batch;
            for (i, bias) in bias.iter_mut().enumerate() {
                if (i % n_keys) as i64 >= valid[i / item_len] {
                    *bias = f64::NEG_INFINITY;
                }
            }
        }
        Ok(bias)
    }
}

/// Adds a mask that broadcasts to `shape`; keys it is too short for are not seen.
fn add_mask(mask: &Tensor, shape: &[usize; 4], bias: &mut [f64]) -> Result<(), OpError> {
    let unfit = || OpError::shape(3, mask.shape(), format!("does not broadcast to {shape:?}"));
    let values: Vec<f64> = if mask.dtype() == DType::Bool {
        mask.to_i64_vec()?.into_iter().map(|seen| if seen != 0 { 0.0 } else { f64::NEG_INFINITY }).collect()
    } else {
        floats(3, mask)?
    };
    let own_keys = *mask.shape().last().ok_or_else(unfit)?;
    let n_keys = if own_keys == 1 { shape[3] } else { own_keys };
    let joined = [shape[0], shape[1], shape[2], n_keys];
    if n_keys > shape[3] || mask.rank() > 4 || broadcast_shapes(mask.shape(), &joined)? != joined {
        return Err(unfit());
    }
    let mut source = flat_indices(mask.shape(), &joined);
    for row in bias.chunks_exact_mut(shape[3]) {
        let (seen, unseen) = row.split_at_mut(n_keys);
        seen.iter_mut().zip(source.by_ref()).for_each(|(bias, i)| *bias += values[i]);
        unseen.fill(f64::NEG_INFINITY);
    }
    Ok(())
}
