//! `Resize`: an image made larger or smaller along any axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__Resize.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Attributes, Dim, Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Tensor, checked_len, strides};

use crate::axes::{axis, split_at};
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, optional_x, x};
use crate::numeric::{expect_shape, floats, from_f64};
use crate::resample::{Axis, Coordinates, Interpolation, NearestRounding, Sampling, Taps};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Resize",
    domain: "",
    since: 10,
    read: |node| Ok(Arc::new(if node.opset() < 11 { Resize::read_10(node)? } else { Resize::read_11(node)? })),
    samples: || {
        let image = || Tensor::new([1, 1, 3, 4], (0..12).map(|i| i as f32).collect::<Vec<_>>());
        let scaled = |scales: [f32; 4]| Sample {
            inputs: image().into_iter().map(Some).chain([None, Some(Tensor::vector(scales.to_vec()))]).collect(),
            ..Sample::new([])
        };
        let sizes = Some(Tensor::vector(vec![5i64, 3]));
        vec![
            scaled([1.0, 1.0, 2.0, 1.5]),
            scaled([1.0, 1.0, 0.7, 2.0]).with("mode", "linear").with("antialias", 1i64),
            scaled([1.0, 1.0, 2.0, 0.5]).with("mode", "cubic").with("exclude_outside", 1i64),
            Sample {
                inputs: image().into_iter().map(Some).chain([None, None, sizes]).collect(),
                ..Sample::new([]).with("axes", vec![2i64, 3]).with("mode", "linear")
            }
            .with("coordinate_transformation_mode", "align_corners"),
        ]
    },
};

/// `Resize`, and `Upsample` before it.
#[derive(Debug, Clone)]
pub struct Resize {
    pub(crate) sampling: Sampling,
    pub(crate) extrapolation: f64,
    /// Axes that scales, sizes and the region speak of; all if left out.
    pub(crate) axes: Option<Vec<i64>>,
    pub(crate) aspect: Aspect,
    /// Scales that an attribute gives.
    pub(crate) scales: Option<Vec<f32>>,
    /// Inputs with region of interest, scales and sizes.
    pub(crate) inputs: [Option<usize>; 3],
}

/// What becomes of the aspect ratio when sizes are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// It may change.
    Stretch,
    /// Kept, with no axis longer than asked.
    NotLarger,
    /// Kept, with no axis shorter than asked.
    NotSmaller,
}

impl Resize {
    /// The gradient of an input of `shape` from that of the output: `inputs` are as the operator's, without the first.
    ///
    /// # Errors
    /// As a run of the operator, and [`OpError::BadShape`] for a gradient of another shape than the output.
    pub(crate) fn transposed(&self, dy: &Tensor, inputs: &Inputs<'_>) -> Result<Tensor, OpError> {
        let x = inputs.required(0)?;
        let mut plan = self.plan(x.shape(), &self.target(inputs)?)?;
        self.set_roi(inputs, &mut plan)?;
        let mut current: Vec<usize> = plan.iter().map(|axis| axis.out_length).collect();
        expect_shape(0, dy, &current)?;
        let mut values = floats(0, dy)?;
        let is_identity = |axis: &Axis| axis.is_identity(self.sampling.coordinates);
        for (i, axis) in plan.iter().enumerate().rev().filter(|(_, axis)| !is_identity(axis)) {
            let taps = axis.taps(self.sampling)?;
            current[i] = axis.length;
            checked_len(DType::F64, &current)?;
            values = taps.apply_transposed(&values, {
                let (outer, length, inner) = split_at(&current, i);
                [outer, length, inner]
            });
        }
        from_f64(x.dtype(), current, values)
    }

