//! npz files: arrays named as the inputs of the model, one sample along the first axis, and `labels` (integers) or
//! `scores` (floats).
//!
//! An array of unsigned bytes that feeds the only input, a float, holds images, `[n, h, w]`, `[n, c, h, w]` or `[n, h, w, c]`, and is
//! prepared as such; every other array is fed as it is. An input without axes takes an array without axes, the same for
//! every sample. If the arrays have one axis more than the inputs, each sample is a whole input, batch axis included.

use std::path::Path;

use lissom_tensor::{DType, Storage, Tensor};

use crate::format::{Format, Half, ImageAxes, Opened, Request, Source, lower_name};
use crate::npy::first_not_finite;
use crate::npz_file::read_npz;
use crate::pixel_array::PixelArray;
use crate::prepare::{Preparation, layout_of};
use crate::settings::Layout;
use crate::spec::describe;
use crate::{DataError, InputSpec, Labels, Notice, gather};

pub(crate) const FORMAT: Format =
    Format { name: "npz", looks_like: ".npz with arrays named as the inputs, and `labels`", recognises, open };

fn recognises(path: &Path) -> bool {
    let name = lower_name(path);
    path.is_file() && (name.ends_with(".npz") || name.ends_with(".npy"))
}

fn open(request: &Request<'_>) -> Result<Opened, DataError> {
    let path = request.path;
    let mut arrays = read_npz(path)?;
    let labels = take_labels(path, &mut arrays)?;
    let mut notices = Vec::new();
    let mut fed = Vec::new();
    for input in request.inputs {
        let array = take_array(request, &mut arrays, input, &mut notices)?;
        fed.push((input.clone(), array));
    }
    if !arrays.is_empty() {
        notices.push(Notice::ArraysUnused { arrays: arrays.into_iter().map(|(name, _)| name).collect() });
    }
    if let [(input, array)] = &fed[..]
        && array.dtype() == DType::U8
        && (input.dtype.is_float() || request.settings.image.is_some())
    {
        let (source, more) = images(request, input, array)?;
        notices.extend(more);
        return Ok(Opened { source: Box::new(source), labels, class_names: None, notices });
    }
    if request.settings.image.is_some() {
        let unused = |(input, array): &(InputSpec, Tensor)| Notice::SettingsUnused {
            input: input.name.clone(),
            found: array.dtype().to_string(),
        };
        notices.extend(fed.iter().map(unused));
    }
    let axes = image_axes(request, &fed);
    let source = Arrays { axes, ..Arrays::new(path, fed)? };
    if source.is_whole {
        let shapes: Vec<_> = source.fed.iter().map(|(_, array)| describe(array.dtype(), array.shape())).collect();
        notices.push(Notice::OneAtATime { found: shapes.join(", ") });
    }
    Ok(Opened { source: Box::new(source), labels, class_names: None, notices })
}

fn take(arrays: &mut Vec<(String, Tensor)>, name: &str) -> Option<Tensor> {
    let position = arrays.iter().position(|(other, _)| other == name)?;
    Some(arrays.remove(position).1)
}

/// The array for `input`: the one of its name, or the only one there is if the model has one input.
fn take_array(
    request: &Request<'_>,
    arrays: &mut Vec<(String, Tensor)>,
    input: &InputSpec,
    notices: &mut Vec<Notice>,
) -> Result<Tensor, DataError> {
    if let Some(array) = take(arrays, &input.name) {
        return Ok(array);
    }
    if request.inputs.len() == 1 && arrays.len() == 1 {
        let (array, tensor) = arrays.remove(0);
        notices.push(Notice::NameIgnored { array, input: input.name.clone() });
        return Ok(tensor);
    }
    let found = arrays.iter().map(|(name, _)| name.clone()).collect();
    Err(DataError::MissingInput { path: request.path.into(), input: Box::new(input.clone()), found })
}

fn take_labels(path: &Path, arrays: &mut Vec<(String, Tensor)>) -> Result<Option<Labels>, DataError> {
    if let Some(labels) = take(arrays, "labels") {
        let found = describe(labels.dtype(), labels.shape());
        // [n, 1] is as clear as [n].
        let is_list = matches!(labels.shape(), [_] | [_, 1]);
        return match labels.to_i64_vec() {
            Ok(classes) if is_list => Ok(Some(Labels::Classes(classes))),
            _ => Err(DataError::LabelType { path: path.into(), found }),
        };
    }
    let Some(scores) = take(arrays, "scores") else { return Ok(None) };
    let scores = scores.to_f32_vec();
    scores.map(|scores| Some(Labels::Scores(scores))).map_err(|source| DataError::Tensor {
        path: path.into(),
        array: "scores".into(),
        source,
    })
}

/// Bytes as images for the input of a model.
fn images(request: &Request<'_>, input: &InputSpec, array: &Tensor) -> Result<(PixelArray, Vec<Notice>), DataError> {
    let found = || describe(array.dtype(), array.shape());
    let is_channels = |dim: usize| matches!(dim, 1 | 3 | 4);
    let (height, width, channels, is_planar) = match *array.shape() {
        [_, h, w] => (h, w, 1, false),
        [_, c, h, w] if is_channels(c) && (!is_channels(w) || input.shape.get(1) == Some(&Some(c))) => (h, w, c, true),
        [_, h, w, c] if is_channels(c) => (h, w, c, false),
        _ => {
            let fix = Some("bytes are images: [n, h, w], [n, c, h, w] or [n, h, w, c]; else save floats".into());
            return Err(DataError::InputMismatch {
                path: request.path.into(),
                input: Box::new(input.clone()),
                found: found(),
                fix,
            });
        }
    };
    let (preparation, notices) = Preparation::for_arrays(request.path, input, request.settings, channels)?;
    preparation.check([height, width], found)?;
    let Storage::U8(values) = array.storage() else {
        return Err(DataError::LabelType { path: request.path.into(), found: found() });
    };
    Ok((PixelArray { values: values.clone(), height, width, channels, is_planar, preparation }, notices))
}

