//! From pixels to what the model is fed.

use half::{bf16, f16};
use lissom_tensor::{DType, Element, Tensor};
use rayon::prelude::*;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::format::ImageAxes;
use crate::pixels::{Pixels, resized_size};
use crate::settings::{Colour, ImageSettings, Layout, MAX_SIDE, Size};
use crate::{DataError, DataSettings, InputSpec, Notice, resample};

/// How the pixels of one source become one input of a model.
#[derive(Debug)]
pub(crate) struct Preparation {
    path: PathBuf,
    input: InputSpec,
    image: ImageSettings,
    colour: Option<Colour>,
    layout: Layout,
    /// Channels after `colour`.
    channels: usize,
    /// What each pixel value becomes, for each channel; empty if pixels are fed as they are.
    tables: Vec<[f32; 256]>,
}

impl Preparation {
    /// Prepares images of `channels` channels, kept unless the settings name a colour.
    pub fn for_arrays(
        path: &Path,
        input: &InputSpec,
        settings: &DataSettings,
        channels: usize,
    ) -> Result<(Self, Vec<Notice>), DataError> {
        let colour = settings.image.as_ref().and_then(|image| image.colour);
        Self::new(path, input, settings, colour, channels)
    }

    /// Prepares image files, which become RGB, or grey for a model with one channel, unless the settings name a colour.
    pub fn for_files(
        path: &Path,
        input: &InputSpec,
        settings: &DataSettings,
    ) -> Result<(Self, Vec<Notice>), DataError> {
        let layout = layout_of(input, settings, None);
        let wants_grey = match (input.shape.len(), layout) {
            (4, Layout::Nchw) => input.shape[1] == Some(1),
            (4, Layout::Nhwc) => input.shape[3] == Some(1),
            (rank, _) => rank == 3,
        };
        let usual = if wants_grey { Colour::Grey } else { Colour::Rgb };
        let colour = settings.image.as_ref().and_then(|image| image.colour).unwrap_or(usual);
        Self::new(path, input, settings, Some(colour), 3)
    }

    fn new(
        path: &Path,
        input: &InputSpec,
        settings: &DataSettings,
        colour: Option<Colour>,
        channels: usize,
    ) -> Result<(Self, Vec<Notice>), DataError> {
        let channels = match colour {
            Some(Colour::Grey) => 1,
            Some(Colour::Rgb | Colour::Bgr) => 3,
            None => channels,
        };
        let image = settings.image.clone().unwrap_or_default();
        for (key, values) in [("mean", &image.mean), ("std", &image.std)] {
            if values.len() > 1 && values.len() != channels {
                let reason = format!("`{key}` has {} values, the images have {channels} channels", values.len());
                return Err(settings.error(reason, None));
            }
        }
        let mut notices = Vec::new();
        let tables = match input.dtype {
            DType::F32 | DType::F16 | DType::BF16 | DType::F64 => {
                if settings.image.is_none() {
                    notices.push(Notice::PixelsScaled);
                }
                (0..channels).map(|channel| table(&image, channel)).collect()
            }
            _ => {
                if image.scale.is_some() || !image.mean.is_empty() || !image.std.is_empty() {
                    notices.push(Notice::SettingsUnused { input: input.name.clone(), found: input.dtype.to_string() });
                }
                Vec::new()
            }
        };
        let layout = layout_of(input, settings, Some(channels));
        Ok((Self { path: path.into(), input: input.clone(), image, colour, layout, channels, tables }, notices))
    }