    /// The attributes, for a node of opset 11 or newer that resizes the same way.
    fn attributes(&self) -> Attributes {
        let (mode, rounding, cubic) = match self.sampling.interpolation {
            Interpolation::Nearest(NearestRounding::RoundPreferFloor) => ("nearest", "round_prefer_floor", -0.75),
            Interpolation::Nearest(NearestRounding::RoundPreferCeil) => ("nearest", "round_prefer_ceil", -0.75),
            Interpolation::Nearest(NearestRounding::Floor) => ("nearest", "floor", -0.75),
            Interpolation::Nearest(NearestRounding::Ceil) => ("nearest", "ceil", -0.75),
            Interpolation::Linear => ("linear", "floor", -0.75),
            Interpolation::Cubic(a) => ("cubic", "floor", a),
        };
        let coordinates = match self.sampling.coordinates {
            Coordinates::HalfPixel => "half_pixel",
            Coordinates::HalfPixelSymmetric => "half_pixel_symmetric",
            Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
            Coordinates::AlignCorners => "align_corners",
            Coordinates::Asymmetric => "asymmetric",
            Coordinates::TfHalfPixelForNn => "tf_half_pixel_for_nn",
            Coordinates::TfCropAndResize => "tf_crop_and_resize",
        };
        let aspect = match self.aspect {
            Aspect::Stretch => "stretch",
            Aspect::NotLarger => "not_larger",
            Aspect::NotSmaller => "not_smaller",
        };
        let attributes = Attributes::new()
            .with("mode", mode)
            .with("nearest_mode", rounding)
            .with("cubic_coeff_a", cubic as f32)
            .with("coordinate_transformation_mode", coordinates)
            .with("keep_aspect_ratio_policy", aspect)
            .with("antialias", i64::from(self.sampling.antialias))
            .with("exclude_outside", i64::from(self.sampling.exclude_outside));
        self.axes.iter().fold(attributes, |all, axes| all.with("axes", axes.clone()))
    }

    /// Opset 10, and `Upsample`: positions are scaled from the first one on.
    pub(crate) fn read_10(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let interpolation = match node.string_or("mode", "nearest")?.as_str() {
            "nearest" => Interpolation::Nearest(NearestRounding::Floor),
            "linear" | "bilinear" => Interpolation::Linear,
            other => return Err(OpError::attribute("mode", format!("`{other}` is not nearest or linear"))),
        };
        let coordinates = Coordinates::Asymmetric;
        let sampling = Sampling { interpolation, coordinates, antialias: false, exclude_outside: false };
        let inputs = [None, Some(1), None];
        Ok(Self { sampling, extrapolation: 0.0, axes: None, aspect: Aspect::Stretch, scales: None, inputs })
    }

    pub(crate) fn read_11(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let rounding = match node.string_or("nearest_mode", "round_prefer_floor")?.as_str() {
            "round_prefer_floor" => NearestRounding::RoundPreferFloor,
            "round_prefer_ceil" => NearestRounding::RoundPreferCeil,
            "floor" => NearestRounding::Floor,
            "ceil" => NearestRounding::Ceil,
            other => return Err(OpError::attribute("nearest_mode", format!("`{other}` is not known"))),
        };
        let a = f64::from(node.float_or("cubic_coeff_a", -0.75)?);
        let interpolation = match node.string_or("mode", "nearest")?.as_str() {
            "nearest" => Interpolation::Nearest(rounding),
            "linear" => Interpolation::Linear,
            "cubic" => Interpolation::Cubic(a),
            other => return Err(OpError::attribute("mode", format!("`{other}` is not nearest, linear or cubic"))),
        };
        let name = "coordinate_transformation_mode";
        let coordinates = match node.string_or(name, "half_pixel")?.as_str() {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
            "tf_crop_and_resize" => Coordinates::TfCropAndResize,
            other => return Err(OpError::attribute(name, format!("`{other}` is not known"))),
        };
        let aspect = match node.string_or("keep_aspect_ratio_policy", "stretch")?.as_str() {
            "stretch" => Aspect::Stretch,
            "not_larger" => Aspect::NotLarger,
            "not_smaller" => Aspect::NotSmaller,
            other => return Err(OpError::attribute("keep_aspect_ratio_policy", format!("`{other}` is not known"))),
        };
        let (antialias, exclude_outside) = (node.flag_or("antialias", false)?, node.flag_or("exclude_outside", false)?);
        Ok(Self {
            sampling: Sampling { interpolation, coordinates, antialias, exclude_outside },
            extrapolation: f64::from(node.float_or("extrapolation_value", 0.0)?),
            axes: node.ints("axes")?,
            aspect,
            scales: None,
            inputs: [Some(1), Some(2), Some(3)],
        })
    }

    /// Positions of the axes that are spoken of.
    fn axes(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        match &self.axes {
            Some(list) => {
                let axes = list.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
                crate::axes::axes(list, rank)?; // refuses repeats
                Ok(axes)
            }
            None => Ok((0..rank).collect()),
        }
    }

