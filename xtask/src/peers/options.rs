//! The words after `cargo xtask peers`.

use std::path::PathBuf;

use super::{FORMS, NETWORKS, TYPES};
use crate::command::root;

const USAGE: &str = "usage: cargo xtask peers [options]
  --networks A,B   of resnet50, mobilenetv1, resnet20, minilm6, bertbase, mlp; all by default
  --forms A,B      of dense, sp80, sp90, sp95, blk90, oblk90, 2of4; all by default
  --types A,B      of f32, int8; both by default
  --batch N,M      items a run; 1 by default
  --rows goals     only rows that have a goal; all by default
  --threads N      of every engine; 2 by default
  --rounds N       turns of each engine; 5 by default
  --seconds S      length of a turn; 0.3 by default
  --out FILE       the table; benches/RESULTS.md by default
  --json FILE      all numbers; none by default
  --cache FOLDER   networks and Python packages; target/peers by default
  --python FILE    a Python that has the packages of benches/peers/requirements.txt; else one is set up in the cache
  --lissom FILE    the `latency` example of another version of lissom; else this one is built
  --lock FILE      held while a network is measured, for machines that several people measure on";

/// What to measure and where to write it.
pub(super) struct Options {
    pub(super) networks: Vec<&'static str>,
    pub(super) forms: Vec<&'static str>,
    pub(super) types: Vec<&'static str>,
    pub(super) batches: Vec<usize>,
    pub(super) only_goals: bool,
    pub(super) threads: usize,
    pub(super) rounds: usize,
    pub(super) seconds: f64,
    pub(super) out: PathBuf,
    pub(super) json: Option<PathBuf>,
    pub(super) cache: PathBuf,
    pub(super) python: Option<PathBuf>,
    pub(super) lissom: Option<PathBuf>,
    pub(super) lock: Option<PathBuf>,
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// What is wrong with it, with the usage.
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            networks: NETWORKS.to_vec(),
            forms: FORMS.to_vec(),
            types: TYPES.to_vec(),
            batches: vec![1],
            only_goals: false,
            threads: 2,
            rounds: 5,
            seconds: 0.3,
            out: root().join("benches/RESULTS.md"),
            json: None,
            cache: root().join("target/peers"),
            python: None,
            lissom: None,
            lock: None,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("`{word}` needs a value\n{USAGE}"))?;
            options.set(word, value)?;
        }
        if options.rounds == 0 || options.batches.contains(&0) || options.threads == 0 {
            return Err(format!("--rounds, --batch and --threads are at least 1\n{USAGE}"));
        }
        Ok(options)
    }

    fn set(&mut self, word: &str, value: &str) -> Result<(), String> {
        // Workers run elsewhere than the one who typed the path.
        let path = || std::path::absolute(value).map_err(|error| format!("`{value}`: {error}"));
        match word {
            "--networks" => self.networks = chosen(NETWORKS, value)?,
            "--forms" => self.forms = chosen(FORMS, value)?,
            "--types" => self.types = chosen(TYPES, value)?,
            "--batch" => self.batches = value.split(',').map(|one| number(word, one)).collect::<Result<_, _>>()?,
            "--rows" if ["goals", "all"].contains(&value) => self.only_goals = value == "goals",
            "--threads" => self.threads = number(word, value)?,
            "--rounds" => self.rounds = number(word, value)?,
            "--seconds" => self.seconds = number(word, value)?,
            "--out" => self.out = path()?,
            "--json" => self.json = Some(path()?),
            "--cache" => self.cache = path()?,
            "--python" => self.python = Some(path()?),
            "--lissom" => self.lissom = Some(path()?),
            "--lock" => self.lock = Some(path()?),
            _ => return Err(format!("`{word} {value}` is no option\n{USAGE}")),
        }
        Ok(())
    }
}

/// The named entries of a list.
fn chosen(list: &[&'static str], names: &str) -> Result<Vec<&'static str>, String> {
    let find = |name: &str| {
        let found = list.iter().find(|entry| **entry == name).copied();
        found.ok_or_else(|| format!("`{name}` is none of {}", list.join(", ")))
    };
    names.split(',').map(find).collect()
}

fn number<T: std::str::FromStr>(word: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{word}: `{value}` is no such number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn names_are_those_of_the_lists() {
        let options = parse("--networks mlp,resnet20 --forms sp90 --rounds 7").unwrap();
        assert_eq!((options.networks, options.forms, options.rounds), (vec!["mlp", "resnet20"], vec!["sp90"], 7));
        assert!(parse("--networks vgg").err().unwrap().contains("none of resnet50"));
    }

    #[test]
    fn a_word_that_is_no_option_shows_the_usage() {
        for line in ["--speed 3", "--rounds", "--rounds 0", "--batch many", "--rows few"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
