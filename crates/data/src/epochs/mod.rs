//! Training data, epoch after epoch: shuffled, augmented, ahead of time.

mod batches;

use std::sync::Arc;

use lissom_tensor::{Tensor, TensorError};

pub use batches::TrainingBatches;

use crate::augment::{Chance, Image, Purpose};
use crate::format::ImageAxes;
use crate::one_hot::class_of;
use crate::settings::Layout;
use crate::{Augmentation, Augmentations, Batch, DataError, Dataset, Labels, Mix, one_hot};

/// How a data set is fed to training.
#[derive(Debug, Clone)]
pub struct EpochSettings {
    /// Samples a batch; 128 unless changed.
    pub batch_size: usize,
    /// How often the data is gone through; 1 unless changed. Stages of training are shares of it.
    pub epochs: u64,
    /// Fixes the order and every augmentation.
    pub seed: u64,
    /// Whether every epoch has an order of its own; else all have that of the data set. True unless changed.
    pub shuffle: bool,
    /// Whether an epoch leaves out the samples that do not fill its last batch, so that all batches are alike; the shuffle leaves out
    /// others each time. Else its last batch is smaller. True unless changed.
    pub drop_last: bool,
    /// What is done to the samples. None unless changed.
    pub augmentations: Augmentations,
    /// Asks for labels as shares of classes. Augmentations that mix samples bring them anyhow.
    pub soft_labels: Option<SoftLabels>,
    /// Batches prepared ahead by a thread of their own; 0 for none of either. 2 unless changed. Never changes what a batch holds.
    pub ahead: usize,
    /// Image files are kept decoded, in 8 bits and as large as they are fed, up to this many bytes; 1 GiB unless changed. Formats that
    /// are read into memory whole need none of it.
    pub keep_bytes: usize,
}

/// Labels as shares of classes, see [`one_hot`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SoftLabels {
    /// Number of classes; absent: what the data set says.
    pub classes: Option<usize>,
    /// Share of a label that is spread over all classes, 0..1.
    pub smoothing: f32,
}

/// A few samples to learn from.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingBatch {
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// The batch in the epoch, counted from 0.
    pub step: usize,
    /// The samples, augmented, with their labels as they are in the data.
    pub batch: Batch,
    /// `[samples, classes]` in f32, if asked for or if samples are mixed.
    pub soft_labels: Option<Tensor>,
}

impl Default for EpochSettings {
    fn default() -> Self {
        Self {
            batch_size: 128,
            epochs: 1,
            seed: 0,
            shuffle: true,
            drop_last: true,
            augmentations: Augmentations::none(),
            soft_labels: None,
            ahead: 2,
            keep_bytes: 1 << 30,
        }
    }
}

/// A data set with everything about its epochs fixed: any batch of any epoch, or all from one on. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Epochs(Arc<Plan>);

#[derive(Debug)]
struct Plan {
    dataset: Dataset,
    settings: EpochSettings,
    /// Classes and smoothing, if batches have soft labels.
    soft: Option<(usize, f32)>,
    axes: Option<ImageAxes>,
}

impl Dataset {
    /// The data set as `settings` want it for training.
    ///
    /// # Errors
    /// [`DataError::BatchSize`], [`DataError::TooFewSamples`] to fill one batch, [`DataError::Augmentation`] for one that these samples
    /// cannot have, [`DataError::MissingLabels`] and [`DataError::LabelRange`] where labels become shares of classes.
    pub fn epochs(&self, settings: EpochSettings) -> Result<Epochs, DataError> {
        self.check_batch_size(&settings)?;
        let axes = self.image_axes();
        for (name, augmentation) in settings.augmentations.iter() {
            let failed =
                |reason: String| DataError::Augmentation { path: self.path().into(), name: name.into(), reason };
            self.check_augmentation(augmentation, axes.as_ref()).map_err(failed)?;
        }
        let asked = match settings.soft_labels {
            None if settings.augmentations.is_mixing() => Some(SoftLabels::default()),
            asked => asked,
        };
        let soft = asked.map(|asked| self.soft_labels(asked)).transpose()?;
        self.keep_decoded(settings.keep_bytes);
        Ok(Epochs(Arc::new(Plan { dataset: self.clone(), settings, soft, axes })))
    }

    fn check_batch_size(&self, settings: &EpochSettings) -> Result<(), DataError> {
        let asked = settings.batch_size;
        let wrong = |reason: String| Err(DataError::BatchSize { asked, reason });
        match self.fixed_batch() {
            _ if asked == 0 => wrong("at least 1 is wanted".into()),
            Some(fixed) if fixed != asked => wrong(format!("the model takes {fixed} at once")),
            Some(_) if !settings.drop_last && !self.len().is_multiple_of(asked) => {
                wrong("the model takes no smaller ones, so the last of an epoch must be left out".into())
            }
            _ if settings.drop_last && asked > self.len() => {
                Err(DataError::TooFewSamples { path: self.path().into(), asked, available: self.len() })
            }
            _ => Ok(()),
        }
    }

