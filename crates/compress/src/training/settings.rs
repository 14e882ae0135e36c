//! The `[train]` and `[model]` tables of a recipe.

use std::time::Duration;

use lissom_data::Augmentations;
use lissom_recipe::{Named, Settings, SettingsError};
use lissom_train::{
    ARCHITECTURES, Architecture, BatchNorm, LOSSES, Loss, Missing, OPTIMIZERS, Objective, Optimizer, Precision,
    Recompute, SCHEDULES, Schedule,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What `[train]` says.
#[derive(Debug, Clone)]
pub struct TrainSettings {
    /// How often the data is gone through.
    pub epochs: u64,
    /// Samples a step.
    pub batch: usize,
    /// What is done to the samples.
    pub augment: Augmentations,
    /// Seed of order, augmentation, dropout and noise; absent: that of the run.
    pub seed: Option<u64>,
    /// Decay of the moving average of the parameters, which is then the result.
    pub ema: Option<f64>,
    /// Most that the norm of all gradients together may be.
    pub clip_norm: Option<f64>,
    /// η of noise added to gradients, whose variance is η / (1 + t)^0.55.
    pub gradient_noise: Option<f64>,
    /// Epochs from one evaluation to the next; 0 evaluates after the last one only.
    pub evaluate_every: u64,
    /// Steps from one line of metrics to the next; the end of an epoch has one anyhow.
    pub metrics_every: u64,
    /// Seconds from one checkpoint to the next.
    pub checkpoint_seconds: f64,
    /// Which forward values are computed twice rather than kept.
    pub recompute: Recompute,
    /// What is done at operators without gradient.
    pub missing_gradient: Missing,
    /// What batch norms do.
    pub batch_norm: BatchNorm,
    /// Whether dropout drops.
    pub dropout: bool,
    /// How products compute.
    pub precision: Precision,
    optimizer: Named,
    schedule: Named,
    losses: Vec<Named>,
    place: Settings,
}

/// The keys, as serde reads them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    epochs: u64,
    batch: usize,
    augment: Augmentations,
    seed: Option<u64>,
    ema: Option<f64>,
    clip_norm: Option<f64>,
    gradient_noise: Option<f64>,
    evaluate_every: u64,
    metrics_every: u64,
    checkpoint_seconds: f64,
    recompute: Recompute,
    missing_gradient: Missing,
    batch_norm: BatchNorm,
    dropout: bool,
    precision: Precision,
    /// Read apart; named here so that these are no unknown keys.
    #[serde(rename = "optimizer")]
    _optimizer: IgnoredAny,
    #[serde(rename = "schedule")]
    _schedule: IgnoredAny,
    #[serde(rename = "loss")]
    _loss: IgnoredAny,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch: 128,
            augment: Augmentations::none(),
            seed: None,
            ema: None,
            clip_norm: None,
            gradient_noise: None,
            evaluate_every: 1,
            metrics_every: 1,
            checkpoint_seconds: 60.0,
            recompute: Recompute::Nothing,
            missing_gradient: Missing::Refuse,
            batch_norm: BatchNorm::Train,
            dropout: true,
            precision: Precision::F32,
            _optimizer: IgnoredAny,
            _schedule: IgnoredAny,
            _loss: IgnoredAny,
        }
    }
}

/// The loss unless one is named.
const CROSS_ENTROPY: &str = "cross_entropy";
/// The losses that take labels, or shares of classes.
const OF_CLASSES: [&str; 2] = [CROSS_ENTROPY, "distillation"];

impl TrainSettings {
    /// Reads and checks a `[train]` table.
    ///
    /// # Errors
    /// Unknown keys and words, and values that make no sense, each with its place.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let keys: Keys = settings.parse()?;
        let named = |key: &str, default: &str| -> Result<Named, SettingsError> {
            Ok(settings.named(key)?.unwrap_or_else(|| Named::word(key, default)))
        };
        let mut losses = settings.named_list("loss")?;
        if losses.is_empty() {
            losses.push(Named::word("loss", CROSS_ENTROPY));
        }
        let read = Self {
            epochs: keys.epochs,
            batch: keys.batch,
            augment: keys.augment,
            seed: keys.seed,
            ema: keys.ema,
            clip_norm: keys.clip_norm,
            gradient_noise: keys.gradient_noise,
            evaluate_every: keys.evaluate_every,
            metrics_every: keys.metrics_every,
            checkpoint_seconds: keys.checkpoint_seconds,
            recompute: keys.recompute,
            missing_gradient: keys.missing_gradient,
            batch_norm: keys.batch_norm,
            dropout: keys.dropout,
            precision: keys.precision,
            optimizer: named("optimizer", "sgd")?,
            schedule: named("schedule", "linear")?,
            losses,
            place: settings.clone(),
        };
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<(), SettingsError> {
        let wrong = |key: &str, reason: &str| Err(self.place.error_at(key, reason));
        let positive = |value: Option<f64>| value.is_none_or(|value| value > 0.0);
        if self.epochs == 0 {
            return wrong("epochs", "at least one is needed");
        }
        if self.metrics_every == 0 {
            return wrong("metrics_every", "must be at least 1");
        }
        if self.batch == 0 {
            return wrong("batch", "at least one sample is needed");
        }
        if self.ema.is_some_and(|decay| !(decay > 0.0 && decay < 1.0)) {
            return wrong("ema", "must be more than 0 and less than 1");
        }
        if !positive(self.clip_norm) {
            return wrong("clip_norm", "must be more than 0");
        }
        if !positive(self.gradient_noise) {
            return wrong("gradient_noise", "must be more than 0");
        }
        if !(0.0..=1e9).contains(&self.checkpoint_seconds) {
            return wrong("checkpoint_seconds", "must not be negative");
        }
        self.optimizer()?;
        self.schedule()?;
        self.objective()?;
        Ok(())
    }

