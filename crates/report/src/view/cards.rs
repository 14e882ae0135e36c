//! The cards: each measure before and after.

use lissom_evaluate::{Judgement, Latency};

use crate::format;
use crate::schema::{ModelCard, Report};

/// One measure of both networks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Card {
    pub label: &'static str,
    pub hint: &'static str,
    pub before: Option<String>,
    pub after: Option<String>,
    /// The interval, where there is one.
    pub before_ci: Option<String>,
    pub after_ci: Option<String>,
    /// `3.9× smaller`, with its class.
    pub change: Option<(String, &'static str)>,
    /// Length of the bars, 0..100, where both amounts are known.
    pub bars: Option<(String, String)>,
    pub has_both_networks: bool,
}

impl Card {
    /// What to list as not measured, if anything.
    pub fn missing(&self) -> Option<String> {
        let side = match (self.has_both_networks, self.before.is_some(), self.after.is_some()) {
            (_, true, true) | (false, _, true) | (false, true, _) => return None,
            (true, true, false) => " of the compressed network",
            (true, false, true) => " of the original network",
            _ => "",
        };
        Some(format!("{}{side}", self.label))
    }
}

/// A measure where less is better.
struct Amount {
    label: &'static str,
    hint: &'static str,
    /// Words for less and for more: `smaller`, `larger`.
    words: (&'static str, &'static str),
    of: fn(&ModelCard) -> Option<f64>,
    format: fn(f64) -> String,
}

fn latency(card: &ModelCard, of: fn(&Latency) -> f64) -> Option<f64> {
    card.latency.as_ref().map(of)
}

const AMOUNTS: &[Amount] = &[
    Amount {
        label: "Size on disk",
        hint: "the file with its external data; 1 MB is a million bytes",
        words: ("smaller", "larger"),
        of: |card| card.size_bytes.map(|v| v as f64),
        format: |v| format::bytes(v as u64),
    },
    Amount {
        label: "Parameters",
        hint: "zeros included",
        words: ("fewer", "more"),
        of: |card| card.parameters.map(|v| v as f64),
        format: |v| format::count(v as u64),
    },
    Amount {
        label: "Non-zero parameters",
        hint: "",
        words: ("fewer", "more"),
        of: |card| card.non_zeros.map(|v| v as f64),
        format: |v| format::count(v as u64),
    },
    Amount {
        label: "Effective bits",
        hint: "bits stored a parameter of the original network",
        words: ("fewer", "more"),
        of: |card| card.effective_bits,
        format: format::significant,
    },
    Amount {
        label: "MACs",
        hint: "multiply-accumulates an example, zeros included",
        words: ("fewer", "more"),
        of: |card| card.macs.map(|v| v as f64),
        format: |v| format::short_count(v as u64),
    },
    Amount {
        label: "MACs without zeros",
        hint: "multiply-accumulates an example with a weight that is not 0",
        words: ("fewer", "more"),
        of: |card| card.effective_macs.map(|v| v as f64),
        format: |v| format::short_count(v as u64),
    },
    Amount {
        label: "Time, p50",
        hint: "half of the runs were at least this fast",
        words: ("faster", "slower"),
        of: |card| latency(card, |l| l.p50_ms),
        format: format::milliseconds,
    },
    Amount {
        label: "Time, p90",
        hint: "90 % of the runs were at least this fast",
        words: ("faster", "slower"),
        of: |card| latency(card, |l| l.p90_ms),
        format: format::milliseconds,
    },
    Amount {
        label: "Time, p99",
        hint: "99 % of the runs were at least this fast",
        words: ("faster", "slower"),
        of: |card| latency(card, |l| l.p99_ms),
        format: format::milliseconds,
    },
    Amount {
        label: "Peak memory",
        hint: "largest resident memory while running",
        words: ("less", "more"),
        of: |card| card.peak_memory_bytes.map(|v| v as f64),
        format: |v| format::bytes(v as u64),
    },
];

/// All cards, those without any number included.
pub(crate) fn cards(report: &Report) -> Vec<Card> {
    if report.original.is_none() && report.compressed.is_none() {
        return Vec::new();
    }
    let (before, after) = (report.original.as_ref(), report.compressed.as_ref());
    let mut cards = quality_cards(before, after);
    let is_within_chance = report.comparison.as_ref().is_some_and(|comparison| !comparison.headline().1.is_significant);
    if let Some((text, class)) = cards.first_mut().and_then(|card| card.change.as_mut())
        && is_within_chance
        && *class != "flat"
    {
        text.push_str(", within chance");
        *class = "flat";
    }
    cards.extend(AMOUNTS.iter().map(|amount| amount_card(amount, before, after)));
    cards
}

fn amount_card(amount: &Amount, before: Option<&ModelCard>, after: Option<&ModelCard>) -> Card {
    let of = |card: Option<&ModelCard>| format::finite(card.and_then(amount.of)).filter(|value| *value >= 0.0);
    let (b, a) = (of(before), of(after));
    let mut card = Card {
        label: amount.label,
        hint: amount.hint,
        before: b.map(amount.format),
        after: a.map(amount.format),
        has_both_networks: before.is_some() && after.is_some(),
        ..Card::default()
    };
    if let (Some(b), Some(a)) = (b, a) {
        card.change = Some(change_of_amount(b, a, amount.words));
        let longest = b.max(a);
        if longest > 0.0 {
            let length = |value: f64| format!("{:.1}", value / longest * 100.0);
            card.bars = Some((length(b), length(a)));
        }
    }
    card
}