    fn check_augmentation(&self, augmentation: &dyn Augmentation, axes: Option<&ImageAxes>) -> Result<(), String> {
        if augmentation.is_mixing() {
            return if self.is_paired() { Err("pairs cannot be mixed".into()) } else { Ok(()) };
        }
        let Some(axes) = axes else { return Err("the samples are no images".into()) };
        if axes.black.len() != axes.channels {
            return Err("the model is fed pixels that are no f32".into());
        }
        if augmentation.is_resizing() && axes.is_fixed {
            return Err("the model takes images of one size only".into());
        }
        axes.size.map_or(Ok(()), |size| augmentation.check(size))
    }

    fn soft_labels(&self, asked: SoftLabels) -> Result<(usize, f32), DataError> {
        let missing = || DataError::MissingLabels { path: self.path().into(), wanted: "labels" };
        let Some(Labels::Classes(labels)) = self.labels() else { return Err(missing()) };
        let classes = asked.classes.or(self.class_count()).ok_or_else(missing)?;
        for (position, &label) in labels.iter().enumerate() {
            class_of(label, self.rows()[position], classes, self.path())?;
        }
        Ok((classes, asked.smoothing))
    }
}

impl Epochs {
    /// Batches in an epoch; at least 1.
    pub fn steps(&self) -> usize {
        let Plan { dataset, settings, .. } = &*self.0;
        match settings.drop_last {
            true => dataset.len() / settings.batch_size,
            false => dataset.len().div_ceil(settings.batch_size),
        }
    }

    /// What was asked for.
    pub fn settings(&self) -> &EpochSettings {
        &self.0.settings
    }

    /// Number of classes in the soft labels, if batches have them.
    pub fn classes(&self) -> Option<usize> {
        self.0.soft.map(|(classes, _)| classes)
    }

    /// Every batch from `step` of `epoch` on, in order; ends after the last epoch. Nothing before it is read or drawn, and a `step` past
    /// the end of its epoch means the next one.
    pub fn start(&self, epoch: u64, step: usize) -> TrainingBatches {
        TrainingBatches::new(self.clone(), epoch, step)
    }

    /// One batch, prepared now and on this thread (image files are decoded on several).
    ///
    /// # Errors
    /// What reading the samples gives; [`DataError::TooFewSamples`] if the epoch has no such step;
    /// [`DataError::Augmentation`] if images turn out not to be what an augmentation needs.
    pub fn batch(&self, epoch: u64, step: usize) -> Result<TrainingBatch, DataError> {
        self.batch_in(&self.order(epoch), epoch, step)
    }

    /// Positions in the data set, in the order of `epoch`.
    fn order(&self, epoch: u64) -> Vec<usize> {
        let mut positions: Vec<usize> = (0..self.0.dataset.len()).collect();
        if self.0.settings.shuffle {
            Chance::new(self.0.settings.seed, epoch, 0, Purpose::Order).shuffle(&mut positions);
        }
        positions
    }

    fn batch_in(&self, order: &[usize], epoch: u64, step: usize) -> Result<TrainingBatch, DataError> {
        let Plan { dataset, settings, soft, .. } = &*self.0;
        let size = settings.batch_size;
        let positions = order.chunks(size).nth(step).filter(|_| step < self.steps()).ok_or_else(|| {
            let asked = step.saturating_add(1).saturating_mul(size);
            DataError::TooFewSamples { path: dataset.path().into(), asked, available: dataset.len() }
        })?;
        let mut batch = dataset.batch(positions)?;
        let soft_labels = match (soft, &batch.labels) {
            (Some((classes, smoothing)), Some(Labels::Classes(labels))) => Some(one_hot(labels, *classes, *smoothing)?),
            _ => None,
        };
        let progress = (epoch as f64 + step as f64 / self.steps() as f64) / settings.epochs.max(1) as f64;
        self.change_images(&mut batch, epoch, progress)?;
        let mut all = TrainingBatch { epoch, step, batch, soft_labels };
        self.mix(&mut all)?;
        Ok(all)
    }

    fn augmentation_error(&self, name: &str, reason: impl Into<String>) -> DataError {
        DataError::Augmentation { path: self.0.dataset.path().into(), name: name.into(), reason: reason.into() }
    }