    /// Output lengths and scales of the axes spoken of.
    fn plan(&self, shape: &[usize], target: &Target) -> Result<Vec<Axis>, OpError> {
        let axes = self.axes(shape.len())?;
        let given = match target {
            Target::Scales(scales) => scales.len(),
            Target::Sizes(sizes) => sizes.len(),
        };
        if given != axes.len() {
            return Err(OpError::value(format!("{given} scales or sizes for {} axes", axes.len())));
        }
        let identity = |&length: &usize| Axis { length, out_length: length, scale: 1.0, roi: [0.0, 1.0] };
        let mut all: Vec<Axis> = shape.iter().map(identity).collect();
        for (i, &axis) in axes.iter().enumerate() {
            let plan = &mut all[axis];
            (plan.out_length, plan.scale) = match target {
                Target::Scales(scales) => (scaled_length(plan.length, scales[i])?, f64::from(scales[i])),
                Target::Sizes(sizes) => {
                    let size = usize::try_from(sizes[i])
                        .map_err(|_| OpError::value(format!("a size of {} for axis {axis}", sizes[i])))?;
                    (size, size as f64 / plan.length as f64)
                }
            };
        }
        if self.aspect != Aspect::Stretch && matches!(target, Target::Sizes(_)) {
            let scales = axes.iter().map(|&axis| all[axis].scale);
            let scale = match self.aspect {
                Aspect::NotLarger => scales.fold(f64::INFINITY, f64::min),
                _ => scales.fold(0.0, f64::max),
            };
            for &axis in &axes {
                let length = all[axis].length;
                all[axis] = Axis { out_length: (scale * length as f64 + 0.5) as usize, scale, ..all[axis] };
            }
        }
        Ok(all)
    }

    fn target(&self, inputs: &Inputs<'_>) -> Result<Target, OpError> {
        if let Some(scales) = &self.scales {
            return Ok(Target::Scales(scales.clone()));
        }
        let [_, scales, sizes] = self.inputs.map(|index| inputs.optional(index?).filter(|input| !input.is_empty()));
        match (scales, sizes) {
            (Some(scales), None) => Ok(Target::Scales(scales.to_f32_vec()?)),
            (None, Some(sizes)) => Ok(Target::Sizes(sizes.to_i64_vec()?)),
            // Exporters of opset 10 and 11 give scales for a tensor without axes.
            (None, None) if inputs.required(0)?.rank() == 0 => Ok(Target::Scales(Vec::new())),
            (None, None) => Err(OpError::value("neither scales nor sizes are given")),
            (Some(_), Some(_)) => Err(OpError::value("both scales and sizes are given")),
        }
    }

    fn set_roi(&self, inputs: &Inputs<'_>, plan: &mut [Axis]) -> Result<(), OpError> {
        let roi = self.inputs[0].and_then(|index| inputs.optional(index)).filter(|roi| !roi.is_empty());
        let Some(roi) = roi.filter(|_| self.sampling.coordinates == Coordinates::TfCropAndResize) else {
            return Ok(());
        };
        let (values, axes) = (roi.to_f64_vec()?, self.axes(plan.len())?);
        if values.len() != 2 * axes.len() {
            return Err(OpError::shape(1, roi.shape(), format!("a start and an end for each of {} axes", axes.len())));
        }
        for (i, &axis) in axes.iter().enumerate() {
            plan[axis].roi = [values[i], values[axes.len() + i]];
        }
        Ok(())
    }
}

/// What the output's shape is made from.
enum Target {
    Scales(Vec<f32>),
    Sizes(Vec<i64>),
}

/// ⌊length · scale⌋ in f32, in which exporters compute their scales: 10 · 0.7 is 7.
fn scaled_length(length: usize, scale: f32) -> Result<usize, OpError> {
    let scaled = (length as f32 * scale).floor();
    if scale > 0.0 && scaled < 1e15 {
        Ok(scaled as usize)
    } else {
        Err(OpError::value(format!("an axis of length {length} scaled by {scale}")))
    }
}

