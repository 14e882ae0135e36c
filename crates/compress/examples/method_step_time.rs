//! How much longer a step of ResNet-20 takes with a method that trains: `method_step_time METHOD [SETTINGS...]`, e.g.
//! `method_step_time qat "" "weight_bits = 4; activation_bits = 4; teacher_share = 0"`.
//!
//! Each of the settings (TOML on one line, keys separated by semicolons) takes its turn with plain training, on 128 random images; the
//! best of 12 steps counts.

use std::error::Error;
use std::time::Instant;

use lissom_compress::METHODS;
use lissom_recipe::Settings;
use lissom_tensor::Tensor;
use lissom_train::{ARCHITECTURES, LOSSES, Moment, OPTIMIZERS, Plain, SCHEDULES, Technique, Trainer, TrainerOptions};

const IMAGES: usize = 128;
const ROUNDS: usize = 12;

struct Timed {
    what: String,
    technique: Box<dyn Technique>,
    trainer: Trainer,
    best: f64,
}

fn options() -> Result<TrainerOptions, Box<dyn Error>> {
    let empty = Settings::empty();
    let sgd = Settings::from_toml("optimizer", "learning_rate = 0.01\nmomentum = 0.9")?;
    let loss = LOSSES.iter().find(|spec| spec.name == "cross_entropy").ok_or("no loss")?;
    let optimizer = OPTIMIZERS.iter().find(|spec| spec.name == "sgd").ok_or("no sgd")?;
    let schedule = SCHEDULES.iter().find(|spec| spec.name == "constant").ok_or("no schedule")?;
    Ok(TrainerOptions::new((loss.parse)(&empty)?, (optimizer.parse)(&sgd)?, (schedule.parse)(&empty)?, 1000))
}

fn timed(what: &str, mut technique: Box<dyn Technique>, batch: &[(&str, &Tensor)]) -> Result<Timed, Box<dyn Error>> {
    let spec = ARCHITECTURES.iter().find(|spec| spec.name == "resnet20").ok_or("no resnet20")?;
    let (mut model, mut options) = ((spec.parse)(&Settings::empty())?.build(0)?, options()?);
    technique.prepare(&mut model, &mut options)?;
    let mut trainer = Trainer::new(&model, options, |_| true)?;
    technique.begin(&mut trainer, batch)?;
    Ok(Timed { what: what.to_owned(), technique, trainer, best: f64::INFINITY })
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [method, settings @ ..] = &words[..] else {
        return Err("usage: method_step_time METHOD [SETTINGS...]".into());
    };
    let spec = METHODS.iter().find(|spec| spec.name == method).ok_or("no such method")?;
    let pixels = (0..IMAGES * 3 * 32 * 32).map(|i| (i * 7919 % 1999) as f32 / 1000.0 - 1.0);
    let x = Tensor::new([IMAGES, 3, 32, 32], pixels.collect::<Vec<f32>>())?;
    let labels = Tensor::vector((0..IMAGES as i64).map(|i| i * 31 % 10).collect::<Vec<i64>>());
    let batch = [("input", &x), ("labels", &labels)];
    let mut all = vec![timed("plain training", Box::new(Plain), &batch)?];
    for text in settings {
        let own = (spec.parse)(&Settings::from_toml("settings", &text.replace(';', "\n"))?)?;
        let technique = own.technique().ok_or("this method does not train")?;
        all.push(timed(&format!("{method} {text}"), technique, &batch)?);
    }
    let at = Moment { epoch: 0, step: 0, steps_an_epoch: 1000, epochs: 1 };
    for _ in 0..ROUNDS {
        for Timed { technique, trainer, best, .. } in &mut all {
            let began = Instant::now();
            let targets = technique.targets(&at, &batch)?;
            let targets = targets.iter().map(|(name, tensor)| (name.as_str(), tensor));
            let batch: Vec<(&str, &Tensor)> = batch.into_iter().chain(targets).collect();
            technique.before_step(trainer, &at, &batch)?;
            trainer.step(&batch)?;
            technique.after_step(trainer, &at)?;
            *best = best.min(began.elapsed().as_secs_f64());
        }
    }
    let plain = all[0].best;
    for Timed { what, best, .. } in &all {
        println!("{:7.1} ms, {:.2} times plain training: {what}", 1e3 * best, best / plain);
    }
    Ok(())
}