    /// How parameters change.
    ///
    /// # Errors
    /// An unknown word or wrong settings, as in all that follow.
    pub fn optimizer(&self) -> Result<Box<dyn Optimizer>, SettingsError> {
        self.optimizer.find(OPTIMIZERS, |spec| spec.name, |spec, settings| (spec.parse)(settings))
    }

    /// The learning rate over time.
    ///
    /// # Errors
    /// As [`optimizer`](Self::optimizer).
    pub fn schedule(&self) -> Result<Box<dyn Schedule>, SettingsError> {
        self.schedule.find(SCHEDULES, |spec| spec.name, |spec, settings| (spec.parse)(settings))
    }

    /// The losses with their weights (key `weight`, 1 unless given).
    ///
    /// # Errors
    /// As [`optimizer`](Self::optimizer).
    pub fn objective(&self) -> Result<Objective, SettingsError> {
        let terms = self.losses.iter().map(|named| {
            let (weight, settings) = named.settings.split_number("weight", 1.0).map_err(|error| error.under("loss"))?;
            let mut named = named.clone();
            named.settings = settings;
            // Mixed samples have shares of classes only.
            if OF_CLASSES.contains(&named.name.as_str()) && self.augment.is_mixing() && !named.settings.has("targets") {
                let shares = Settings::from_toml("augment", "targets = \"probabilities\"")?;
                named.settings = named.settings.merged(&shares);
            }
            Ok((weight, named.find(LOSSES, |spec| spec.name, |spec, settings| (spec.parse)(settings))?))
        });
        Ok(Objective { terms: terms.collect::<Result<Vec<_>, SettingsError>>()? })
    }

    /// Whether a loss compares with shares of classes, so that batches must bring them.
    pub fn wants_probabilities(&self) -> bool {
        let asks = |named: &Named| named.settings.to_json()["targets"] == "probabilities";
        self.augment.is_mixing() || self.losses.iter().any(asks)
    }

    /// Time from one checkpoint to the next.
    pub fn checkpoint_every(&self) -> Duration {
        Duration::from_secs_f64(self.checkpoint_seconds)
    }
}

/// What networks are watched by, whatever the training makes small: plain cross-entropy.
pub(super) fn judge() -> Objective {
    let spec = LOSSES.iter().find(|spec| spec.name == CROSS_ENTROPY);
    let loss: Option<Box<dyn Loss>> = spec.and_then(|spec| (spec.parse)(&Settings::empty()).ok());
    Objective { terms: loss.into_iter().map(|loss| (1.0, loss)).collect() }
}

