//! Augmentations: changes of training samples that leave their meaning.
//!
//! They work on prepared images, in f32 and after normalisation, one plane for each channel, so that training and evaluation share
//! every step of the preparation before them and so that every format is augmented alike, arrays of floats too. A black pixel is what 0
//! becomes in the preparation, as if the padding had been done on the 8-bit image.
//!
//! Random numbers are counted, not drawn in turn: those of a sample follow from the seed, the epoch, its position in the files and
//! the place of the augmentation in the list. No other sample, batch size, thread or interruption changes them.
//!
//! One file each; the list is [`AUGMENTATIONS`]. In TOML, in the order they are to be applied:
//! ```toml
//! augment = ["flip", { name = "crop", padding = 4 }, { name = "mixup", alpha = 0.2 }]
//! ```
//! `{ crop = { padding = 4 } }` says the same.

mod chance;
mod crop;
mod cutout;
mod flip;
mod image;
mod low_resolution;
mod mixup;
mod rand_augment;
mod random_erase;
mod resized_crop;
mod spectrum;

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

pub use chance::Chance;
pub(crate) use chance::Purpose;
pub use image::Image;

/// An augmentation as it stands in [`AUGMENTATIONS`].
#[derive(Clone, Copy)]
pub struct AugmentationSpec {
    /// The word in settings.
    pub name: &'static str,
    /// One line on what it does.
    pub summary: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Typical settings, as TOML; tests run them and the documentation shows them. Empty if there is nothing to set.
    pub example: &'static str,
    /// Reads and checks the settings; the error says what is wrong with them.
    pub parse: fn(toml::Table) -> Result<Arc<dyn Augmentation>, String>,
}

impl fmt::Debug for AugmentationSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AugmentationSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every augmentation, by name.
pub static AUGMENTATIONS: &[AugmentationSpec] = &[
    crop::SPEC,
    cutout::SPEC,
    flip::SPEC,
    low_resolution::SPEC,
    mixup::SPEC,
    rand_augment::SPEC,
    random_erase::SPEC,
    resized_crop::SPEC,
];

static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| AUGMENTATIONS.iter().map(|spec| spec.name).collect());

/// An augmentation with its settings. It changes images one by one, or mixes the samples of a batch.
pub trait Augmentation: fmt::Debug + Send + Sync {
    /// Changes one image. `progress` is the share of training done before this batch, 0..1. Every image of a batch must come
    /// out in the same size, which is at most the size it had.
    fn change(&self, _image: &mut Image, _progress: f64, _chance: &mut Chance) {}

    /// How the `samples` of a batch are mixed, if they are.
    fn mix(&self, _samples: usize, _chance: &mut Chance) -> Option<Mix> {
        None
    }

    /// Whether it mixes samples, so that labels become shares of classes; else it changes images.
    fn is_mixing(&self) -> bool {
        false
    }

    /// Whether images may come out in another size.
    fn is_resizing(&self) -> bool {
        false
    }

    /// Checks that it can work on images of `[height, width]`.
    ///
    /// # Errors
    /// What stands in the way.
    fn check(&self, _size: [usize; 2]) -> Result<(), String> {
        Ok(())
    }
}

/// Sample `i` becomes `share · sample[i] + (1 - share) · sample[partners[i]]`, and its label likewise.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// What stays of each sample, 0..1.
    pub share: f32,
    /// Position in the batch of the other sample, one for each.
    pub partners: Vec<usize>,
}

/// Augmentations in the order they are applied. Reads from a list of names and of tables with a name.
#[derive(Debug, Clone, Default)]
pub struct Augmentations(Vec<Named>);

#[derive(Debug, Clone)]
struct Named {
    name: String,
    augmentation: Arc<dyn Augmentation>,
}

impl Augmentations {
    /// None at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds one at the end; `name` is for messages.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, augmentation: Arc<dyn Augmentation>) -> Self {
        self.0.push(Named { name: name.into(), augmentation });
        self
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|named| named.name.as_str())
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them mixes samples.
    pub fn is_mixing(&self) -> bool {
        self.iter().any(|(_, augmentation)| augmentation.is_mixing())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &dyn Augmentation)> {
        self.0.iter().map(|named| (named.name.as_str(), &*named.augmentation))
    }
}

fn find(name: &str) -> Option<&'static AugmentationSpec> {
    AUGMENTATIONS.iter().find(|spec| spec.name == name)
}

impl Named {
    fn new<E: de::Error>(name: &str, settings: toml::Table) -> Result<Self, E> {
        let spec = find(name).ok_or_else(|| E::unknown_variant(name, &NAMES))?;
        let augmentation = (spec.parse)(settings).map_err(|reason| E::custom(format!("`{name}`: {reason}")))?;
        Ok(Self { name: name.into(), augmentation })
    }
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Named;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the name of an augmentation, or a table with its name and settings")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Named, E> {
                Named::new(name, toml::Table::new())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named, A::Error> {
                let mut all = toml::Table::new();
                while let Some((key, value)) = map.next_entry()? {
                    all.insert(key, value);
                }
                if let Some(name) = all.remove("name") {
                    let name = name.as_str().ok_or_else(|| de::Error::custom("`name` wants a word in quotes"))?;
                    return Named::new(name, all);
                }
                if all.len() > 1 {
                    return Err(de::Error::custom("one augmentation a table; they are applied in the order listed"));
                }
                match all.into_iter().next() {
                    None => Err(de::Error::custom("an augmentation has a name: { name = \"crop\", padding = 4 }")),
                    Some((name, toml::Value::Table(settings))) => Named::new(&name, settings),
                    Some((name, _)) if find(&name).is_none() => Err(de::Error::unknown_variant(&name, &NAMES)),
                    Some((name, _)) => Err(de::Error::custom(format!("`{name}` wants a table of settings"))),
                }
            }
        }
        deserializer.deserialize_any(One)
    }
}

impl<'de> Deserialize<'de> for Augmentations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Augmentations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of augmentations")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Augmentations, A::Error> {
                let mut all = Vec::new();
                while let Some(named) = list.next_element()? {
                    all.push(named);
                }
                Ok(Augmentations(all))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// The settings of one augmentation as its own type.
fn read<T: DeserializeOwned>(settings: toml::Table) -> Result<T, String> {
    settings.try_into().map_err(|error: toml::de::Error| error.message().trim().to_string())
}

/// That `value` of `key` lies in 0..1.
fn check_share(key: &str, value: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(format!("`{key}` is {value}, a share from 0 to 1 is wanted"))
    }
}

/// That `range` of `key` goes from more than 0 up to at most `most`.
fn check_range(key: &str, [low, high]: [f64; 2], most: f64) -> Result<(), String> {
    if low > 0.0 && low <= high && high <= most {
        return Ok(());
    }
    let bound = if most.is_finite() { format!(", at most {most}") } else { String::new() };
    Err(format!("`{key}` is [{low}, {high}], two numbers above 0 are wanted, the smaller first{bound}"))
}

#[cfg(test)]
mod tests;
