//! Which form of a layer is fastest here: a guess, or a measurement.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lissom_kernels::ShapeError;
use lissom_kernels::conv::{Images, Window};

use super::Traits;

/// A form whose guess is this many times the best one's is not timed.
const HOPELESS: f64 = 4.0;
/// Another form than the plain one must be faster by this factor.
const CLEARLY: f64 = 1.03;
/// A form that is slower than the fastest by this factor after two rounds is timed no further.
const BEHIND: f64 = 1.4;
/// Most rounds in which the forms of one layer are timed in turn, and the time after which no round begins.
const ROUNDS: usize = 12;
const LAYER_BUDGET: Duration = Duration::from_millis(12);

/// How forms are chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choosing {
    /// By a cost model: the same choices on every machine with the same instruction set.
    #[default]
    Estimated,
    /// By timing the forms of each layer on this CPU, the first time a shape is met.
    Measured {
        /// Time that all measurements of a session may take together; what is left then is estimated.
        budget: Duration,
        /// Folder that remembers what was measured, in a file for each CPU and version.
        cache: Option<PathBuf>,
    },
}

impl Choosing {
    /// Measured within `budget` (nothing: estimated), remembered in the folder that the variable `LISSOM_CACHE` names
    /// (empty: nowhere), or else where this system keeps caches.
    pub fn measured(budget: Duration) -> Self {
        if budget.is_zero() {
            return Self::Estimated;
        }
        let cache = match std::env::var_os("LISSOM_CACHE") {
            Some(folder) => (!folder.is_empty()).then(|| PathBuf::from(folder)),
            None => dirs::cache_dir().map(|folder| folder.join("lissom")),
        };
        Self::Measured { budget, cache }
    }
}

/// A form and the reason for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    pub form: &'static str,
    /// For people: `measured: spmm 81 us, dense 240 us`.
    pub why: Arc<str>,
}