/// The architecture that a `[model]` table names, and its name.
///
/// # Errors
/// Unknown keys and words, and wrong settings, each with its place.
pub fn model_of(settings: &Settings) -> Result<(String, Box<dyn Architecture>), SettingsError> {
    /// The keys of the table.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Keys {
        #[serde(rename = "architecture")]
        _architecture: IgnoredAny,
    }
    let _: Keys = settings.parse()?;
    let named = settings.named("architecture")?.unwrap_or_else(|| Named::word("architecture", ""));
    let architecture = named.find(ARCHITECTURES, |spec| spec.name, |spec, settings| (spec.parse)(settings))?;
    Ok((named.name, architecture))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TrainSettings, SettingsError> {
        TrainSettings::read(&Settings::from_toml("r.toml", text).unwrap())
    }

    #[test]
    fn everything_can_be_left_out_and_everything_can_be_said() {
        let plain = read("").unwrap();
        assert_eq!((plain.epochs, plain.batch, plain.objective().unwrap().terms.len()), (10, 128, 1));
        let text = "epochs = 3\nbatch = 16\noptimizer = { name = \"adamw\", learning_rate = 1e-3 }\nschedule = \"linear\"\n\
                    loss = [{ name = \"cross_entropy\", label_smoothing = 0.1, weight = 0.5 }]\naugment = [\"flip\", { name = \"crop\", padding = 4 }]\n\
                    seed = 4\nema = 0.99\nclip_norm = 1\ngradient_noise = 0.01\nevaluate_every = 2\ncheckpoint_seconds = 5\n\
                    recompute = \"cheap\"\nbatch_norm = \"frozen\"\ndropout = false\nmissing_gradient = \"freeze\"\n\
                    precision = \"bf16\"\n";
        let all = read(text).unwrap();
        assert_eq!(all.objective().unwrap().terms[0].0, 0.5);
        assert_eq!((all.seed, all.clip_norm, all.batch_norm), (Some(4), Some(1.0), BatchNorm::Frozen));
        assert_eq!((plain.missing_gradient, all.missing_gradient), (Missing::Refuse, Missing::Freeze));
        assert_eq!((plain.precision, all.precision), (Precision::F32, Precision::Bf16));
    }

    #[test]
    fn mistakes_are_answered_with_place_and_nearest_word() {
        for (text, place, hint) in [
            ("epoch = 3", "r.toml:1:1: unknown key `epoch`", "`epochs`"),
            ("\noptimizer = \"sdg\"", "r.toml:2:13: `optimizer`: unknown word `sdg`", "did you mean `sgd`?"),
            (
                "optimizer = { name = \"sgd\", momentun = 0.9 }",
                "r.toml:1:29: unknown key `optimizer.momentun`",
                "`momentum`",
            ),
            ("schedule = \"cosin\"", "unknown word `cosin`", "`cosine`"),
            ("loss = [\"cross_entropy\", \"hnt\"]", "`loss[1]`: unknown word `hnt`", "`hint`"),
            ("augment = [\"flop\"]", "unknown word `flop`", "`flip`"),
            ("ema = 1.0", "r.toml:1:7: `ema`", ""),
            ("precision = \"f16\"", "r.toml:1:13: `precision`", ""),
            ("epochs = 0", "`epochs`: at least one", ""),
            ("metrics_every = 0", "`metrics_every`: must be", ""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(place), "{text}: {error}");
            assert!(error.hint().unwrap_or_default().contains(hint), "{text}: {:?}", error.hint());
        }
        let error = model_of(&Settings::from_toml("r.toml", "architecture = \"resnet2\"").unwrap()).unwrap_err();
        assert!(error.hint().unwrap().contains("`resnet20`"), "{error}");
    }

    #[test]
    fn the_page_lists_all_there_is() {
        let page = include_str!("../../../../docs/training.md");
        let row = |name: &str, summary: &str, example: &str, source: &str| {
            format!("| `{name}` | {summary} | `{}` | {source} |", example.replace('\n', ", "))
        };
        let optimizers = OPTIMIZERS.iter().map(|spec| row(spec.name, spec.summary, spec.example, spec.source));
        let schedules = SCHEDULES.iter().map(|spec| row(spec.name, spec.summary, spec.example, spec.source));
        let losses = LOSSES.iter().map(|spec| row(spec.name, spec.summary, spec.example, spec.source));
        let architectures = ARCHITECTURES.iter().map(|spec| row(spec.name, spec.summary, spec.example, spec.source));
        for row in optimizers.chain(schedules).chain(losses).chain(architectures) {
            assert!(page.contains(&row), "docs/training.md lacks\n{row}");
        }
    }

    #[test]
    fn recipes_of_the_repository_are_understood() {
        for text in [
            include_str!("../../../../examples/recipes/resnet20-cifar10.toml"),
            include_str!("../../../../docs/training.md").split("```").nth(3).unwrap().trim_start_matches("toml\n"),
        ] {
            let text = lissom_recipe::RecipeText::new("r.toml", text);
            let recipe = lissom_recipe::Recipe::parse(&text, &crate::Methods(crate::METHODS)).unwrap();
            assert!(recipe.model.is_some() && recipe.steps[0].train.is_some());
        }
        for text in [
            include_str!("../../../../examples/recipes/resnet20-qat-int8.toml"),
            include_str!("../../../../examples/recipes/resnet20-qat-int4.toml"),
        ] {
            let text = lissom_recipe::RecipeText::new("r.toml", text);
            let recipe = lissom_recipe::Recipe::parse(&text, &crate::Methods(crate::METHODS)).unwrap();
            assert!(recipe.steps[0].train.is_some());
        }
        let text = include_str!("../../../../examples/recipes/transfer.toml");
        let text = lissom_recipe::RecipeText::new("r.toml", text);
        let recipe = lissom_recipe::Recipe::parse(&text, &crate::Methods(crate::METHODS)).unwrap();
        assert_eq!((recipe.steps[0].method.as_str(), recipe.steps[0].train.is_some()), ("transfer", true));
    }

    #[test]
    fn mixed_samples_are_compared_with_shares() {
        assert!(read("augment = [{ name = \"mixup\", alpha = 0.2 }]").unwrap().wants_probabilities());
        assert!(!read("augment = [\"flip\"]").unwrap().wants_probabilities());
    }
}