    /// Checks that images of this size, described by `found`, fit the model once prepared.
    ///
    /// # Errors
    /// [`DataError::InputMismatch`].
    pub fn check(&self, [height, width]: [usize; 2], found: impl Fn() -> String) -> Result<(), DataError> {
        let mismatch = |found: String, fix: Option<String>| {
            Err(DataError::InputMismatch { path: self.path.clone(), input: Box::new(self.input.clone()), found, fix })
        };
        if !matches!(self.input.dtype, DType::F32 | DType::F16 | DType::BF16 | DType::F64 | DType::U8) {
            return mismatch(found(), Some("pixels can feed f32, f16, bf16, f64 and u8".into()));
        }
        let [h, w] = self.size_after([height, width]);
        let [crop_h, crop_w] = self.image.crop.map_or([h, w], Size::height_width);
        if crop_h > h || crop_w > w {
            let found = format!("{}, {h}x{w} after resize, smaller than the crop of {crop_h}x{crop_w}", found());
            return mismatch(found, Some("a larger `resize` under [image] in data.toml".into()));
        }
        let shape = self.shape(1, [crop_h, crop_w]);
        if self.input.fits_samples(&shape) {
            return Ok(());
        }
        let changed = if [crop_h, crop_w] == [height, width] { "" } else { " after resize and crop" };
        let text = format!("{} (prepared: {}x{crop_h}x{crop_w}{changed})", found(), self.channels);
        mismatch(text, self.fix())
    }

    /// What in the settings would make images fit.
    fn fix(&self) -> Option<String> {
        let wanted = |channels: usize, h: usize, w: usize| {
            let side = |axis: usize| self.input.shape[axis].unwrap_or(0);
            (side(channels), side(h), side(w))
        };
        let (channels, h, w) = match (self.input.shape.len(), self.layout) {
            (4, Layout::Nchw) => wanted(1, 2, 3),
            (4, Layout::Nhwc) => wanted(3, 1, 2),
            _ => return None,
        };
        let mut keys = Vec::new();
        match channels {
            1 if self.channels != 1 => keys.push("colour = \"grey\"".to_string()),
            3 if self.channels != 3 => keys.push("colour = \"rgb\"".to_string()),
            _ => {}
        }
        if h > 0 && w > 0 {
            keys.push(format!("resize = [{h}, {w}]"));
        }
        Some(format!("if this is the right data: {} under [image] in data.toml", keys.join(", ")))
    }

    /// How images of `size` lie in the input once prepared; `None` if their size is not known before they are decoded.
    pub fn axes(&self, size: Option<[usize; 2]>) -> ImageAxes {
        let (image, known) = (&self.image, size.map(|size| self.size_after(size)));
        let resized = match image.resize {
            Some(Size::Exact(size)) => Some(size),
            _ => known,
        };
        let is_fixed = match (self.input.shape.len(), self.layout) {
            (4, Layout::Nhwc) => self.input.shape[1].is_some() || self.input.shape[2].is_some(),
            (4, Layout::Nchw) => self.input.shape[2].is_some() || self.input.shape[3].is_some(),
            _ => self.input.shape.iter().skip(1).any(Option::is_some),
        };
        ImageAxes {
            channels: self.channels,
            size: image.crop.map(Size::height_width).or(resized),
            layout: self.layout,
            black: self.tables.iter().map(|table| table[0]).collect(),
            is_fixed,
        }
    }

    fn size_after(&self, size: [usize; 2]) -> [usize; 2] {
        self.image.resize.map_or(size, |resize| resized_size(size, resize))
    }

    /// Shape of a batch of `n` prepared images.
    fn shape(&self, n: usize, [h, w]: [usize; 2]) -> Vec<usize> {
        let c = self.channels;
        match (self.input.shape.len(), self.layout) {
            (2, _) => vec![n, c.saturating_mul(h).saturating_mul(w)],
            (3, _) if c == 1 => vec![n, h, w],
            (_, Layout::Nchw) => vec![n, c, h, w],
            (_, Layout::Nhwc) => vec![n, h, w, c],
        }
    }