fn change_of_amount(before: f64, after: f64, words: (&str, &str)) -> (String, &'static str) {
    if before == after {
        ("unchanged".to_owned(), "flat")
    } else if before <= 0.0 || after <= 0.0 {
        (if after < before { words.0 } else { words.1 }.to_owned(), "flat")
    } else if after < before {
        (format!("{} {}", format::times(before / after), words.0), "good")
    } else {
        (format!("{} {}", format::times(after / before), words.1), "bad")
    }
}

/// Accuracy or rank correlation, with intervals.
fn quality_cards(before: Option<&ModelCard>, after: Option<&ModelCard>) -> Vec<Card> {
    let judgements = [before, after].map(|card| card.and_then(|card| card.judgement.as_ref()));
    let has_both_networks = before.is_some() && after.is_some();
    let is_embedding = judgements.iter().flatten().any(|judgement| matches!(judgement, Judgement::Embedding(_)));
    if is_embedding {
        return vec![quality_card(
            "Spearman",
            "rank correlation of the cosine of a pair with its score",
            has_both_networks,
            judgements,
            |j| {
                let Judgement::Embedding(j) = j else { return None };
                Some(Quality {
                    value: j.spearman,
                    text: format::fixed(j.spearman, 4),
                    ci: Some((j.spearman_ci.low, j.spearman_ci.high)),
                    scale: 1.0,
                    digits: 4,
                })
            },
        )];
    }
    let share = |p: &lissom_evaluate::Proportion| Quality {
        value: p.value,
        text: format::percent(p.value, 2),
        ci: Some((p.ci.low, p.ci.high)),
        scale: 100.0,
        digits: 2,
    };
    let mut cards = vec![quality_card(
        "Top1",
        "share of examples whose label has the largest output",
        has_both_networks,
        judgements,
        |j| {
            let Judgement::Classification(j) = j else { return None };
            Some(share(&j.top1))
        },
    )];
    let five_apply = judgements.iter().flatten().any(|j| matches!(j, Judgement::Classification(j) if j.top5.is_some()));
    if five_apply {
        cards.push(quality_card(
            "Top5",
            "share of examples whose label is among the five largest outputs",
            has_both_networks,
            judgements,
            |j| {
                let Judgement::Classification(j) = j else { return None };
                j.top5.as_ref().map(share)
            },
        ));
    }
    cards
}

struct Quality {
    value: f64,
    text: String,
    ci: Option<(f64, f64)>,
    scale: f64,
    digits: usize,
}

fn quality_card(
    label: &'static str,
    hint: &'static str,
    has_both_networks: bool,
    judgements: [Option<&Judgement>; 2],
    of: impl Fn(&Judgement) -> Option<Quality>,
) -> Card {
    let [before, after] =
        judgements.map(|judgement| judgement.and_then(&of).filter(|quality| quality.value.is_finite()));
    let ci = |quality: &Quality| {
        let (low, high) = quality.ci?;
        let end = |value: f64| format::fixed(value * quality.scale, quality.digits);
        (low.is_finite() && high.is_finite()).then(|| format!("{} to {}", end(low), end(high)))
    };
    let change = before.as_ref().zip(after.as_ref()).map(|(before, after)| {
        let size = (after.value - before.value).abs() * before.scale;
        let unit = if before.scale == 100.0 { "\u{a0}points" } else { "" };
        let size = format!("{}{unit}", format::fixed(size, before.digits));
        match after.value.total_cmp(&before.value) {
            std::cmp::Ordering::Less => (format!("{size} lower"), "bad"),
            std::cmp::Ordering::Greater => (format!("{size} higher"), "good"),
            std::cmp::Ordering::Equal => ("unchanged".to_owned(), "flat"),
        }
    });
    Card {
        label,
        hint,
        before_ci: before.as_ref().and_then(ci),
        after_ci: after.as_ref().and_then(ci),
        before: before.map(|quality| quality.text),
        after: after.map(|quality| quality.text),
        change,
        bars: None,
        has_both_networks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_named_by_their_direction() {
        assert_eq!(change_of_amount(8.0, 2.0, ("smaller", "larger")), ("4.00× smaller".to_owned(), "good"));
        assert_eq!(change_of_amount(2.0, 3.0, ("faster", "slower")), ("1.50× slower".to_owned(), "bad"));
        assert_eq!(change_of_amount(2.0, 2.0, ("a", "b")).0, "unchanged");
        assert_eq!(change_of_amount(2.0, 0.0, ("fewer", "more")).0, "fewer");
    }

    #[test]
    fn nan_is_not_measured() {
        let card = ModelCard { effective_bits: Some(f64::NAN), size_bytes: Some(10), ..ModelCard::default() };
        let drawn = amount_card(&AMOUNTS[3], Some(&card), Some(&card));
        assert_eq!((drawn.before.clone(), drawn.missing().unwrap()), (None, "Effective bits".to_owned()));
        let drawn = amount_card(&AMOUNTS[0], Some(&card), Some(&ModelCard::default()));
        assert_eq!(drawn.missing().unwrap(), "Size on disk of the compressed network");
        assert!(amount_card(&AMOUNTS[0], Some(&card), None).missing().is_none());
    }
}