impl Op for Resize {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.get(0);
        let unknown = Ok(vec![Fact::maybe(x.dtype, None)]);
        let Some(shape) = &x.shape else { return unknown };
        let [_, scales, sizes] = self.inputs.map(|index| inputs.optional(index?));
        let is_empty = |fact: &&Fact| fact.known_shape().is_some_and(|shape| shape.contains(&0));
        let (scales, sizes) = (scales.filter(|fact| !is_empty(fact)), sizes.filter(|fact| !is_empty(fact)));
        let known = self.scales.clone().or_else(|| scales?.tensor()?.to_f32_vec().ok());
        let target = match (known, sizes.and_then(Fact::as_dims)) {
            (Some(scales), None) => Target::Scales(scales),
            (None, Some(dims)) => match dims.iter().map(Dim::known).collect::<Option<Vec<_>>>() {
                Some(sizes) => Target::Sizes(sizes.into_iter().map(|size| size as i64).collect()),
                None if self.aspect == Aspect::Stretch && dims.len() == shape.len() && self.axes.is_none() => {
                    return Ok(vec![Fact::maybe(x.dtype, Some(dims))]);
                }
                None => return unknown,
            },
            _ => return unknown,
        };
        if let Some(lengths) = x.known_shape() {
            let plan = self.plan(&lengths, &target)?;
            return Ok(vec![Fact::maybe(x.dtype, Some(plan.iter().map(|axis| axis.out_length.into()).collect()))]);
        }
        let axes = self.axes(shape.len())?;
        let mut out = shape.clone();
        for (i, &axis) in axes.iter().enumerate() {
            out[axis] = match &target {
                Target::Scales(scales) if scales.len() == axes.len() => scaled_dim(&shape[axis], scales[i])?,
                Target::Sizes(sizes) if sizes.len() == axes.len() && self.aspect == Aspect::Stretch => {
                    Dim::Known(sizes[i])
                }
                _ => return unknown,
            };
        }
        Ok(vec![Fact::maybe(x.dtype, Some(out))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let mut plan = self.plan(x.shape(), &self.target(inputs)?)?;
        self.set_roi(inputs, &mut plan)?;
        let shape: Vec<usize> = plan.iter().map(|axis| axis.out_length).collect();
        checked_len(DType::F64, &shape)?;
        let is_crop = self.sampling.coordinates == Coordinates::TfCropAndResize;
        if matches!(self.sampling.interpolation, Interpolation::Nearest(_)) && !is_crop {
            return Ok(vec![nearest(x, &plan, self.sampling, shape)?]);
        }
        let mut values = x.to_f64_vec()?;
        let mut current = x.shape().to_vec();
        for (i, axis) in plan.iter().enumerate().filter(|(_, axis)| !axis.is_identity(self.sampling.coordinates)) {
            let (outer, length, inner) = split_at(&current, i);
            current[i] = axis.out_length;
            checked_len(DType::F64, &current)?;
            values = axis.taps(self.sampling)?.apply(&values, [outer, length, inner], self.extrapolation);
        }
        Ok(vec![from_f64(x.dtype(), shape, values)?])
    }

    /// Region, scales and sizes are taken as given.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let [roi, scales, sizes] = self.inputs.map(|index| optional_x(vjp, index?));
            let scales = scales.or_else(|| Some(Expr::tensor(Tensor::vector(self.scales.clone()?))));
            let inputs = vec![Some(dy), Some(x(vjp, 0)?), roi, scales, sizes];
            Ok(Expr::microsoft_outputs("ResizeGrad", inputs, self.attributes(), 1).into_iter().map(Some).collect())
        })
    }
}

/// Elements of any type, only moved.
fn nearest(x: &Tensor, plan: &[Axis], sampling: Sampling, shape: Vec<usize>) -> Result<Tensor, OpError> {
    let steps = strides(x.shape());
    let mut order = vec![0usize];
    for (axis, step) in plan.iter().zip(steps) {
        let Taps { positions, .. } = axis.taps(sampling)?;
        order = order.iter().flat_map(|base| positions.iter().map(move |position| base + position * step)).collect();
    }
    Ok(x.pick(shape, order)?)
}

fn scaled_dim(dim: &Dim, scale: f32) -> Result<Dim, OpError> {
    Ok(match dim {
        Dim::Known(_) => scaled_length(dim.known().unwrap_or(0), scale)?.into(),
        Dim::Symbol(_) if scale.fract() == 0.0 && scale > 0.0 && scale < 1e6 => dim.mul(&Dim::Known(scale as i64)),
        Dim::Symbol(name) => Dim::symbol(format!("floor({name},{scale})")),
    })
}