    /// The images of `[height, width]` at `rows`, whose planes `load` gives: what [`batch`](Self::batch) makes of them, without a copy
    /// and on this thread. `None` if there is more to do than to look up each pixel.
    pub fn batch_of_planes<'a>(
        &self,
        rows: &[usize],
        [channels, height, width]: [usize; 3],
        load: impl Fn(usize) -> &'a [u8],
    ) -> Option<Result<Vec<(String, Tensor)>, DataError>> {
        let size = [height, width];
        let keeps_colour = match self.colour {
            None => true,
            Some(Colour::Rgb) => channels == 3,
            Some(Colour::Grey) => channels == 1,
            Some(Colour::Bgr) => false,
        };
        let keeps_size =
            self.size_after(size) == size && self.image.crop.is_none_or(|crop| crop.height_width() == size);
        let is_plain = keeps_colour && keeps_size && (self.layout == Layout::Nchw || channels == 1);
        if !is_plain || self.input.dtype != DType::F32 || height * width == 0 {
            return None;
        }
        let shape = self.shape(rows.len(), size);
        let failed = |source| DataError::Tensor { path: self.path.clone(), array: self.input.name.clone(), source };
        let tensor = lissom_tensor::checked_len(DType::F32, &shape).and_then(|len| {
            let mut values = Vec::with_capacity(len);
            for &row in rows {
                for (plane, table) in load(row).chunks_exact(height * width).zip(&self.tables) {
                    values.extend(plane.iter().map(|&x| table[usize::from(x)]));
                }
            }
            Tensor::new(shape, values)
        });
        Some(tensor.map(|tensor| vec![(self.input.name.clone(), tensor)]).map_err(failed))
    }

    /// The images that `load` gives for `rows`, as one tensor named as the input.
    pub fn batch(
        &self,
        rows: &[usize],
        load: impl Fn(usize) -> Result<Pixels, DataError> + Sync,
    ) -> Result<Vec<(String, Tensor)>, DataError> {
        self.batch_of_prepared(rows, |row| Ok(Cow::Owned(self.prepared(load(row)?)?)))
    }

    /// As [`batch`](Self::batch), of images that went through [`prepared`](Self::prepared) already.
    pub fn batch_of_prepared<'a>(
        &self,
        rows: &[usize],
        load: impl Fn(usize) -> Result<Cow<'a, Pixels>, DataError> + Sync,
    ) -> Result<Vec<(String, Tensor)>, DataError> {
        let images: Vec<_> = rows.par_iter().map(|&row| load(row)).collect();
        // Collected first, so that the error reported is that of the first row at any number of threads.
        let images: Vec<Cow<'a, Pixels>> = images.into_iter().collect::<Result<_, _>>()?;
        let size = images.first().map_or([0, 0], |image| [image.height, image.width]);
        if let Some(other) = images.iter().find(|image| [image.height, image.width] != size) {
            let [h, w] = size;
            let found = format!("images of {h}x{w} and {}x{} in one batch", other.height, other.width);
            let fix = Some("`resize` and `crop` under [image] in data.toml make them alike".into());
            return Err(DataError::InputMismatch {
                path: self.path.clone(),
                input: Box::new(self.input.clone()),
                found,
                fix,
            });
        }
        let shape = self.shape(images.len(), size);
        let tensor = match self.input.dtype {
            DType::F16 => self.tensor(shape, &images, |channel, x| f16::from_f32(self.tables[channel][usize::from(x)])),
            DType::BF16 => {
                self.tensor(shape, &images, |channel, x| bf16::from_f32(self.tables[channel][usize::from(x)]))
            }
            DType::F64 => self.tensor(shape, &images, |channel, x| f64::from(self.tables[channel][usize::from(x)])),
            DType::F32 => self.tensor(shape, &images, |channel, x| self.tables[channel][usize::from(x)]),
            _ => self.tensor(shape, &images, |_, x| x),
        };
        Ok(vec![(self.input.name.clone(), tensor?)])
    }

    /// Colour, resize, crop.
    pub fn prepared(&self, pixels: Pixels) -> Result<Pixels, DataError> {
        let size = [pixels.height, pixels.width];
        let channels = pixels.channels;
        let found = || format!("an image of {}x{} with {channels} channels", size[0], size[1]);
        self.check(size, found)?;
        let failed = |reason| DataError::Image { path: self.path.clone(), reason };
        let pixels = match self.colour {
            Some(colour) => {
                pixels.in_colour(colour).ok_or_else(|| failed(format!("{channels} channels are no colour")))?
            }
            None => pixels,
        };
        let [h, w] = self.size_after(size);
        if h > MAX_SIDE || w > MAX_SIDE {
            return Err(failed(format!("{h}x{w} after resize, at most {MAX_SIDE} are allowed")));
        }
        let pixels = resample::resize(pixels, [h, w], self.image.filter);
        Ok(pixels.cropped(self.image.crop.map_or([h, w], Size::height_width)))
    }

    fn tensor<T: Element>(
        &self,
        shape: Vec<usize>,
        images: &[Cow<'_, Pixels>],
        value: impl Fn(usize, u8) -> T,
    ) -> Result<Tensor, DataError> {
        let failed = |source| DataError::Tensor { path: self.path.clone(), array: self.input.name.clone(), source };
        let mut values = Vec::with_capacity(lissom_tensor::checked_len(T::DTYPE, &shape).map_err(failed)?);
        for image in images {
            let pixels = image.values.chunks_exact(self.channels);
            match self.layout {
                Layout::Nchw => {
                    for channel in 0..self.channels {
                        values.extend(pixels.clone().map(|pixel| value(channel, pixel[channel])));
                    }
                }
                Layout::Nhwc => values
                    .extend(pixels.flat_map(|pixel| pixel.iter().enumerate().map(|(channel, &x)| value(channel, x)))),
            }
        }
        Tensor::new(shape, values).map_err(failed)
    }
}