/// Chooses forms and remembers what it chose. Shared by the sessions of a model.
#[derive(Debug)]
pub(crate) struct Chooser {
    choosing: Choosing,
    known: Mutex<HashMap<Traits, Choice>>,
    left: Mutex<Duration>,
    /// What earlier processes measured, by [`key`].
    remembered: Mutex<HashMap<String, String>>,
    file: Option<PathBuf>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chooser {
    pub fn new(choosing: &Choosing) -> Self {
        let (budget, cache) = match choosing {
            Choosing::Estimated => (Duration::ZERO, None),
            Choosing::Measured { budget, cache } => (*budget, cache.as_deref()),
        };
        let file = cache.map(|folder| folder.join(file_name()));
        let remembered = file.as_deref().map(read).unwrap_or_default();
        Self {
            choosing: choosing.clone(),
            known: Mutex::default(),
            left: Mutex::new(budget),
            remembered: Mutex::new(remembered),
            file,
        }
    }

    /// Picks one of `forms`, names with guesses of their cost, the plain form first. `time` runs a form once; it is asked
    /// only if forms are measured.
    pub fn choose(
        &self,
        traits: &Traits,
        forms: &[(&'static str, f64)],
        time: &mut dyn FnMut(&'static str) -> Result<Duration, ShapeError>,
    ) -> Choice {
        if let Some(choice) = locked(&self.known).get(traits) {
            return choice.clone();
        }
        let choice = self.decide(traits, forms, time);
        locked(&self.known).insert(*traits, choice.clone());
        choice
    }

    /// What [`choose`](Self::choose) would say now, without timing anything.
    pub fn guess(&self, traits: &Traits, forms: &[(&'static str, f64)]) -> &'static str {
        if let Some(choice) = locked(&self.known).get(traits) {
            return choice.form;
        }
        match self.remembered(&key(traits), forms) {
            Some(choice) => choice.form,
            None => estimated(forms).form,
        }
    }

    fn decide(
        &self,
        traits: &Traits,
        forms: &[(&'static str, f64)],
        time: &mut dyn FnMut(&'static str) -> Result<Duration, ShapeError>,
    ) -> Choice {
        let best = forms.iter().map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min);
        let hopeful: Vec<(&'static str, f64)> =
            forms.iter().filter(|(_, cost)| *cost <= best * HOPELESS).copied().collect();
        if forms.len() < 2 {
            let form = forms.first().map_or("", |(name, _)| name);
            return Choice { form, why: "the only form".into() };
        }
        if hopeful.len() < 2 || self.choosing == Choosing::Estimated {
            return estimated(forms);
        }
        let key = key(traits);
        if let Some(choice) = self.remembered(&key, &hopeful) {
            return choice;
        }
        let started = Instant::now();
        if locked(&self.left).is_zero() {
            return estimated(forms);
        }
        let choice = measured(&hopeful, time);
        let mut left = locked(&self.left);
        *left = left.saturating_sub(started.elapsed());
        let Some(choice) = choice else { return estimated(forms) };
        locked(&self.remembered).insert(key, format!("{}\t{}", choice.form, choice.why));
        choice
    }

    fn remembered(&self, key: &str, forms: &[(&'static str, f64)]) -> Option<Choice> {
        let remembered = locked(&self.remembered);
        let (form, why) = remembered.get(key)?.split_once('\t')?;
        let (form, _) = forms.iter().find(|(name, _)| *name == form)?;
        let why = if why.starts_with("remembered") { why.into() } else { format!("remembered, {why}").into() };
        Some(Choice { form, why })
    }

    /// Writes what was measured to the file, if there is one. A cache that cannot be written costs time only.
    pub fn save(&self) {
        let Some(file) = &self.file else { return };
        let remembered = locked(&self.remembered);
        let mut lines: Vec<String> = remembered.iter().map(|(key, choice)| format!("{key}\t{choice}\n")).collect();
        lines.sort_unstable();
        let text = lines.concat();
        if std::fs::read_to_string(file).is_ok_and(|old| old == text) {
            return;
        }
        let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
        let folder = file.parent().unwrap_or(Path::new("."));
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&temporary, text));
        if written.and_then(|()| std::fs::rename(&temporary, file)).is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
    }
}

fn estimated(forms: &[(&'static str, f64)]) -> Choice {
    let (plain, plain_cost) = forms.first().copied().unwrap_or(("", 0.0));
    let best = forms.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((plain, plain_cost));
    let (form, cost) = if best.1 * CLEARLY < plain_cost { best } else { (plain, plain_cost) };
    let ratio = plain_cost / cost.max(f64::MIN_POSITIVE);
    let why = if form == plain { "cost model".into() } else { format!("cost model: {ratio:.1}x {plain}").into() };
    Choice { form, why }
}

fn measured(
    forms: &[(&'static str, f64)],
    time: &mut dyn FnMut(&'static str) -> Result<Duration, ShapeError>,
) -> Option<Choice> {
    let mut best: Vec<(&'static str, Duration)> = forms.iter().map(|(name, _)| (*name, Duration::MAX)).collect();
    let started = Instant::now();
    for round in 0..ROUNDS {
        if round > 2 && started.elapsed() > LAYER_BUDGET {
            break;
        }
        let fastest = best.iter().map(|(_, time)| *time).min()?;
        let mut ahead: Vec<_> =
            best.iter_mut().filter(|(_, time)| round < 2 || is_faster(*time, fastest, 1.0 / BEHIND)).collect();
        if ahead.len() < 2 {
            break;
        }
        for (form, best) in &mut ahead {
            // A form that refuses is not chosen.
            *best = time(form).unwrap_or(Duration::MAX).min(*best);
        }
    }
    let plain = best.first().copied()?;
    let fastest = best.iter().copied().min_by_key(|(_, time)| *time)?;
    let chosen = if is_faster(fastest.1, plain.1, CLEARLY) { fastest } else { plain };
    best.sort_by_key(|(form, time)| (*form != chosen.0, *time));
    let mut why = String::from("measured:");
    for (index, (form, time)) in best.iter().enumerate().filter(|(_, (_, time))| *time < Duration::MAX) {
        let _ = write!(why, "{} {form} {:.1} us", if index > 0 { "," } else { "" }, time.as_secs_f64() * 1e6);
    }
    Some(Choice { form: chosen.0, why: why.into() })
}

/// True if `a` is shorter than `b` by more than this factor.
fn is_faster(a: Duration, b: Duration, factor: f64) -> bool {
    a.as_secs_f64() * factor < b.as_secs_f64()
}

/// Traits as text, the same in every process.
fn key(traits: &Traits) -> String {
    let Traits { shape, images: Images { n, h, w }, zeros, is_integer, may_round } = traits;
    let Window { kernel, stride, dilation, pads } = shape.window;
    format!(
        "{} {}>{} g{} k{kernel:?} s{stride:?} d{dilation:?} p{pads:?} {n}x{h}x{w} nonzero {} quads {} {}{}{}",
        if *is_integer { "int8" } else { "f32" },
        shape.c_in,
        shape.c_out,
        shape.groups,
        zeros.nonzero_percent,
        zeros.quads_percent,
        zeros.output_quads_percent,
        if zeros.is_two_of_four { " 2:4" } else { "" },
        if *may_round { " bf16" } else { "" },
    )
}

/// One file for each CPU and version.
fn file_name() -> String {
    let cpu: String =
        lissom_kernels::cpu_name().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("choices-{}-{cpu}.tsv", env!("CARGO_PKG_VERSION"))
}

/// Lines of `key TAB form TAB why`; what is not such a line is passed over.
fn read(file: &Path) -> HashMap<String, String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once('\t')).map(|(key, choice)| (key.into(), choice.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::{Zeros, point, rows};

    fn traits(m: usize) -> Traits {
        Traits {
            shape: point(64, 64),
            images: rows(m),
            zeros: Zeros { nonzero_percent: 10, quads_percent: 30, ..Zeros::NONE },
            is_integer: false,
            may_round: false,
        }
    }

    const FORMS: &[(&str, f64)] = &[("dense", 10.0), ("sparse", 9.0)];

    fn measured_chooser(cache: Option<PathBuf>) -> Chooser {
        Chooser::new(&Choosing::Measured { budget: Duration::from_secs(1), cache })
    }

    #[test]
    fn an_estimate_needs_no_clock_and_keeps_the_plain_form_on_a_tie() {
        let chooser = Chooser::new(&Choosing::Estimated);
        let mut never = |_| panic!("nothing is timed");
        assert_eq!(chooser.choose(&traits(1), FORMS, &mut never).form, "sparse");
        assert_eq!(chooser.choose(&traits(2), &[("dense", 10.0), ("sparse", 9.9)], &mut never).form, "dense");
    }

    #[test]
    fn the_form_that_took_less_time_is_chosen_and_remembered_on_disk() {
        let folder = std::env::temp_dir().join(format!("lissom-choices-{}", std::process::id()));
        let chooser = measured_chooser(Some(folder.clone()));
        let mut slow_sparse = |form| Ok(Duration::from_micros(if form == "sparse" { 20 } else { 5 }));
        let choice = chooser.choose(&traits(1), FORMS, &mut slow_sparse);
        assert_eq!((choice.form, &*choice.why), ("dense", "measured: dense 5.0 us, sparse 20.0 us"));
        chooser.save();
        let mut never = |_| panic!("it is remembered");
        let again = measured_chooser(Some(folder.clone())).choose(&traits(1), FORMS, &mut never);
        assert_eq!((again.form, &*again.why), ("dense", "remembered, measured: dense 5.0 us, sparse 20.0 us"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn hopeless_and_refused_forms_are_not_chosen() {
        let chooser = measured_chooser(None);
        let mut timed = Vec::new();
        let forms = [("dense", 10.0), ("sparse", 9.0), ("hopeless", 100.0)];
        let choice = chooser.choose(&traits(1), &forms, &mut |form| {
            timed.push(form);
            if form == "sparse" { Err(ShapeError::Overflow { what: "x" }) } else { Ok(Duration::from_micros(5)) }
        });
        assert_eq!(choice.form, "dense");
        assert!(!timed.contains(&"hopeless"));
    }

    #[test]
    fn a_form_that_is_clearly_behind_is_timed_twice() {
        let mut timed = Vec::new();
        let forms = [("dense", 10.0), ("sparse", 9.0), ("slow", 9.0)];
        let choice = measured_chooser(None).choose(&traits(1), &forms, &mut |form| {
            timed.push(form);
            Ok(Duration::from_micros(if form == "slow" { 20 } else { 5 }))
        });
        assert_eq!(choice.form, "dense");
        let rounds = |name| timed.iter().filter(|&&form| form == name).count();
        assert_eq!((rounds("dense"), rounds("sparse"), rounds("slow")), (ROUNDS, ROUNDS, 2));
    }

    #[test]
    fn where_all_forms_refuse_the_plain_one_is_left() {
        let choice = measured_chooser(None).choose(&traits(1), FORMS, &mut |_| Err(ShapeError::Overflow { what: "x" }));
        assert_eq!(choice.form, "dense");
    }

    #[test]
    fn without_time_left_the_cost_model_answers() {
        let chooser = Chooser::new(&Choosing::Measured { budget: Duration::ZERO, cache: None });
        assert!(chooser.choose(&traits(1), FORMS, &mut |_| panic!("no time")).why.starts_with("cost model"));
    }
}