    /// The augmentations of single images.
    fn change_images(&self, batch: &mut Batch, epoch: u64, progress: f64) -> Result<(), DataError> {
        let Plan { settings, axes, .. } = &*self.0;
        let all =
            || settings.augmentations.iter().enumerate().filter(|(_, (_, augmentation))| !augmentation.is_mixing());
        let (Some((_, (first, _))), Some(axes)) = (all().next(), axes) else { return Ok(()) };
        let failed = |source: TensorError| self.augmentation_error(first, source.to_string());
        let [(_, tensor)] = &mut batch.inputs[..] else {
            return Err(self.augmentation_error(first, "the samples are no images"));
        };
        let shape = tensor.shape().to_vec();
        let no_image = || self.augmentation_error(first, format!("samples of {shape:?} are no images"));
        let size = size_in(&shape, axes).ok_or_else(no_image)?;
        let len = axes.channels * size[0] * size[1];
        if len == 0 || shape.iter().product::<usize>() != len * batch.rows.len() {
            return Err(no_image());
        }
        for (_, (name, augmentation)) in all() {
            augmentation.check(size).map_err(|reason| self.augmentation_error(name, reason))?;
        }
        let mut values =
            std::mem::replace(tensor, Tensor::vector(Vec::<f32>::new())).into_vec::<f32>().map_err(failed)?;
        let mut image = Image::empty(axes.black.clone());
        let mut size_after = None;
        // Where the next image goes: never behind the next to be read, so that no second batch takes memory.
        let mut end = 0;
        for (sample, &row) in batch.rows.iter().enumerate() {
            let sample = &values[sample * len..(sample + 1) * len];
            image.load(sample, size, axes.layout);
            for (at, (name, augmentation)) in all() {
                let mut chance = Chance::new(settings.seed, epoch, row as u64, Purpose::Sample(at));
                augmentation.change(&mut image, progress, &mut chance);
                let has_pixels = image.values().len() == image.channels() * image.size()[0] * image.size()[1];
                if !has_pixels {
                    return Err(self.augmentation_error(name, "pixels were lost"));
                }
            }
            if *size_after.get_or_insert(image.size()) != image.size() {
                return Err(self.augmentation_error(first, "the images of a batch came out in several sizes"));
            }
            if image.values().len() > len {
                return Err(self.augmentation_error(first, "images came out larger"));
            }
            let start = end;
            end += image.values().len();
            image.store(&mut values[start..end], axes.layout);
        }
        values.truncate(end);
        *tensor = Tensor::new(shape_of(&shape, axes, size_after.unwrap_or(size)), values).map_err(failed)?;
        Ok(())
    }

    /// The augmentations that mix samples.
    fn mix(&self, all: &mut TrainingBatch) -> Result<(), DataError> {
        let settings = &self.0.settings;
        let mixing =
            settings.augmentations.iter().enumerate().filter(|(_, (_, augmentation))| augmentation.is_mixing());
        for (at, (name, augmentation)) in mixing {
            let mut chance = Chance::new(settings.seed, all.epoch, all.step as u64, Purpose::Batch(at));
            let samples = all.batch.rows.len();
            let Some(mix) = augmentation.mix(samples, &mut chance) else { continue };
            if mix.partners.len() != samples || mix.partners.iter().any(|&partner| partner >= samples) {
                return Err(self.augmentation_error(name, "partners are not samples of the batch"));
            }
            let failed = |source: TensorError| self.augmentation_error(name, source.to_string());
            for (_, tensor) in &mut all.batch.inputs {
                *tensor = mixed(tensor, &mix).map_err(failed)?;
            }
            if let Some(soft_labels) = &mut all.soft_labels {
                *soft_labels = mixed(soft_labels, &mix).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Height and width of the images in a batch of `shape`.
fn size_in(shape: &[usize], axes: &ImageAxes) -> Option<[usize; 2]> {
    match (shape, axes.layout) {
        (&[_, channels, height, width], Layout::Nchw) | (&[_, height, width, channels], Layout::Nhwc) => {
            (channels == axes.channels).then_some([height, width])
        }
        (&[_, height, width], _) => (axes.channels == 1).then_some([height, width]),
        (&[_, _], _) => axes.size,
        _ => None,
    }
}

/// `shape` of a batch once its images are `[height, width]`.
fn shape_of(shape: &[usize], axes: &ImageAxes, [height, width]: [usize; 2]) -> Vec<usize> {
    let n = shape[0];
    match (shape.len(), axes.layout) {
        (4, Layout::Nchw) => vec![n, axes.channels, height, width],
        (4, Layout::Nhwc) => vec![n, height, width, axes.channels],
        (3, _) => vec![n, height, width],
        _ => vec![n, axes.channels * height * width],
    }
}

/// `share · tensor[i] + (1 - share) · tensor[partners[i]]` along the first axis, which has as many samples as there are partners.
fn mixed(tensor: &Tensor, mix: &Mix) -> Result<Tensor, TensorError> {
    let values = tensor.as_slice::<f32>()?;
    let len = values.len() / mix.partners.len().max(1);
    let mut out = Vec::with_capacity(values.len());
    for (own, &partner) in values.chunks_exact(len.max(1)).zip(&mix.partners) {
        let other = &values[partner * len..(partner + 1) * len];
        out.extend(own.iter().zip(other).map(|(a, b)| mix.share * a + (1.0 - mix.share) * b));
    }
    Tensor::new(tensor.shape(), out)
}