/// `(x / scale - mean) / std` in f32 for every pixel value `x`.
fn table(image: &ImageSettings, channel: usize) -> [f32; 256] {
    let of_channel = |values: &[f32], absent: f32| match values {
        [] => absent,
        [value] => *value,
        values => values[channel],
    };
    let (scale, mean, std) = (image.scale.unwrap_or(255.0), of_channel(&image.mean, 0.0), of_channel(&image.std, 1.0));
    std::array::from_fn(|x| (x as f32 / scale - mean) / std)
}

/// Where the channels are: as set, else the axis of the model that has `channels`, else one that looks like channels.
pub(crate) fn layout_of(input: &InputSpec, settings: &DataSettings, channels: Option<usize>) -> Layout {
    if let Some(layout) = settings.image.as_ref().and_then(|image| image.layout) {
        return layout;
    }
    let [_, second, _, last] = input.shape[..] else { return Layout::Nchw };
    let looks_like = |dim: Option<usize>| matches!(dim, Some(1 | 3));
    let is_channels = |dim: Option<usize>| dim.is_some() && dim == channels;
    match [is_channels(second), is_channels(last), looks_like(second), looks_like(last)] {
        [false, true, ..] | [false, false, false, true] => Layout::Nhwc,
        _ => Layout::Nchw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> DataSettings {
        DataSettings::parse(text, Path::new("data.toml")).unwrap()
    }

    fn spec(dtype: DType, shape: &[usize]) -> InputSpec {
        let shape: Vec<_> = [None].into_iter().chain(shape.iter().map(|&dim| Some(dim))).collect();
        InputSpec::new("input", dtype, shape)
    }

    /// Two pixels, red-green-blue (0, 51, 255) and (102, 204, 153).
    fn two_pixels() -> Pixels {
        Pixels { height: 1, width: 2, channels: 3, values: vec![0, 51, 255, 102, 204, 153] }
    }

    fn prepared(text: &str, input: &InputSpec) -> Tensor {
        let (preparation, _) = Preparation::for_arrays(Path::new("x"), input, &settings(text), 3).unwrap();
        preparation.batch(&[0], |_| Ok(two_pixels())).unwrap().remove(0).1
    }

    #[test]
    fn pixels_are_scaled_shifted_and_divided_channel_by_channel() {
        let tensor = prepared("[image]\nmean = [0.0, 0.2, 0.5]\nstd = [1.0, 0.5, 0.25]", &spec(DType::F32, &[3, 1, 2]));
        // By hand: red 0, 0.4; green (0.2 − 0.2)/0.5, (0.8 − 0.2)/0.5; blue (1 − 0.5)/0.25, (0.6 − 0.5)/0.25.
        let expected = [0.0, 0.4, 0.0, 1.2, 2.0, 0.4];
        for (a, e) in tensor.as_slice::<f32>().unwrap().iter().zip(expected) {
            assert!((a - e).abs() < 1e-6, "{a} is not {e}");
        }
        assert_eq!(tensor.shape(), [1, 3, 1, 2]);
    }

    #[test]
    fn scale_one_leaves_whole_numbers_exact() {
        let tensor = prepared("[image]\nscale = 1.0\nmean = [127.0]\nstd = [128.0]", &spec(DType::F32, &[1, 2, 3]));
        let expected: Vec<f32> = two_pixels().values.iter().map(|&x| (f32::from(x) - 127.0) / 128.0).collect();
        assert_eq!(tensor, Tensor::new([1, 1, 2, 3], expected).unwrap());
    }

    #[test]
    fn the_shape_of_the_model_decides_the_layout_unless_told() {
        let u8s = |shape: &[usize], text| prepared(text, &spec(DType::U8, shape)).into_vec::<u8>().unwrap();
        assert_eq!(u8s(&[3, 1, 2], ""), [0, 102, 51, 204, 255, 153]);
        assert_eq!(u8s(&[1, 2, 3], ""), [0, 51, 255, 102, 204, 153]);
        assert_eq!(u8s(&[1, 2, 3], "[image]\ncolour = \"bgr\""), [255, 51, 0, 153, 204, 102]);
        assert_eq!(u8s(&[6], "[image]\nlayout = \"nhwc\""), [0, 51, 255, 102, 204, 153]);
        assert_eq!(u8s(&[1, 2], "[image]\ncolour = \"grey\""), [59, 168]);
    }

    #[test]
    fn every_float_type_is_fed_the_same_numbers() {
        let wanted = prepared("", &spec(DType::F32, &[3, 1, 2])).to_f64_vec().unwrap();
        for dtype in [DType::F16, DType::BF16, DType::F64] {
            let tensor = prepared("", &spec(dtype, &[3, 1, 2]));
            assert_eq!(tensor.dtype(), dtype);
            for (a, e) in tensor.to_f64_vec().unwrap().iter().zip(&wanted) {
                assert!((a - e).abs() < 4e-3);
            }
        }
    }

    #[test]
    fn missing_settings_are_noticed() {
        let input = spec(DType::F32, &[3, 1, 2]);
        let notices = |settings: &DataSettings| Preparation::for_arrays(Path::new("x"), &input, settings, 3).unwrap().1;
        assert_eq!(notices(&DataSettings::default()), [Notice::PixelsScaled]);
        assert_eq!(notices(&settings("[image]")), []);
    }

    #[test]
    fn a_size_that_does_not_fit_names_both_sides_and_the_keys() {
        let input = spec(DType::F32, &[3, 32, 32]);
        let (preparation, _) = Preparation::for_arrays(Path::new("x"), &input, &DataSettings::default(), 1).unwrap();
        let error = preparation.check([28, 28], || "u8[10,28,28]".into()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("`input` f32[N,3,32,32]") && message.contains("u8[10,28,28]"), "{message}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("colour = \"rgb\", resize = [32, 32]"), "{hint}");
    }

    #[test]
    fn a_mean_for_another_number_of_channels_is_refused() {
        let outcome = Preparation::for_arrays(
            Path::new("x"),
            &spec(DType::F32, &[1, 2, 2]),
            &settings("[image]\nmean = [0.1, 0.2, 0.3]"),
            1,
        );
        assert!(matches!(outcome, Err(DataError::Settings { .. })));
    }
}