/// Where the pixels are in a lone array of floats with four axes, taken as images whose black is 0.
fn image_axes(request: &Request<'_>, fed: &[(InputSpec, Tensor)]) -> Option<ImageAxes> {
    let [(input, array)] = fed else { return None };
    let [_, second, third, last] = *array.shape() else { return None };
    let layout = layout_of(input, request.settings, None);
    let (channels, height, width) = match layout {
        Layout::Nchw => (second, third, last),
        Layout::Nhwc => (last, second, third),
    };
    let (rows, columns) = if layout == Layout::Nchw { (2, 3) } else { (1, 2) };
    let is_fixed = [rows, columns].iter().any(|&axis| input.shape.get(axis).is_some_and(Option::is_some));
    let (black, size) = (vec![0.0; channels], Some([height, width]));
    (array.dtype() == DType::F32).then_some(ImageAxes { channels, size, layout, black, is_fixed })
}

/// Arrays that are fed as they are.
#[derive(Debug)]
struct Arrays {
    axes: Option<ImageAxes>,
    fed: Vec<(InputSpec, Tensor)>,
    len: usize,
    is_whole: bool,
}

impl Arrays {
    fn new(path: &Path, fed: Vec<(InputSpec, Tensor)>) -> Result<Self, DataError> {
        let has_samples = |(input, array): &&(InputSpec, Tensor)| !is_shared(input, array);
        let is_whole = fed.iter().any(|pair| !is_shared(&pair.0, &pair.1))
            && fed.iter().filter(has_samples).all(|(input, array)| {
                array.rank() > 0 && array.rank() == input.shape.len() + 1 && input.fits_whole(&array.shape()[1..])
            });
        let mut len = None;
        for (input, array) in &fed {
            let fits = is_shared(input, array) || is_whole || input.fits_samples(array.shape());
            if !fits || array.dtype() != input.dtype {
                let found = describe(array.dtype(), array.shape());
                let fix =
                    (array.dtype() != input.dtype).then(|| format!("numpy: `.astype(\"{}\")`", numpy(input.dtype)));
                return Err(DataError::InputMismatch { path: path.into(), input: Box::new(input.clone()), found, fix });
            }
            if let Some((at, value)) = first_not_finite(array) {
                let index = position(array.shape(), at);
                return Err(DataError::NotFinite { path: path.into(), array: input.name.clone(), index, value });
            }
            if !is_shared(input, array) {
                let n = array.shape()[0];
                if *len.get_or_insert(n) != n {
                    let found = format!(
                        "{}, other arrays have another number of samples",
                        describe(array.dtype(), array.shape())
                    );
                    return Err(DataError::InputMismatch {
                        path: path.into(),
                        input: Box::new(input.clone()),
                        found,
                        fix: None,
                    });
                }
            }
        }
        // Inputs that are all constants make one sample.
        Ok(Self { axes: None, len: len.unwrap_or(usize::from(!fed.is_empty())), fed, is_whole })
    }
}

/// True for an input without axes fed by one value: it is the same for every sample.
fn is_shared(input: &InputSpec, array: &Tensor) -> bool {
    input.shape.is_empty() && array.rank() == 0
}

/// Name of an ONNX type in numpy.
fn numpy(dtype: DType) -> String {
    let name = dtype.to_string();
    match name.split_at(1) {
        ("f", bits) => format!("float{bits}"),
        ("i", bits) => format!("int{bits}"),
        ("u", bits) => format!("uint{bits}"),
        _ => name,
    }
}

/// The index on each axis of the element at `flat`.
fn position(shape: &[usize], mut flat: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (at, dim) in index.iter_mut().zip(shape).rev() {
        *at = flat % (*dim).max(1);
        flat /= (*dim).max(1);
    }
    index
}

impl Source for Arrays {
    fn len(&self) -> usize {
        self.len
    }

    fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn image_axes(&self) -> Option<ImageAxes> {
        self.axes.clone()
    }

    fn inputs(&self, rows: &[usize], _half: Half) -> Result<Vec<(String, Tensor)>, DataError> {
        let one = |(input, array): &(InputSpec, Tensor)| {
            let failed = |source| DataError::Tensor { path: "npz".into(), array: input.name.clone(), source };
            let tensor = match rows {
                _ if is_shared(input, array) => array.clone(),
                [row] if self.is_whole => {
                    let taken = gather::rows(array, &[*row]).map_err(failed)?;
                    taken.reshape(&array.shape()[1..]).map_err(failed)?
                }
                rows => gather::rows(array, rows).map_err(failed)?,
            };
            Ok((input.name.clone(), tensor))
        };
        self.fed.iter().map(one).collect()
    }

    fn hash_row(&self, row: usize, hasher: &mut blake3::Hasher) -> Result<(), DataError> {
        for (name, tensor) in self.inputs(&[row], Half::First)? {
            hasher.update(format!("{name} {}\n", describe(tensor.dtype(), tensor.shape())).as_bytes());
            gather::hash(&tensor, hasher);
        }
        Ok(())
    }
}
